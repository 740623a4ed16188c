"""What stands in /var/lib/machines: a machine is there when its tree is, by one rename.

The tree is the machine. Its spec is written before as spec.next.json and takes
its final name after; settle() finishes or undoes that for a commit that was cut
off, told by the inode that the spec recorded.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from machinespawn import shell
from machinespawn.config import Config
from machinespawn.errors import ExistsError
from machinespawn.files import locked, remove_tree
from machinespawn.host import linux
from machinespawn.machines import spec
from machinespawn.machines.spec import MachineSpec
from machinespawn.store import layers
from machinespawn.text import _

NEXT = "spec.next.json"
REMOVED = ".removed"
"""Ends the staging name of a tree that is being removed."""


def names(config: Config) -> tuple[str, ...]:
    """Every machine that has a tree, ours or not."""
    try:
        with os.scandir(config.machines) as entries:
            return tuple(sorted(e.name for e in entries if e.is_dir(follow_symlinks=False) and e.name[0] != "."))
    except FileNotFoundError:
        return ()


def path(config: Config, name: str) -> Path:
    """The machine's tree."""
    return config.machines / name


def lock_file(config: Config, name: str) -> Path:
    """Held by whoever makes, replaces or removes the machine."""
    return config.locks / f"machine-{name}"


@contextlib.contextmanager
def reserved(config: Config, name: str, *, replace: bool) -> Iterator[None]:
    """Nobody else makes a machine of this name meanwhile; it must be free, or to be replaced."""
    with locked(
        lock_file(config, name),
        wait=False,
        busy=_("another command is building or removing machine {name}").format(name=name),
        hint=_("wait for it, or choose another name"),
    ):
        settle(config, name)
        if path(config, name).exists() and not replace:
            raise ExistsError(
                _("there is a machine {name} already: {path}").format(name=name, path=path(config, name)),
                _("choose another name, 'machinespawn remove {name}' first, or build with --replace").format(name=name),
            )
        yield


def copy(sources: Sequence[Path], mounted: Path, target: Path) -> None:
    """Copy the stacked layers to target: sparse, with owners, links, times and extended attributes."""
    from machinespawn.store import overlay

    with overlay.stacked(sources, mounted) as stacked:
        shell.run(["cp", "--archive", "--reflink=auto", "--one-file-system", f"{stacked}/.", str(target)])
    target.chmod(0o755)


def commit(config: Config, staged: Path, wanted: MachineSpec) -> None:
    """Make the staged tree the machine's, in one rename; an older tree of that name is swapped out and removed."""
    final = path(config, wanted.name)
    spec.write(config, wanted, NEXT)
    if final.exists():
        linux.rename(staged, final, linux.RENAME_EXCHANGE)
        _promote(config, wanted.name)
        remove_tree(staged)
    else:
        linux.rename(staged, final, linux.RENAME_NOREPLACE)
        _promote(config, wanted.name)


def settle(config: Config, name: str) -> bool:
    """Finish or undo what a killed commit or removal left of a machine; gives whether there was anything."""
    directory, tree = spec.directory(config, name), path(config, name)
    following = directory / NEXT
    if following.exists():
        wanted = MachineSpec.parse(following.read_text(), following)
        if tree.exists() and tree.stat().st_ino == wanted.tree_inode:
            _promote(config, name)
        else:
            following.unlink()
        if tree.exists():
            return True
    if directory.exists() and not (directory / spec.SPEC_FILE).exists():
        remove_tree(directory)
        return True
    return False


def _promote(config: Config, name: str) -> None:
    directory = spec.directory(config, name)
    os.rename(directory / NEXT, directory / spec.SPEC_FILE)


def remove(config: Config, name: str, clear: Callable[[], None]) -> None:
    """Take the tree's name away at once, then ``clear`` what hangs off it, then the tree itself."""
    with (
        locked(
            lock_file(config, name),
            wait=False,
            busy=_("another command is building or removing machine {name}").format(name=name),
            hint=_("wait for it and try again"),
        ),
        layers.staging(config.machines, f"{name}{REMOVED}", config) as doomed,
    ):
        linux.rename(path(config, name), doomed / "tree", linux.RENAME_NOREPLACE)
        clear()
        remove_tree(spec.directory(config, name))
