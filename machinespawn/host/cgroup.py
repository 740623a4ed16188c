"""A control group for each machine, machinespawn/NAME in every hierarchy: v2, v1 or both at once.

Nothing of ours runs in machinespawn/NAME itself once the machine is up, since
in v2 inner nodes hold no processes: systemd-nspawn makes ``supervisor`` and
``payload`` in it, and commands that are run in the machine sit in ``exec``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from machinespawn.errors import MissingToolError
from machinespawn.text import _

PARENT = "machinespawn"
EXEC = "exec"
GONE_WITHIN = 10.0
"""Seconds that killed processes may take to go."""


@dataclass(frozen=True)
class Hierarchy:
    """One mounted hierarchy of control groups."""

    path: Path
    unified: bool
    """It is v2's."""


def hierarchies(mountinfo: Path = Path("/proc/self/mountinfo")) -> tuple[Hierarchy, ...]:
    """Every hierarchy that is mounted, each once; v2 first."""
    found: dict[str, Hierarchy] = {}
    for line in mountinfo.read_text().splitlines():
        before, _separator, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")[0]
        if kind in ("cgroup", "cgroup2"):
            path = Path(fields[4].encode().decode("unicode_escape"))
            found.setdefault(fields[2], Hierarchy(path, kind == "cgroup2"))
    return tuple(sorted(found.values(), key=lambda hierarchy: not hierarchy.unified))


def create(name: str) -> tuple[Path, ...]:
    """Make the machine's group in every hierarchy; gives the directories."""
    everywhere = hierarchies()
    if not everywhere:
        raise MissingToolError(
            _("no control groups are mounted"), _("mount -t cgroup2 cgroup2 /sys/fs/cgroup, then try again")
        )
    pure = all(hierarchy.unified for hierarchy in everywhere)
    return tuple(_create(hierarchy, name, enable=pure) for hierarchy in everywhere)


def _create(hierarchy: Hierarchy, name: str, *, enable: bool) -> Path:
    parent = hierarchy.path / PARENT
    for _attempt in range(20):
        try:
            for directory in (parent, parent / name):
                if enable:
                    _enable_controllers(directory.parent)
                _make(directory)
        except FileNotFoundError:
            continue  # the last machine went meanwhile, and took the parent with it
        except OSError as error:
            raise MissingToolError(
                _("control groups cannot be made below {path}: {error}").format(path=hierarchy.path, error=error),
                _("run on the host itself, or in a container that may write to its control groups"),
            ) from error
        return parent / name
    raise MissingToolError(_("control group {path} goes away again and again").format(path=parent))


BUILD = ".build-"
"""Begins the name of a build's group, which ends with the pid of its command: no machine is called so."""


@contextlib.contextmanager
def for_build() -> Iterator[Callable[[], None]]:
    """A group for what this process builds: systemd-nspawn notes its own in it, and all of it goes in the end.

    Gives what a child calls to join it.
    """
    name = f"{BUILD}{os.getpid()}"
    groups = create(name)

    def join() -> None:
        for group in groups:
            (group / "cgroup.procs").write_text("0")

    try:
        yield join
    finally:
        remove(name)


def sweep_builds() -> int:
    """Remove the groups of builds whose command was killed; gives how many."""
    every = {path.name for each in hierarchies() for path in (each.path / PARENT).glob(f"{BUILD}*")}
    dead = [name for name in every if not Path("/proc", name.removeprefix(BUILD)).exists() and not processes(name)]
    for name in dead:
        remove(name)
    return len(dead)


def for_commands(name: str) -> tuple[Path, ...]:
    """The groups for commands that are run in the machine, which must be there; none if it is gone."""
    leaves = tuple(directory / EXEC for directory in directories(name))
    try:
        for leaf in leaves:
            _make(leaf)
    except FileNotFoundError:
        return ()
    return leaves


def _make(directory: Path) -> None:
    directory.mkdir(mode=0o755, exist_ok=True)
    _inherit_cpuset(directory)


def _enable_controllers(directory: Path) -> None:
    """Let what lies below be limited, as far as this host allows."""
    with contextlib.suppress(OSError):
        for controller in (directory / "cgroup.controllers").read_text().split():
            with contextlib.suppress(OSError):
                (directory / "cgroup.subtree_control").write_text(f"+{controller}")


def _inherit_cpuset(directory: Path) -> None:
    """A new group of v1's cpuset takes no process before it has cpus and memory nodes."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        path = directory / file
        if (directory / "cpuset.effective_cpus").exists() and not path.read_text().strip():
            path.write_text((directory.parent / file).read_text())


def directories(name: str) -> tuple[Path, ...]:
    """The machine's groups that are there."""
    every = (hierarchy.path / PARENT / name for hierarchy in hierarchies())
    return tuple(path for path in every if path.is_dir())


def processes(name: str) -> frozenset[int]:
    """Pids of all that runs in the machine's groups."""
    found: set[int] = set()
    for top in directories(name):
        for directory, _names, files in os.walk(top):
            if "cgroup.procs" in files:
                with contextlib.suppress(OSError):  # it went away, or is threaded: its parent lists it
                    found.update(map(int, Path(directory, "cgroup.procs").read_text().split()))
    found.discard(0)  # one that we cannot see from our pid namespace
    return frozenset(found)


def frozen(name: str) -> bool:
    """Whether the machine is frozen or is just being, in v2 or by v1's freezer."""
    for directory in directories(name):
        for file, thawed in (("cgroup.freeze", "0"), ("freezer.state", "THAWED")):
            with contextlib.suppress(OSError):
                if (directory / file).read_text().strip() != thawed:
                    return True
    return False


def thaw(name: str) -> None:
    """Let the machine go on, if it was frozen."""
    for directory in directories(name):
        for file, thawed in (("cgroup.freeze", "0"), ("freezer.state", "THAWED")):
            with contextlib.suppress(OSError):
                (directory / file).write_text(thawed)


def kill(name: str) -> bool:
    """End all that runs in the machine's groups, which are not frozen; False if something stays."""
    for directory in directories(name):
        with contextlib.suppress(OSError):
            (directory / "cgroup.kill").write_text("1")  # v2, Linux 5.14
    deadline = time.monotonic() + GONE_WITHIN
    while pids := processes(name):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def remove(name: str) -> None:
    """Remove the machine's groups, in which nothing may run any more, and the parent once it is empty."""
    for top in directories(name):
        for directory, _names, _files in os.walk(top, topdown=False):
            _remove(Path(directory))
        with contextlib.suppress(OSError):
            top.parent.rmdir()


def _remove(directory: Path) -> None:
    """Its processes are gone, but the kernel may count them for a moment yet."""
    deadline = time.monotonic() + GONE_WITHIN
    while True:
        try:
            return directory.rmdir()
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


_DEVICES = (
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",  # null
    "c 1:5 rwm",  # zero
    "c 1:7 rwm",  # full
    "c 1:8 rwm",  # random
    "c 1:9 rwm",  # urandom
    "c 5:0 rwm",  # tty
    "c 5:1 rwm",  # console
    "c 5:2 rwm",  # ptmx
    "c 136:* rwm",  # pts
    "c 10:200 rwm",  # net/tun
)
"""What DevicePolicy=closed of systemd-nspawn@.service lets through: nodes may be made, few may be opened."""


def close_devices(name: str) -> bool:
    """Keep the machine from the host's devices; False where only v2 is there, which takes a BPF program for that."""
    for directory in directories(name):
        if (directory / "devices.deny").exists():
            (directory / "devices.deny").write_text("a")
            for rule in _DEVICES:
                (directory / "devices.allow").write_text(rule)
            return True
    return False
