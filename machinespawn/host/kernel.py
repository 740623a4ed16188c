"""What the kernel we stand on can do, found by trying it where nobody sees it. Nothing here raises OSError."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from machinespawn.host import cgroup, detached, linux

INOTIFY_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
_USER_NAMESPACES = Path("/proc/sys/user/max_user_namespaces")
_SECCOMP_ACTIONS = Path("/proc/sys/kernel/seccomp/actions_avail")
_FICLONE = 0x40049409


@dataclass(frozen=True)
class Unified:
    """Control groups version 2."""

    path: Path | None
    """Where they are mounted; None: nowhere."""
    controllers: tuple[str, ...] = ()
    """Without controllers groups can be frozen and killed, but not limited."""
    legacy: tuple[str, ...] = ()
    """Controllers that version 1 holds."""


def release() -> str:
    """As uname -r has it."""
    return os.uname().release


def has_overlayfs() -> bool:
    """Whether overlays can be mounted."""
    return detached.knows("overlay")


def user_namespaces() -> int:
    """How many user namespaces there may be; 0: the kernel has none, or they are forbidden."""
    return int(_read(_USER_NAMESPACES) or 0)


def inotify_instances() -> int:
    """How many inotify instances a user may have; a booted machine takes about eight of root's."""
    return int(_read(INOTIFY_INSTANCES) or 0)


def has_seccomp() -> bool:
    """Whether system calls can be filtered."""
    return "errno" in _read(_SECCOMP_ACTIONS).split()


def unified_cgroups() -> Unified:
    """Whether and where version 2 is mounted, and which controllers it has."""
    hierarchies = cgroup.hierarchies()
    legacy = [hierarchy.path.name for hierarchy in hierarchies if not hierarchy.unified]
    for hierarchy in hierarchies:
        if hierarchy.unified:
            controllers = _read(hierarchy.path / "cgroup.controllers").split()
            return Unified(hierarchy.path, tuple(controllers), tuple(legacy))
    return Unified(None, legacy=tuple(legacy))


def why_not_idmapped(directory: Path) -> str:
    """Why mounts of directory's file system cannot be id-mapped; empty: they can."""
    try:
        namespace = _mapped_user_namespace()
    except OSError as error:
        return error.strerror or str(error)
    try:
        os.close(detached.idmapped(directory, namespace))
    except OSError as error:
        return error.strerror or str(error)
    finally:
        os.close(namespace)
    return ""


def _mapped_user_namespace() -> int:
    """A descriptor of a user namespace whose ids start at 1000000 outside. Raises OSError."""
    ready, started = os.pipe()
    done, finish = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            linux.unshare(linux.CLONE_NEWUSER)
            os.write(started, b"+")
            os.close(finish)
            os.read(done, 1)
        finally:
            os._exit(0)
    try:
        os.close(started)
        if not os.read(ready, 1):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        Path(f"/proc/{child}/uid_map").write_text("0 1000000 65536")
        Path(f"/proc/{child}/gid_map").write_text("0 1000000 65536")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        for descriptor in (ready, done, finish):
            os.close(descriptor)
        os.waitpid(child, 0)


def can_reflink(directory: Path) -> bool:
    """Whether files in directory can share their blocks; tried with two files that have no name."""
    try:
        with tempfile.TemporaryFile(dir=directory) as source, tempfile.TemporaryFile(dir=directory) as clone:
            source.write(b"\0" * 4096)
            source.flush()
            fcntl.ioctl(clone.fileno(), _FICLONE, source.fileno())
    except OSError:
        return False
    return True


def filesystem_kind(directory: Path) -> str:
    """The kind of file system that directory lies on: ext4, btrfs, …; empty where /proc does not tell."""
    best = (0, "")
    for line in _read(Path("/proc/self/mountinfo")).splitlines():
        before, _separator, after = line.partition(" - ")
        place = Path(before.split(" ")[4].encode().decode("unicode_escape"))
        if directory.resolve().is_relative_to(place) and len(place.parts) >= best[0]:
            best = (len(place.parts), after.split(" ")[0])
    return best[1]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
