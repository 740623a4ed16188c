"""Members of a tar written into the tree that is our root directory; layers with their whiteouts.

Runs in the confined child: '/' is the tree, so no link and no name leads out of
it. What else a member can do wrong is refused here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tarfile
from collections.abc import Callable
from dataclasses import dataclass

from machinespawn.build.archive import attributes
from machinespawn.build.archive.attributes import raw
from machinespawn.build.archive.tar import Damaged, Reader, members, parts
from machinespawn.errors import BuildError, TrustError
from machinespawn.text import _

DEPTH_MAX = 256
"""Directories inside one another; what removes trees goes about it recursively."""
WHITEOUT, META, OPAQUE = b".wh.", b".wh..wh.", b".wh..wh..opq"


@dataclass(frozen=True)
class Bounds:
    """What the tree may grow by."""

    bytes: int
    entries: int


@dataclass(frozen=True)
class Rules:
    """How an archive is to be read."""

    bounds: Bounds
    strip: int = 0
    """Leading directories to drop from names."""
    layer: bool = False
    """It lies on top of what is there: .wh. names hide that."""
    algorithm: str = ""
    """Hash to take of the unpacked bytes."""
    digest: str = ""
    """What that hash must be, in hex."""


def extract(data: int, rules: Rules) -> dict[str, int]:
    """Unpack the tar that comes from data into '/'."""
    reader = Reader(data, rules.bounds.bytes, rules.algorithm)
    tree = _Tree(rules)
    for count, member in enumerate(members(reader)):
        if count >= rules.bounds.entries:
            raise BuildError(
                _("it has more than {count} members, for which there are no inodes").format(count=rules.bounds.entries),
                _("use another file system, or do not use this archive if it should be small"),
            )
        tree.put(member, reader)
    tree.finish()
    if reader.finish() != rules.digest:
        raise TrustError(
            _("it does not have the {algorithm} that its image says").format(algorithm=rules.algorithm),
            _("fetch it again; if its checksum is right, its maker has to know"),
        )
    return {"entries": tree.entries, "left_out": len(tree.left_out)}


class _Tree:
    """The tree being written, and what has to be remembered until its end."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._parent: tuple[str, ...] | None = None
        self._real = b""
        self._times: dict[bytes, int] = {}
        """Of directories: what is written into one later changes its time."""
        self._ours: set[bytes] = set()
        """Of a layer: what it has itself, and the directories above, which its whiteouts must spare."""
        self.entries = 0
        self.left_out: set[tuple[str, ...]] = set()

    def put(self, member: tarfile.TarInfo, reader: Reader) -> None:
        """Write one member."""
        names = _checked(member.name, member)[self._rules.strip :]
        if not names:
            if member.isdir():
                self._times[b"/"] = attributes.nanoseconds(member)
            elif not self._rules.strip:
                raise _refused(member, _("only a directory can be the top of a tree"))
            return
        last = raw(names[-1])
        if self._rules.layer and last.startswith(WHITEOUT):
            self._hide(names, last, member)
            return
        if self._rules.layer and any(raw(name).startswith(META) for name in names):
            return  # aufs kept its books under such names
        path = self._place(names, member)
        try:
            self._write(path, names, member, reader)
        except OSError as error:
            raise _failed(error, member) from error
        if self._rules.layer:
            self._ours.add(path)
        self.entries += 1

    def _write(self, path: bytes, names: tuple[str, ...], member: tarfile.TarInfo, reader: Reader) -> None:
        if member.isdir():
            self._directory(path, member)
        elif member.issym():
            _replacing(path, lambda: os.symlink(raw(member.linkname), path))
            attributes.apply(path, member)
        elif member.islnk():
            self._link(path, names, member)
        elif member.isreg():
            _file(path, member, reader)
        else:  # a device node, a pipe, or what no tree holds; nspawn makes the devices it needs
            _remove(path)
            self.left_out.add(names)

    def _place(self, names: tuple[str, ...], member: tarfile.TarInfo) -> bytes:
        """The path of names, its directory made and freed of links."""
        if self._parent != names[:-1]:
            self._real = self._directories(names[:-1], member)
            self._parent = names[:-1]
        return self._real + b"/" + raw(names[-1])

    def _directories(self, names: tuple[str, ...], member: tarfile.TarInfo) -> bytes:
        real = os.path.realpath(b"/" + b"/".join(raw(name) for name in names))
        real = real.rstrip(b"/")
        if len(names) > DEPTH_MAX or real.count(b"/") > DEPTH_MAX:
            raise _refused(member, _("it lies more than {depth} directories deep").format(depth=DEPTH_MAX))
        try:
            os.makedirs(real or b"/", 0o755, exist_ok=True)
        except OSError as error:
            raise _failed(error, member) from error
        if self._rules.layer:
            pieces = real.split(b"/")
            self._ours.update(b"/".join(pieces[:end]) for end in range(2, len(pieces) + 1))
        return real

    def _directory(self, path: bytes, member: tarfile.TarInfo) -> None:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                os.unlink(path)
                os.mkdir(path, 0o700)
        attributes.apply(path, member)
        self._times[path] = attributes.nanoseconds(member)

    def _link(self, path: bytes, names: tuple[str, ...], member: tarfile.TarInfo) -> None:
        target = _checked(member.linkname, member)[self._rules.strip :]
        if target in self.left_out:
            self.left_out.add(names)
            return
        source = b"/" + b"/".join(raw(name) for name in target)
        if os.path.lexists(path) and os.path.samestat(os.lstat(path), os.lstat(source)):
            return
        _replacing(path, lambda: os.link(source, path, follow_symlinks=False))

    def _hide(self, names: tuple[str, ...], last: bytes, member: tarfile.TarInfo) -> None:
        """What a whiteout asks for. It concerns the layers below, never what its own layer has."""
        if last.startswith(META) and last != OPAQUE:
            return
        hidden = last.removeprefix(WHITEOUT)
        if hidden in (b"", b".", b".."):
            raise _refused(member, _("it hides what is not in its directory"))
        directory = self._place(names, member)[: -len(last) - 1]
        if last == OPAQUE:
            self._clear(directory or b"/")
        else:
            self._clear(directory + b"/" + hidden)

    def _clear(self, path: bytes) -> None:
        """Remove what lower layers have at path, all but what is ours."""
        if path != b"/" and path not in self._ours:
            _remove(path)
        elif os.path.isdir(path) and not os.path.islink(path):
            for name in os.listdir(path):
                self._clear(path.rstrip(b"/") + b"/" + name)

    def finish(self) -> None:
        """Give the directories their times, and the tree's root its mode."""
        os.chown("/", 0, 0)
        os.chmod("/", 0o755)  # noqa: S103  # as every root directory is
        for path, time in self._times.items():
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
                continue  # a later member took its place
            os.utime(descriptor, ns=(time, time))
            os.close(descriptor)


