"""What a host holds that machines of one root could leave behind. Other roots may be at work at the same time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from machinespawn.config import Config
from machinespawn.host import cgroup
from machinespawn.runtimes import state


@dataclass(frozen=True)
class Left:
    """One look at the host."""

    mounts: tuple[str, ...]
    cgroups: tuple[str, ...]
    files: tuple[str, ...]
    processes: tuple[str, ...]


def look(root: Path) -> Left:
    """Mounts below the root, its control groups, machines and their states, and systemd-nspawn on its trees."""
    return Left(_mounts(root), _cgroups(root), _files(root), _processes(root))


def _mounts(root: Path) -> tuple[str, ...]:
    points = (line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return tuple(sorted(point for point in points if Path(point).is_relative_to(root)))


def _cgroups(root: Path) -> tuple[str, ...]:
    mark = state.group(Config(root=root), "")
    tops = (top for hierarchy in cgroup.hierarchies() for top in hierarchy.path.glob(f"{cgroup.PARENT}/*"))
    return tuple(sorted(str(top) for top in tops if top.name.endswith(mark)))


def _files(root: Path) -> tuple[str, ...]:
    config = Config(root=root)
    places = (config.machines, config.run / "machines")
    return tuple(sorted(str(path) for place in places if place.is_dir() for path in place.iterdir()))


def _processes(root: Path) -> tuple[str, ...]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if os.path.basename(words[0]) == b"systemd-nspawn" and any(os.fsencode(root) in word for word in words):
                found.append(entry.name)
    return tuple(sorted(found))
