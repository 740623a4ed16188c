"""Files of a tree that somebody else wrote: no link in it leads out of it."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from machinespawn.files import remove_tree
from machinespawn.host import linux


@contextlib.contextmanager
def _root(tree: Path) -> Iterator[int]:
    descriptor = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def directory(tree: Path, path: str, *, create: bool = False) -> Iterator[int]:
    """A descriptor of the directory path of the tree; with create, what is missing is made (0755, root)."""
    with _root(tree) as root:
        if create:
            parts = PurePosixPath(path).parts
            for depth in range(1, len(parts) + 1):
                _make_directory(root, PurePosixPath(*parts[:depth]))
        descriptor = linux.open_in_root(root, path or "/", os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _make_directory(root: int, path: PurePosixPath) -> None:
    try:
        os.close(linux.open_in_root(root, str(path), os.O_PATH | os.O_DIRECTORY))
    except FileNotFoundError:
        parent = linux.open_in_root(root, str(path.parent), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.mkdir(path.name, 0o755, dir_fd=parent)
        finally:
            os.close(parent)


def read(tree: Path, path: str, limit: int = 1 << 20) -> str | None:
    """Text of a regular file of the tree, its first ``limit`` bytes; None where there is none."""
    try:
        with _root(tree) as root:
            descriptor = linux.open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return stream.read(limit).decode(errors="replace")


def exists(tree: Path, path: str) -> bool:
    """Whether path, its links followed inside the tree, is there."""
    try:
        with _root(tree) as root:
            os.close(linux.open_in_root(root, path, os.O_PATH))
    except OSError:
        return False
    return True


def write(tree: Path, path: str, content: str | bytes, mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> None:
    """Put a file into the tree, by rename; a link or file of that name is replaced, never followed."""
    target = PurePosixPath(path)
    temporary = f".#{target.name}.{secrets.token_hex(4)}"
    with directory(tree, str(target.parent), create=True) as parent:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=parent)
        try:
            with open(descriptor, "wb") as stream:
                stream.write(content.encode() if isinstance(content, str) else content)
                stream.flush()
                os.fchown(descriptor, *owner)
                os.fchmod(descriptor, mode)
            os.rename(temporary, target.name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=parent)
            raise


def make_directory(tree: Path, path: str, mode: int, owner: tuple[int, int]) -> None:
    """A directory of the tree with this mode and owner; one that is there gets them."""
    with directory(tree, path, create=True) as descriptor:
        os.fchown(descriptor, *owner)
        os.fchmod(descriptor, mode)


def is_link(tree: Path, path: str) -> bool:
    """Whether path of the tree is a symbolic link."""
    target = PurePosixPath(path)
    try:
        with directory(tree, str(target.parent)) as parent:
            return stat.S_ISLNK(os.stat(target.name, dir_fd=parent, follow_symlinks=False).st_mode)
    except OSError:
        return False


def link(tree: Path, path: str, to: str) -> None:
    """Make path of the tree a symbolic link; a file or link of that name is replaced."""
    target = PurePosixPath(path)
    with directory(tree, str(target.parent), create=True) as parent:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(target.name, dir_fd=parent)
        os.symlink(to, target.name, dir_fd=parent)


def remove(tree: Path, path: str) -> None:
    """Remove a file or link of the tree; what is not there is fine."""
    target = PurePosixPath(path)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), directory(tree, str(target.parent)) as parent:
        os.unlink(target.name, dir_fd=parent)


def names(tree: Path, path: str) -> tuple[str, ...]:
    """Names in a directory of the tree, sorted; none where it is not there."""
    try:
        with directory(tree, path) as descriptor:
            return tuple(sorted(os.listdir(descriptor)))
    except OSError:
        return ()


def empty(tree: Path, path: str) -> None:
    """Remove all that is in a directory of the tree, but not the directory."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), directory(tree, path) as descriptor:
        for name in os.listdir(descriptor):
            remove_tree(Path(f"/proc/{os.getpid()}/fd/{descriptor}") / name)  # rm has a /proc/self of its own


def os_release(tree: Path) -> dict[str, str]:
    """Fields of the tree's os-release(5), without their quotes; empty where it has none."""
    text = read(tree, "etc/os-release", 16384) or read(tree, "usr/lib/os-release", 16384) or ""
    return {key: value for key, _quote, value in re.findall(r"""^([A-Z_]+)=(["']?)(.*)\2\s*$""", text, re.MULTILINE)}
