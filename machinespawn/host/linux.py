"""The system calls that Python 3.11 lacks: mount, umount2, unshare, setns, renameat2, openat2, prctl, syncfs."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x8000000, 0x10000000, 0x20000000
CLONE_NEWNET = 0x40000000
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
AT_FDCWD = -100
PR_SET_PDEATHSIG = 1
RESOLVE_NO_MAGICLINKS, RESOLVE_IN_ROOT = 0x02, 0x10
SYS_OPENAT2 = 437  # the same number on every architecture (Linux 5.6)

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, *paths: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), *paths[:1])
    return result


def mount(source: str, target: Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    _checked(
        _libc.mount(
            source.encode(),
            os.fsencode(target),
            kind.encode(),
            ctypes.c_ulong(flags),
            options.encode() if options else None,
        ),
        str(target),
    )


def unmount(target: Path) -> None:
    """umount2(2), following no symlink, never lazily."""
    umount_nofollow = 8
    _checked(_libc.umount2(os.fsencode(target), umount_nofollow), str(target))


def unshare(flags: int) -> None:
    """unshare(2)."""
    _checked(_libc.unshare(flags))


@contextlib.contextmanager
def children_in(pidfd: int) -> Iterator[None]:
    """What is forked in the block starts in the pid namespace of that process."""
    ours = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_libc.setns(pidfd, CLONE_NEWPID))
        yield
    finally:
        _checked(_libc.setns(ours, CLONE_NEWPID))
        os.close(ours)


def die_with_parent(signal: int) -> None:
    """Have the kernel send us signal when the thread that forked us ends."""
    _checked(_libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal), 0, 0, 0))


def rename(source: Path, target: Path, flags: int) -> None:
    """renameat2(2): RENAME_NOREPLACE raises FileExistsError, RENAME_EXCHANGE swaps the two."""
    _checked(
        _libc.renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), ctypes.c_uint(flags)),
        str(target),
    )


def sync_filesystem(path: Path) -> None:
    """syncfs(2): all that was written to the file system of path is on disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_libc.syncfs(descriptor), str(path))
    finally:
        os.close(descriptor)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_in_root(root: int, path: str, flags: int, mode: int = 0) -> int:
    """openat2(2) with RESOLVE_IN_ROOT: links, '..' and absolute names end inside the directory root."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    return _checked(
        _libc.syscall(SYS_OPENAT2, root, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how)),
        path,
    )