def _file(path: bytes, member: tarfile.TarInfo, reader: Reader) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        _remove(path)
        descriptor = os.open(path, flags, 0o600)
    try:
        if member.issparse():
            _sparse(descriptor, member, reader)
        else:
            reader.copy(member.size, descriptor)
        attributes.apply(descriptor, member)
    finally:
        os.close(descriptor)


def _sparse(descriptor: int, member: tarfile.TarInfo, reader: Reader) -> None:
    pieces: list[tuple[int, int]] = member.sparse  # type: ignore[assignment]  # typeshed says bytes
    for offset, size in pieces:
        if not 0 <= offset <= offset + size <= member.size:
            raise Damaged(_("a sparse file with data outside of it"))
        os.lseek(descriptor, offset, os.SEEK_SET)
        reader.copy(size, descriptor)
    os.ftruncate(descriptor, member.size)


def _replacing(path: bytes, make: Callable[[], None]) -> None:
    try:
        make()
    except FileExistsError:
        _remove(path)
        make()


def _remove(path: bytes) -> None:
    """As files.remove_tree(), but without a program: in here that would be one out of the archive."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _checked(name: str, member: tarfile.TarInfo) -> tuple[str, ...]:
    """The components of a name in the archive; TrustError for one that climbs."""
    found = parts(name)
    if ".." in found:
        raise _refused(member, _("it names {name!r}").format(name=name[:200]))
    if "\0" in name:
        raise _refused(member, _("its name holds a zero byte"))
    return found


def _refused(member: tarfile.TarInfo, why: str) -> TrustError:
    return TrustError(
        _("the member {member!r} is refused: {why}").format(member=member.name[:200], why=why),
        _("nobody packs a root file system like that: do not use this archive"),
    )


def _failed(error: OSError, member: tarfile.TarInfo) -> BuildError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BuildError(
            _("no space is left for {member!r}").format(member=member.name[:200]),
            _("make room: machinespawn clean-cache"),
        )
    return BuildError(
        _("the member {member!r} cannot be unpacked: {error}").format(
            member=member.name[:200], error=os.strerror(error.errno or 0)
        ),
        _("its maker has to know; tar -tvf shows what is in the archive"),
    )
