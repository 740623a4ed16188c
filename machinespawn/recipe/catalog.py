"""Finding recipes: by name, alias or path, the user's own before the shipped ones."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from machinespawn.config import Config
from machinespawn.document import read_text
from machinespawn.errors import MachinespawnError, NotFoundError
from machinespawn.nodes import Place, did_you_mean, fault
from machinespawn.recipe import source
from machinespawn.recipe.heading import Heading
from machinespawn.recipe.merge import merged
from machinespawn.recipe.names import PARENT, RECIPE
from machinespawn.recipe.section import Section
from machinespawn.recipe.source import SUFFIX, Origin, Source
from machinespawn.text import _

Read = Callable[[Path], Source]


@dataclass(frozen=True)
class Entry:
    """What the list of recipes tells of one."""

    name: str
    path: str
    origin: Origin
    description: str = ""
    aliases: tuple[str, ...] = ()
    distribution: str = ""
    version: str = ""
    codename: str = ""
    end_of_life: date | None = None
    unproven: str = ""
    abstract: bool = False
    """Only there to be extended."""
    shadows: str = ""
    """Path of the recipe of the same name that this one stands before."""
    error: str = ""
    """Why it cannot be used; then only name, path and origin are sure."""


def entries(config: Config, *, abstract: bool = False) -> tuple[Entry, ...]:
    """Every recipe that can be built, by name; those that are wrong carry their error.

    With ``abstract``, those that can only be extended as well.
    """
    read: Read = functools.cache(lambda path: source.read(path, config))
    found: dict[str, Entry] = {}
    for path, origin in _files(config):
        entry = _entry(path, origin, read, config)
        first = found.setdefault(entry.name, entry)
        if first is not entry and not first.shadows:
            names = tuple(dict.fromkeys((*first.aliases, *entry.aliases)))
            found[entry.name] = dataclasses.replace(first, shadows=entry.path, aliases=names)
    return tuple(entry for _name, entry in sorted(found.items()) if abstract or not entry.abstract)


def find(name: str, config: Config, *, skip: Path | None = None) -> Path:
    """The file of a recipe given by name, alias or path. Raises NotFoundError.

    ``skip`` is a file that does not count: a recipe is not its own parent.
    """
    if is_path(name):
        if not os.path.isfile(name):
            raise NotFoundError(_("there is no recipe file {path}").format(path=name))
        return Path(name)
    path = _by_name(name, config, skip) or (_by_alias(name, config, skip) if RECIPE.fits(name) else None)
    if path is not None:
        return path
    raise NotFoundError(
        _("there is no recipe {name!r}").format(name=name[:64]),
        did_you_mean(name, _all_names(config)) or "machinespawn recipes list",
    )


def is_path(name: str) -> bool:
    """Whether a recipe so called is a file of the user's, not one to be looked for."""
    return "/" in name or name.endswith(SUFFIX)


def chain(path: Path, config: Config, read: Read | None = None) -> tuple[Source, ...]:
    """The recipe, its parent, the parent's parent and so on. Raises RecipeError for a circle."""
    read = read or functools.partial(source.read, config=config)
    sources = [read(path)]
    while "extends" in sources[-1].literal:
        child = sources[-1]
        parent = _parent(child, config)
        sources.append(read(parent))
        if any(parent.samefile(earlier.path) for earlier in sources[:-1]):
            circle = " → ".join(str(link.path) for link in sources)
            raise child.literal.fault("extends", _("goes round in a circle: {circle}").format(circle=circle))
    return tuple(sources)


def _parent(child: Source, config: Config) -> Path:
    section = child.literal
    name = section.text("extends", PARENT, empty=False)
    if is_path(name):
        path = child.path.parent / name
        if not path.is_file():
            raise section.fault("extends", _("there is no file {path}").format(path=path))
        return path
    try:
        return find(name, config, skip=child.path)
    except NotFoundError as error:
        if name in (child.name, *(alias for alias, _place in source.aliases(child))):
            return child.path
        raise section.fault("extends", error.message, error.hint) from None


def _files(config: Config) -> Iterator[tuple[Path, Origin]]:
    """Every recipe file, those that stand before others first."""
    for directory, origin in source.directories(config):
        try:
            names = sorted(os.listdir(directory))
        except OSError:  # not there, or not ours to see
            continue
        for name in names:
            if name.endswith(SUFFIX) and not name.startswith("."):
                yield directory / name, origin


def _by_name(name: str, config: Config, skip: Path | None) -> Path | None:
    paths = (directory / f"{name}{SUFFIX}" for directory, _origin in source.directories(config))
    return next((path for path in paths if path != skip and os.path.isfile(path)), None)


def _by_alias(name: str, config: Config, skip: Path | None) -> Path | None:
    """The recipe that has this alias, or that stands before the one that has it.

    Files that do not hold the word are not parsed, and wrong ones are not found.
    """
    claims: list[tuple[Path, Place]] = []
    for path, _origin in _files(config):
        if path == skip or (claims and path.parent != claims[0][0].parent):
            continue
        try:
            if name not in read_text(path)[0]:
                continue
            found = source.aliases(source.read(path, config))
        except (MachinespawnError, OSError):
            continue
        claims += [(path, place) for alias, place in found if alias == name]
    if len(claims) > 1:
        problem = _("{name} is an alias in {place} too").format(name=name, place=claims[0][1])
        hint = _("give the recipe by its name, or take one of the aliases away")
        raise fault(claims[1][1], "aliases", problem, hint)
    return _by_name(claims[0][0].stem, config, skip) if claims else None


def _all_names(config: Config) -> Iterator[str]:
    for path, _origin in _files(config):
        yield path.stem
        with contextlib.suppress(MachinespawnError, OSError):
            yield from (alias for alias, _place in source.aliases(source.read(path, config)))


def _entry(path: Path, origin: Origin, read: Read, config: Config) -> Entry:
    known = Entry(path.stem, str(path), origin)
    try:
        sources = chain(path, config, read)
        heading = Heading.parse(Section(merged([link.table for link in sources]), "", None))
        names = tuple(alias for alias, _place in source.aliases(sources[0]))
        return dataclasses.replace(known, aliases=names, **vars(heading))
    except (MachinespawnError, OSError) as error:
        return dataclasses.replace(known, error=str(error))
