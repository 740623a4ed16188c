"""Mounts of a build. They live in its private mount namespace and die with it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from machinespawn.host import linux


@contextlib.contextmanager
def bound(source: Path, target: Path) -> Iterator[Path]:
    """Have source at target too."""
    linux.mount(str(source), target, flags=linux.MS_BIND)
    try:
        yield target
    finally:
        linux.unmount(target)


@contextlib.contextmanager
def stacked(
    layers: Sequence[Path], target: Path, *, upper: Path | None = None, work: Path | None = None
) -> Iterator[Path]:
    """The layers, the lowest first, as one tree at target; what is written goes to upper.

    Without upper the tree is read-only. Layers are named through descriptors, so
    that neither their paths' length nor a ':' in one matters (the options of
    mount(2) end after a page).
    """
    if upper is None and len(layers) == 1:
        with bound(layers[0], target) as tree:
            yield tree
        return
    with contextlib.ExitStack() as opened:
        numbers = [os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for layer in reversed(layers)]
        for number in numbers:
            opened.callback(os.close, number)
        options = "lowerdir=" + ":".join(f"/proc/self/fd/{number}" for number in numbers)
        if upper is not None:
            options += f",upperdir={upper},workdir={work}"
        options += ",redirect_dir=off,metacopy=off,index=off"
        linux.mount("overlay", target, "overlay", 0 if upper else linux.MS_RDONLY, options)
    try:
        yield target
    finally:
        linux.unmount(target)


@contextlib.contextmanager
def furnished(tree: Path) -> Iterator[None]:
    """proc, sys, dev and run in a tree, as maintainer scripts in a chroot expect them."""
    with contextlib.ExitStack() as mounts:

        def add(source: str, inside: str, kind: str, flags: int = 0, options: str = "") -> None:
            target = tree / inside
            linux.mount(source, target, kind, flags, options)
            mounts.callback(linux.unmount, target)

        add("proc", "proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        add("/sys", "sys", "", linux.MS_BIND)
        linux.mount("", tree / "sys", flags=linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY)
        add("tmpfs", "dev", "tmpfs", linux.MS_NOSUID | linux.MS_NOEXEC, "mode=755,size=1m")
        _devices(tree / "dev", mounts)
        add("tmpfs", "run", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")
        (tree / "run/lock").mkdir(mode=0o1777)
        yield


def _devices(dev: Path, mounts: contextlib.ExitStack) -> None:
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        (dev / name).touch()
        linux.mount(f"/dev/{name}", dev / name, flags=linux.MS_BIND)
        mounts.callback(linux.unmount, dev / name)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    linux.mount("devpts", dev / "pts", "devpts", options="newinstance,ptmxmode=0666,mode=620,gid=5")
    mounts.callback(linux.unmount, dev / "pts")
    for name, to in (
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
    ):
        (dev / name).symlink_to(to)
