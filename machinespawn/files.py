"""Files that are wholly there or not at all, and locks that die with their holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from machinespawn import shell
from machinespawn.errors import BusyError


def write_atomic(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Write path by rename; it has its mode from the start and is on disk when this returns."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".#{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with open(descriptor, "wb") as stream:
            os.fchmod(descriptor, mode)
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True, shared: bool = False, busy: str = "", hint: str = "") -> Iterator[None]:
    """Hold the lock file at path; the kernel lets go when the process ends, however it ends.

    Only a holder may remove the file. With wait=False a lock that is held
    raises BusyError(busy, hint).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, operation)
            if _is(path, descriptor):
                yield
                return
        except BlockingIOError:
            raise BusyError(busy or f"{path} is locked by another process", hint) from None
        finally:
            os.close(descriptor)


def _is(path: Path, descriptor: int) -> bool:
    """Whether path still names the open file: its last holder may have removed it while we waited."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def remove_tree(path: Path) -> None:
    """Remove a file or a tree, following no link and entering no mount; what is not there is fine.

    Raises ProgramError where something is mounted in the tree: that is not ours to remove.
    """
    if path.is_dir() and not path.is_symlink():
        shell.run(["rm", "--recursive", "--force", "--one-file-system", "--", str(path)])
    else:
        path.unlink(missing_ok=True)


def disk_usage(path: Path) -> int:
    """Bytes that a file or tree takes on disk, hard links counted once, as du counts."""
    seen: set[tuple[int, int]] = set()
    total = 0
    pending = [path]
    while pending:
        current = pending.pop()
        try:
            status = current.lstat()
        except FileNotFoundError:
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        total += status.st_blocks * 512
        if current.is_dir() and not current.is_symlink():
            with contextlib.suppress(FileNotFoundError):
                pending.extend(current.iterdir())
    return total
