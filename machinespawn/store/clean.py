"""Free what no machine needs: downloads, and layers that no machine was made of."""

from __future__ import annotations

import fcntl
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from machinespawn.config import Config
from machinespawn.errors import BusyError
from machinespawn.files import disk_usage, locked, remove_tree
from machinespawn.machines import spec
from machinespawn.progress import note
from machinespawn.store import layers, trees
from machinespawn.store.sweep import sweep
from machinespawn.text import _

DOWNLOADS_LOCK = "downloads"
"""Held shared by every build that may read downloads, exclusively by whoever removes them."""


@dataclass(frozen=True)
class Freed:
    """What went, or with dry_run what would go."""

    layers: tuple[str, ...]
    """Keys."""
    downloads: int
    """Files."""
    bytes: int
    paths: tuple[str, ...]


def clean(config: Config, *, dry_run: bool) -> Freed:
    """Remove all downloads, and every sealed layer that no machine's spec names.

    A build that is running keeps what it uses: downloads then stay, and so do
    layers that it reads.
    """
    if not dry_run:
        sweep(config)
    unused = _unused(config)
    size, gone = 0, []
    for key in unused:
        taken = disk_usage(layers.path(config, key))
        if dry_run or _remove_layer(config, key):
            size += taken
            gone.append(key)
    paths, files, downloaded = _downloads(config, dry_run=dry_run)
    return Freed(tuple(gone), files, size + downloaded, (*(str(layers.path(config, key)) for key in gone), *paths))


def _unused(config: Config) -> tuple[str, ...]:
    """Keys of layers that are not below any machine that is there."""
    wanted = {key for name in trees.names(config) for key in _layers_of(config, name)}
    try:
        names = sorted(os.listdir(config.layers))
    except FileNotFoundError:
        return ()
    return tuple(name for name in names if not name.startswith(".") and name not in wanted)


def _layers_of(config: Config, name: str) -> tuple[str, ...]:
    known = spec.read(config, name)
    return known.layers if known else ()


def _remove_layer(config: Config, key: str) -> bool:
    """Take the layer's name away while nobody makes or reads it, then remove it."""
    directory = layers.path(config, key)
    lock = config.locks / f"layer-{key}"
    try:
        with locked(lock, wait=False):
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                doomed = directory.with_name(f".#{key}.{secrets.token_hex(4)}")
                directory.rename(doomed)
                remove_tree(doomed)
            finally:
                os.close(descriptor)
            lock.unlink(missing_ok=True)
    except (BusyError, BlockingIOError):
        note(_("layer {key} is in use by a build and stays").format(key=key[:12]))
        return False
    return True


def _downloads(config: Config, *, dry_run: bool) -> tuple[tuple[str, ...], int, int]:
    """(paths, files, bytes) of what goes: downloads, but no loose file beside them, and what --keep kept."""
    cached = [path for path in _listed(config.cache) if path.is_dir() and not path.is_symlink()]
    found = [*cached, *_listed(config.state / "kept")]
    files = sum(len(names) for path in found for _top, _subdirectories, names in os.walk(path))
    size = sum(disk_usage(path) for path in found)
    if not dry_run:
        try:
            with locked(config.locks / DOWNLOADS_LOCK, wait=False):
                for path in found:
                    remove_tree(path)
        except BusyError:
            note(_("a build is running: downloads stay"))
            return (), 0, 0
    return tuple(str(path) for path in found), files, size


def _listed(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError:
        return []
