"""Layers: differences between trees, kept under the key of everything that decided them.

A layer is /var/lib/machinespawn/layers/KEY/ with tree/ (the difference, in
overlay form) and manifest.json. It is made in a hidden staging directory,
sealed by one rename, and never changed afterwards.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from machinespawn.config import Config
from machinespawn.files import disk_usage, locked, remove_tree, write_atomic
from machinespawn.host import linux

FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """What is known of a sealed layer."""

    key: str
    stage: str
    parent: str
    """Key of the layer below; empty for the lowest."""
    recipe: str
    inputs: Mapping[str, Any]
    """Everything that went into the key, so that a miss can be explained."""
    digest: str
    """sha256 over names, modes, owners and contents of the difference."""
    size: int
    """Bytes on disk."""
    created: str
    """ISO 8601, UTC."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Name -> version of all that is installed up to this layer."""


def path(config: Config, key: str) -> Path:
    """Directory of the layer, sealed or not."""
    return config.layers / key


def tree(config: Config, key: str) -> Path:
    """The difference itself."""
    return path(config, key) / "tree"


def manifest(config: Config, key: str) -> Manifest | None:
    """The manifest of a sealed layer; None for one that is not there, or is of another format."""
    try:
        data = json.loads((path(config, key) / "manifest.json").read_text())
        if data.pop("format") != FORMAT:
            return None
        return Manifest(**data)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def manifests(config: Config) -> tuple[Manifest, ...]:
    """Every sealed layer, the newest first."""
    found = (manifest(config, name) for name in _names(config.layers) if not name.startswith("."))
    return tuple(sorted((each for each in found if each), key=lambda each: each.created, reverse=True))


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def staging(parent: Path, name: str, config: Config, *, keep: Path | None = None) -> Iterator[Path]:
    """A hidden directory .#NAME.XXXXXXXX in parent, locked while we live, removed on the way out.

    Whoever renames it away first keeps it; with ``keep``, an error moves it
    there. The lock is on the directory itself, so that what a killed build
    leaves can be told from what is in use.
    """
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory = parent / f".#{name}.{secrets.token_hex(4)}"
    with locked(config.locks / "staging"):
        directory.mkdir(mode=0o700)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    inode = os.fstat(descriptor).st_ino
    try:
        yield directory
    except Exception:
        if keep:
            keep.parent.mkdir(exist_ok=True, mode=0o700)
            directory.rename(keep)
        raise
    finally:
        if directory.exists() and directory.stat().st_ino == inode:
            remove_tree(directory)
        os.close(descriptor)


def seal(config: Config, staged: Path, manifest: Manifest) -> None:
    """Write the manifest and make the staged layer the layer of its key.

    All of it is on disk before its name appears: a layer that is there is whole,
    after a power cut too.
    """
    write_atomic(staged / "manifest.json", json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1) + "\n")
    linux.sync_filesystem(staged)
    final = path(config, manifest.key)
    if final.exists():  # of another format, or made anew on request
        linux.rename(staged, final, linux.RENAME_EXCHANGE)
        discard(staged)
    else:
        linux.rename(staged, final, linux.RENAME_NOREPLACE)


@contextlib.contextmanager
def held(config: Config, keys: Sequence[str]) -> Iterator[tuple[Path, ...]]:
    """The trees of sealed layers, which nobody removes meanwhile."""
    with contextlib.ExitStack() as locks:
        for key in keys:
            descriptor = os.open(path(config, key), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            locks.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield tuple(tree(config, key) for key in keys)


def discard(directory: Path) -> None:
    """Remove a layer's directory that has lost its name, once nobody reads it any more."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        remove_tree(directory)
    finally:
        os.close(descriptor)


def describe(
    staged: Path,
    *,
    key: str,
    stage: str,
    parent: str,
    recipe: str,
    inputs: Mapping[str, Any],
    packages: Mapping[str, str],
) -> Manifest:
    """The manifest of a layer that has just been made."""
    return Manifest(
        key=key,
        stage=stage,
        parent=parent,
        recipe=recipe,
        inputs=inputs,
        digest=content_digest(staged / "tree"),
        size=disk_usage(staged / "tree"),
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        packages=packages,
    )


def content_digest(top: Path) -> str:
    """sha256 of a tree: names in order, kind, mode, owner, link target or contents; times do not count."""
    total = hashlib.sha256()
    for directory, subdirectories, files in os.walk(top):
        subdirectories.sort()
        for name in sorted([*subdirectories, *files]):
            full = os.path.join(directory, name)
            status = os.lstat(full)
            line = f"{os.path.relpath(full, top)}\0{status.st_mode:o} {status.st_uid}:{status.st_gid} "
            total.update(line.encode(errors="surrogateescape"))
            total.update(_contents(full, status))
            total.update(b"\n")
    return total.hexdigest()


def _contents(full: str, status: os.stat_result) -> bytes:
    if stat.S_ISLNK(status.st_mode):
        return os.fsencode(os.readlink(full))
    if stat.S_ISREG(status.st_mode):
        with open(full, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    return f"{status.st_rdev}".encode()
