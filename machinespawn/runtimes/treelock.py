"""The locks that systemd-nspawn itself holds on a tree: whether somebody runs it, and what a killed one leaves."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from pathlib import Path

NSPAWN = Path("/run/systemd/nspawn")
F_OFD_SETLK = 37
"""From the kernel's fcntl.h; Python has no name for it before 3.12."""


def _files(tree: Path) -> list[Path]:
    """Its lock files, lock-util.c and path-util.c: one beside the tree, one by the inode."""
    files = [tree.with_name(f".#{tree.name}.lck")]
    with contextlib.suppress(FileNotFoundError):
        status = tree.stat()
        files.append(NSPAWN / "locks" / f"inode-{status.st_dev}:{status.st_ino}")
    return files


def in_use(tree: Path) -> bool:
    """Whether a systemd-nspawn has the tree, ours or not."""
    return any(not _unlocked(file, remove=False) for file in _files(tree))


def forget(tree: Path) -> None:
    """Remove what a killed systemd-nspawn left of its own; what another one holds stays."""
    for file in _files(tree):
        _unlocked(file, remove=True)
    with contextlib.suppress(OSError):
        (NSPAWN / "propagate" / tree.name).rmdir()


def _unlocked(file: Path, *, remove: bool) -> bool:
    """Whether nobody holds the lock; then, with remove, the file goes while we hold it."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.fcntl(descriptor, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        if remove:
            file.unlink(missing_ok=True)
    except (BlockingIOError, PermissionError):
        return False
    finally:
        os.close(descriptor)
    return True
