"""What a host holds that machines could leave behind."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from machinespawn.config import Config
from machinespawn.host import cgroup
from machinespawn.runtimes import state


@dataclass(frozen=True)
class Left:
    """One look at the host, as far as it concerns one root and the real one."""

    mounts: tuple[str, ...]
    cgroups: tuple[str, ...]
    files: tuple[str, ...]
    processes: tuple[str, ...]


def look(root: Path) -> Left:
    """Mounts, control groups of ours, machines and their states, and systemd-nspawn processes."""
    return Left(_mounts(), _cgroups(root), _files(root), _processes(root))


def _mounts() -> tuple[str, ...]:
    return tuple(sorted(line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()))


def _cgroups(root: Path) -> tuple[str, ...]:
    """Of the real root and of this one; other roots may be at work at the same time."""
    mark = state.group(Config(root=root), "")
    tops = (top for hierarchy in cgroup.hierarchies() for top in hierarchy.path.glob(f"{cgroup.PARENT}/*"))
    return tuple(sorted(str(top) for top in tops if "@" not in top.name or top.name.endswith(mark)))


def _files(root: Path) -> tuple[str, ...]:
    config = Config(root=root)
    places = (Path("/var/lib/machines"), Path("/run/machinespawn/machines"), config.machines, config.run / "machines")
    return tuple(sorted(str(path) for place in places if place.is_dir() for path in place.iterdir()))


def _processes(root: Path) -> tuple[str, ...]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            mine = os.path.basename(words[0]) == b"systemd-nspawn"
            if mine and any(os.fsencode(place) in word for word in words for place in (root, "/var/lib/machines")):
                found.append(entry.name)
    return tuple(sorted(found))
