"""What was asked for on the command line: the recipe's name and what overrides it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from machinespawn.recipe.model import Pairs


@dataclass(frozen=True)
class Wanted:
    """One build. Empty strings mean: as the recipe, the configuration or the host has it."""

    recipe: str
    """Name, alias or file path."""
    name: str = ""
    """Of the machine; empty for a mere plan."""
    variables: Pairs = ()
    packages: tuple[str, ...] = ()
    variant: str = ""
    architecture: str = ""
    """Debian's name of it."""
    mirror: str = ""
    keyring: str = ""
    """Path of a keyring file that takes the place of the recipe's."""
    allow_expired_release: bool = False
    snapshot: str = ""
    """YYYYMMDD or YYYYMMDDTHHMMSSZ."""
    lock: Path | None = None
    locked: bool = False
    """The lock file decides; without: it is written."""
    refresh: bool = False
    """Ask the mirrors now, however fresh the indexes are."""
    use_cache: bool = True
    """False: build every layer anew and take no cached download."""
    replace: bool = False
    keep: bool = False
    """Keep the staging tree when the build fails, and say where."""


@dataclass(frozen=True)
class Pulled:
    """One pull-tar: an archive and the machine it becomes."""

    source: str
    """http(s) URL, path of a file or an OCI layout directory, or a recipe's name."""
    name: str
    sha256: str = ""
    verify: bool = True
    """False: --no-verify."""
    architecture: str = ""
    replace: bool = False
    keep: bool = False


@dataclass(frozen=True)
class Built:
    """What came of it."""

    name: str
    tree: Path
    recipe: str
    layers: tuple[str, ...]
    """Keys, the bootstrap first."""
    hits: int
    """How many of the layers were there already."""
    seconds: float


@dataclass(frozen=True)
class StageReport:
    """One line of ``plan``."""

    name: str
    key: str
    hit: bool
    why: str
    """Why it missed: the fields that differ from the nearest cached layer; empty for a hit."""
