"""What killed commands leave: staging that nobody holds, specs without a tree."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from machinespawn.config import Config
from machinespawn.errors import MachinespawnError, ProgramError
from machinespawn.files import locked, remove_tree
from machinespawn.host import cgroup
from machinespawn.machines import spec
from machinespawn.store import trees

STAGED = ".#"


def sweep(config: Config) -> int:
    """Clear away what no living command holds; gives how many things went."""
    if not config.state.exists():
        return 0
    gone = 0
    with locked(config.locks / "staging"):
        for parent in (config.layers, config.machines, config.cache / "archives", config.cache / "lists"):
            for name in _staged(parent):
                if _reclaim(parent / name):
                    _forget_removed(config, name)
                    gone += 1
    return gone + cgroup.sweep_builds() + sum(_settle(config, name) for name in spec.names(config))


def _staged(parent: Path) -> list[str]:
    try:
        return [name for name in os.listdir(parent) if name.startswith(STAGED)]
    except FileNotFoundError:
        return []


def _reclaim(directory: Path) -> bool:
    """Remove a staging directory unless somebody holds its lock."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        _remove_dying(directory)
        return True
    finally:
        os.close(descriptor)


def _forget_removed(config: Config, staged: str) -> None:
    """A removal was cut off after the tree had lost its name: the spec goes too."""
    name, mark, _token = staged.removeprefix(STAGED).rpartition(f"{trees.REMOVED}.")
    if mark and not trees.path(config, name).exists():
        remove_tree(spec.directory(config, name))


def _remove_dying(directory: Path) -> None:
    """Remove a tree that processes of a killed build may still write to for an instant."""
    for _attempt in range(50):
        try:
            return remove_tree(directory)
        except (OSError, ProgramError):
            time.sleep(0.1)
    return remove_tree(directory)


def _settle(config: Config, name: str) -> bool:
    """Bring spec and tree of a machine together again, where a commit or a removal was cut off."""
    with contextlib.suppress(MachinespawnError), locked(trees.lock_file(config, name), wait=False):
        return trees.settle(config, name)
    return False
