"""One recipe file: read, parsed, and refused where somebody else could have written it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from machinespawn import config as configuration
from machinespawn.config import Config
from machinespawn.document import parse, read_text
from machinespawn.errors import TrustError
from machinespawn.nodes import Items, Place, Table, fault
from machinespawn.recipe.names import COMMANDS, RECIPE
from machinespawn.recipe.section import Section, check_keys
from machinespawn.text import _

SUFFIX = ".yaml"
KEYS = (
    "abstract",
    "aliases",
    "apt",
    "architectures",
    "base_packages",
    "codename",
    "commands",
    "description",
    "distribution",
    "end_of_life",
    "extends",
    "files",
    "hostname",
    "locale",
    "machine",
    "packages",
    "root",
    "services",
    "systemd",
    "tarball",
    "timezone",
    "unproven",
    "users",
    "variables",
    "variant",
    "version",
)

Origin = Literal["user", "shipped", "file"]
"""Found in a directory of recipe_path; beside the program; given by its path."""


@dataclass(frozen=True)
class Source:
    """A recipe file as it stands, before extends and templates."""

    path: Path
    origin: Origin
    table: Table

    @property
    def name(self) -> str:
        """The recipe's name: the file's without suffix."""
        return self.path.stem

    @property
    def literal(self) -> Section:
        """For reading keys that take no templates."""
        return Section(self.table, "", None)


def directories(config: Config) -> tuple[tuple[Path, Origin], ...]:
    """Where recipes are looked for, in order."""
    return (*((path, "user") for path in config.recipe_path), (configuration.share() / "recipes", "shipped"))


def read(path: Path, config: Config) -> Source:
    """Read and parse a recipe file. Raises RecipeError, NotFoundError or TrustError."""
    origins: dict[Path, Origin] = dict(reversed(directories(config)))
    origin = origins.get(path.parent, "file")
    text, status = read_text(path)
    _check_trust(path, status, origin)
    table = parse(text, str(path))
    check_keys(table, "", KEYS)
    source = Source(path, origin, table)
    check_name(source.name, Place(str(path), 1), "")
    for index, (alias, place) in enumerate(aliases(source)):
        check_name(alias, place, f"aliases[{index}]")
    return source


def aliases(source: Source) -> tuple[tuple[str, Place], ...]:
    """The other names of a recipe and where they stand."""
    texts = source.literal.texts("aliases", RECIPE)
    node = source.table.entries.get("aliases")
    places = [item.place for item in node.items] if isinstance(node, Items) else []
    return tuple(zip(texts, places, strict=True))


def check_name(name: str, place: Place, key: str) -> None:
    """Raise RecipeError for a name that could not be told from a command, or typed."""
    if name in COMMANDS:
        problem = _("{name} is a command of machinespawn, so no recipe can be called that").format(name=name)
        raise fault(place, key, problem, _("choose another name"))
    if not RECIPE.fits(name):
        problem = _("{name!r} cannot be the name of a recipe").format(name=name)
        raise fault(place, key, problem, _("use lower-case letters, digits, '.', '_' and '-'"))


def _check_trust(path: Path, status: os.stat_result, origin: Origin) -> None:
    """What a recipe says is done as root, so nobody else may have a say in it."""
    if status.st_mode & stat.S_IWOTH:
        raise TrustError(
            _("{path} can be written by everybody, and what it says runs as root").format(path=path),
            _("look at what it says, then: chmod o-w {path}").format(path=path),
        )
    if origin == "file":
        return
    directory = path.parent.stat()
    if directory.st_mode & stat.S_IWOTH and not directory.st_mode & stat.S_ISVTX:
        raise TrustError(
            _("everybody can put recipes into {path}, and what they say runs as root").format(path=path.parent),
            _("chmod o-w {path}").format(path=path.parent),
        )
    trusted = {0, os.geteuid()}
    if origin == "shipped":
        trusted.add(Path(__file__).stat().st_uid)  # a checkout: who can write it can write the program too
    if os.geteuid() == 0 and status.st_uid not in trusted:
        raise TrustError(
            _("{path} belongs to user {uid}, and what it says runs as root").format(path=path, uid=status.st_uid),
            _("look at what it says, then: chown root {path}, or give the recipe by its path").format(path=path),
        )
