"""Which architectures this host can run: its own, and foreign ones through qemu-user and binfmt_misc."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from machinespawn.architecture import native as native
from machinespawn.errors import MissingToolError, UsageError
from machinespawn.host import detached
from machinespawn.shell import CLEAN_ENVIRONMENT
from machinespawn.text import _

REGISTRY = Path("/proc/sys/fs/binfmt_misc")

_NATIVE_ENOUGH = {"amd64": ("i386",)}
"""What the kernel of an architecture runs besides its own."""


@dataclass(frozen=True)
class _Elf:
    """What tells an architecture's programs apart, and qemu's name of it."""

    qemu: str
    bits: int
    little: bool
    machine: int
    """e_machine, from elf.h."""

    def header(self) -> bytes:
        """The first 64 bytes of a program of that architecture."""
        order = "<" if self.little else ">"
        ident = bytes([0x7F, *b"ELF", self.bits // 32, 1 if self.little else 2, 1])
        return (ident.ljust(16, b"\0") + struct.pack(f"{order}HHI", 2, self.machine, 1)).ljust(64, b"\0")


_ELF = {
    "amd64": _Elf("x86_64", 64, True, 62),
    "arm64": _Elf("aarch64", 64, True, 183),
    "armel": _Elf("arm", 32, True, 40),
    "armhf": _Elf("arm", 32, True, 40),
    "i386": _Elf("i386", 32, True, 3),
    "loong64": _Elf("loongarch64", 64, True, 258),
    "mips64el": _Elf("mips64el", 64, True, 8),
    "mipsel": _Elf("mipsel", 32, True, 8),
    "ppc64el": _Elf("ppc64le", 64, True, 21),
    "riscv64": _Elf("riscv64", 64, True, 243),
    "s390x": _Elf("s390x", 64, False, 22),
}


@dataclass(frozen=True)
class Handler:
    """One entry of binfmt_misc: which program runs files of which beginning."""

    name: str
    enabled: bool
    interpreter: str
    flags: str
    offset: int
    magic: bytes
    mask: bytes

    @classmethod
    def parse(cls, name: str, text: str) -> Handler | None:
        """From the text of its file; None for one that goes by file name extension."""
        first, *lines = text.splitlines()
        fields = dict(line.partition(" ")[::2] for line in lines)
        if "magic" not in fields:
            return None
        magic = bytes.fromhex(fields["magic"])
        return cls(
            name=name,
            enabled=first == "enabled",
            interpreter=fields.get("interpreter", ""),
            flags=fields.get("flags:", ""),
            offset=int(fields.get("offset", "0")),
            magic=magic,
            mask=bytes.fromhex(fields["mask"]) if "mask" in fields else b"\xff" * len(magic),
        )

    def takes(self, header: bytes) -> bool:
        """Whether the kernel would hand a file that begins with header to this one."""
        part = header[self.offset : self.offset + len(self.magic)]
        same = (byte & mask == want & mask for byte, mask, want in zip(part, self.mask, self.magic, strict=False))
        return len(part) == len(self.magic) and all(same)

    @property
    def opened_early(self) -> bool:
        """Flag F: the kernel holds the interpreter open, so that it works where the tree has none."""
        return "F" in self.flags


def handlers() -> tuple[Handler, ...]:
    """What is registered with the kernel, whether binfmt_misc is mounted here or not."""
    try:
        with _registry() as directory:
            return tuple(handler for handler in _read(directory) if handler)
    except OSError:  # a kernel without binfmt_misc, or one that does not let us look
        return ()


def check(architecture: str) -> None:
    """Raise MissingToolError unless programs of the architecture (Debian's name) run here."""
    host = native()
    if architecture in (host, *_NATIVE_ENOUGH.get(host, ())):
        return
    if architecture not in _ELF:
        raise UsageError(
            _("{architecture} is no architecture that can be run here").format(architecture=architecture),
            _("known are: {names}").format(names=", ".join(sorted(_ELF))),
        )
    elf = _ELF[architecture]
    found = [handler for handler in handlers() if handler.takes(elf.header())]
    if not any(handler.enabled and handler.opened_early for handler in found):
        raise MissingToolError(
            _("this {host} host cannot run programs of {architecture}").format(host=host, architecture=architecture),
            _how_to_run(elf, found),
        )


def foreign() -> tuple[str, ...]:
    """Debian's names of the foreign architectures that run here through an interpreter."""
    usable = [handler for handler in handlers() if handler.enabled and handler.opened_early]
    own = (native(), *_NATIVE_ENOUGH.get(native(), ()))
    return tuple(
        name for name, elf in _ELF.items() if name not in own and any(handler.takes(elf.header()) for handler in usable)
    )


def _how_to_run(elf: _Elf, found: list[Handler]) -> str:
    for handler in found:
        if not handler.enabled:
            return _("switch its interpreter on: echo 1 > {path}").format(path=REGISTRY / handler.name)
        return _(
            "{name} is registered without flag F, so trees that lack {interpreter} cannot use it; "
            "apt-get install qemu-user-static registers it with F"
        ).format(name=handler.name, interpreter=handler.interpreter)
    path = CLEAN_ENVIRONMENT["PATH"]
    if not any(shutil.which(f"qemu-{elf.qemu}{suffix}", path=path) for suffix in ("", "-static")):
        return "apt-get install qemu-user-static binfmt-support"
    if shutil.which("update-binfmts", path=path):
        return _("register qemu-{name} with the kernel: update-binfmts --enable").format(name=elf.qemu)
    return _(
        "register qemu-{name} with the kernel: systemctl restart systemd-binfmt; "
        "without systemd: apt-get install binfmt-support && update-binfmts --enable"
    ).format(name=elf.qemu)


def _read(directory: int) -> Iterator[Handler | None]:
    for name in sorted(os.listdir(directory)):
        if name in ("register", "status"):
            continue
        with open(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)) as stream:
            yield Handler.parse(name, stream.read())


@contextlib.contextmanager
def _registry() -> Iterator[int]:
    """A descriptor of binfmt_misc's directory; where it is not mounted, of a mount that nobody else sees."""
    try:
        os.stat(REGISTRY / "status")
        descriptor = os.open(REGISTRY, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        descriptor = detached.filesystem("binfmt_misc")
    try:
        yield descriptor
    finally:
        os.close(descriptor)
