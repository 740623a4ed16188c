"""Machines of another architecture: run by qemu where it is registered, refused with the fix where it is not."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from machinespawn.architecture import native
from machinespawn.host import linux
from tests.command_line import CHECKOUT
from tests.lab import tars
from tests.lab.namespaces import isolated
from tests.roots import Root

pytestmark = pytest.mark.skipif(native() == "arm64", reason="arm64 is native here")

REGISTRY = Path("/proc/sys/fs/binfmt_misc")
ENTRY = "machinespawn-test-aarch64"
QEMU = ("/usr/bin/qemu-aarch64-static", "/usr/bin/qemu-aarch64")
MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"

HELLO = b"from arm64\n"
WRITE, EXIT, PPOLL = 64, 93, 73
"""System calls of arm64, from asm-generic/unistd.h."""


def move(register: int, value: int) -> int:
    return 0xD2800000 | value << 5 | register


def call(number: int, *arguments: int) -> list[int]:
    """Machine code of one system call."""
    return [*(move(register, value) for register, value in enumerate(arguments)), move(8, number), 0xD4000001]


def program(code: list[int], data: bytes = b"") -> bytes:
    """A program of arm64 without anything but code, loaded at 0x400000."""
    text = b"".join(word.to_bytes(4, "little") for word in code) + data
    size = 64 + 56 + len(text)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")

    def numbers(width: int, *values: int) -> bytes:
        return b"".join(value.to_bytes(width, "little") for value in values)

    header = ident + numbers(2, 2, 183) + numbers(4, 1) + numbers(8, 0x400078, 64, 0) + numbers(4, 0)
    header += numbers(2, 64, 56, 1, 0, 0, 0)
    segment = numbers(4, 1, 5) + numbers(8, 0, 0x400000, 0x400000, size, size, 0x1000)
    return header + segment + text


ADR_X1 = 0x10000001
"""adr x1, plus so many bytes; they count from bit 7 on, in fours."""
TAIL = call(EXIT, 7)
GREET = call(WRITE, 1, 0, len(HELLO))
GREET[1] = ADR_X1 | (len(GREET) + len(TAIL) - 1) << 5
SLEEP = call(PPOLL, 0, 0, 0, 0, 0)
"""Until a signal comes."""


@contextlib.contextmanager
def registered() -> Iterator[None]:
    """qemu runs programs of arm64 on this host, until the block is left."""
    if not (REGISTRY / "register").exists():
        linux.mount("binfmt_misc", REGISTRY, "binfmt_misc")
    interpreter = next(path for path in QEMU if Path(path).exists())
    (REGISTRY / "register").write_text(f":{ENTRY}:M::{MAGIC}:{MASK}:{interpreter}:OCPF")
    try:
        yield
    finally:
        (REGISTRY / ENTRY).write_text("-1")


def test_where_it_is_registered_its_programs_run(fresh_root: Root, tmp_path: Path) -> None:
    archive = tmp_path / "arm.tar"
    archive.write_bytes(
        tars.tar(
            *(tars.directory(name) for name in ("etc", "usr", "usr/bin")),
            tars.Entry("usr/bin/hello", program(GREET + TAIL, HELLO), mode=0o755),
            tars.Entry("usr/bin/sleep", program(SLEEP), mode=0o755),
        )
    )

    def inside() -> tuple[int, str, str]:
        with registered():
            fresh_root.build("pull-tar", str(archive), "arm", "--arch", "arm64", "--no-verify")
            done = fresh_root.run("exec", "arm", "--", "hello")
            return done.returncode, done.stdout, done.stderr

    status, out, err = isolated(inside)
    assert (status, out) == (7, HELLO.decode()), err
    assert not (REGISTRY / ENTRY).exists()


def alone(root: Root, hidden: list[str], *argv: str) -> tuple[int, dict[str, str]]:
    """Status and error of a command where nothing is registered with the kernel, and some files are not programs.

    A user namespace has a registry of its own since Linux 6.7, and before that none that it may read.
    """
    covers = [f"mount --bind /dev/null {path}" for path in hidden]
    script = " && ".join(["mount -t tmpfs none /proc/sys/fs/binfmt_misc", *covers, 'exec "$@"'])
    line = [sys.executable, "-m", "machinespawn", "--root", str(root.path), *argv]
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-euc", script, "sh", *line],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, json.loads(done.stdout)["error"]


@pytest.mark.parametrize("installed", [True, False])
def test_where_it_is_not_the_fix_is_said(fresh_root: Root, installed: bool) -> None:
    hidden = [] if installed else [path for path in QEMU if Path(path).exists()]
    assert installed or hidden, "qemu-user-static is needed to see what happens without"
    status, error = alone(fresh_root, hidden, "debian-bookworm", "arm", "--arch", "arm64", "--json")
    assert (status, error["code"]) == (7, "missingtool")
    assert "arm64" in error["message"]
    if installed:
        assert "register qemu-aarch64" in error["hint"]
    else:
        assert error["hint"] == "apt-get install qemu-user-static binfmt-support"
    assert not fresh_root.tree("arm").exists()


def test_a_machine_that_came_over_from_elsewhere(fresh_root: Root, tmp_path: Path) -> None:
    archive = tmp_path / "arm.tar"
    archive.write_bytes(tars.tar(tars.directory("usr"), tars.Entry("usr/hello", program(TAIL), mode=0o755)))
    fresh_root.build("pull-tar", str(archive), "arm", "--arch", "arm64", "--no-verify")
    status, error = alone(fresh_root, [], "exec", "arm", "--json", "--", "/usr/hello")
    assert status == 125
    assert "arm64" in error["message"]
    assert "qemu-aarch64" in error["hint"]
