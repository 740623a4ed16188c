"""A lock file: what a build was made of, so that it can be made again or refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from machinespawn.build import indexes
from machinespawn.build.indexes import Index
from machinespawn.errors import BuildError, NotFoundError, UsageError
from machinespawn.files import write_atomic
from machinespawn.text import _

FORMAT = 1


@dataclass(frozen=True)
class Lock:
    """What is pinned."""

    recipe: str
    architecture: str
    indexes: tuple[Index, ...]
    layers: tuple[str, ...]
    """Keys, the bootstrap first."""
    packages: Mapping[str, str]
    """Name -> version of all that is installed."""


def write(path: Path, lock: Lock) -> None:
    """Write the lock file."""
    write_atomic(path, json.dumps({"format": FORMAT, **dataclasses.asdict(lock)}, indent=2) + "\n")


def read(path: Path | None) -> Lock:
    """Read a lock file."""
    if path is None:
        raise UsageError(_("--locked needs a lock file"), _("name it with --lock FILE"))
    try:
        data = json.loads(path.read_text())
        if data.pop("format") != FORMAT:
            raise ValueError(_("it is of another format"))
        return Lock(
            data["recipe"],
            data["architecture"],
            tuple(indexes.parse(each) for each in data["indexes"]),
            tuple(data["layers"]),
            data["packages"],
        )
    except FileNotFoundError:
        raise NotFoundError(
            _("there is no lock file {path}").format(path=path), _("write it with --lock {path}").format(path=path)
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            _("lock file {path} cannot be read: {error}").format(path=path, error=error),
            _("write it anew with --lock {path}").format(path=path),
        ) from error


def check_layers(path: Path, lock: Lock, keys: tuple[str, ...]) -> None:
    """Raise unless the build would be of the very layers that are locked."""
    if keys != lock.layers:
        raise BuildError(
            _("the build differs from what {path} locks: recipe, options or tools have changed since").format(
                path=path
            ),
            _("see 'machinespawn plan'; to accept the change, write the lock anew with --lock and without --locked"),
        )


def check_packages(path: Path, lock: Lock, packages: Mapping[str, str]) -> None:
    """Raise unless the very packages came out that are locked."""
    differing = sorted(name for name in {*lock.packages, *packages} if lock.packages.get(name) != packages.get(name))
    if differing:
        raise BuildError(
            _("{count} packages differ from what {path} locks: {names}").format(
                count=len(differing), path=path, names=", ".join(differing[:10])
            ),
            _("build from the archive as it was: --snapshot DATE"),
        )
