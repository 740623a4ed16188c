"""From a recipe's name to the recipe, resolved."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from machinespawn.architecture import native
from machinespawn.config import Config
from machinespawn.errors import MachinespawnError, RecipeError, UsageError
from machinespawn.nodes import unknown
from machinespawn.recipe import archives, catalog, contents
from machinespawn.recipe.heading import Heading
from machinespawn.recipe.merge import merged
from machinespawn.recipe.model import Pairs, Recipe
from machinespawn.recipe.names import (
    APT_PACKAGE,
    ARCHITECTURE,
    DEBIAN_PACKAGE,
    HOST_NAME,
    ITS_ARCHITECTURE,
    LOCALE,
    PACKAGE,
    TEXT,
    TIMEZONE,
    VARIANTS,
)
from machinespawn.recipe.section import Section
from machinespawn.recipe.source import Source, aliases
from machinespawn.recipe.variables import renderer
from machinespawn.text import _

NONE: Mapping[str, str] = MappingProxyType({})
NEWEST_SYSTEMD = 9999


def load(name_or_path: str, config: Config, *, variables: Mapping[str, str] = NONE, architecture: str = "") -> Recipe:
    """Read a recipe and all it extends, fill in its templates, check everything.

    ``variables`` are those of -D; ``architecture`` is Debian's name of it,
    empty for the host's. Raises RecipeError with file, line and key;
    NotFoundError, TrustError; UsageError for a wrong -D or --arch.
    """
    sources = catalog.chain(catalog.find(name_or_path, config), config)
    path = sources[0].path
    literal = Section(merged([source.table for source in sources]), "", None)
    try:
        return _resolved(sources[0], literal, config, variables, architecture)
    except RecipeError as error:
        if str(path) in error.message:
            raise
        told = _("{message} (in what {path} extends)").format(message=error.message, path=path)
        raise RecipeError(told, error.hint) from error


def _resolved(
    source: Source, literal: Section, config: Config, variables: Mapping[str, str], architecture: str
) -> Recipe:
    heading = Heading.parse(literal)
    if heading.abstract:
        raise _abstract(literal, heading, config)
    literal.need("distribution", "version")
    architectures = literal.pairs("architectures", ARCHITECTURE, ITS_ARCHITECTURE)
    chosen = _chosen(architecture or native(), architectures, source.name)
    builtins = {
        "name": source.name,
        "distribution": heading.distribution,
        "version": heading.version,
        "codename": heading.codename,
        "arch": chosen,
        "distribution_arch": dict(architectures).get(chosen, chosen),
    }
    render = renderer(literal.section("variables", None), variables, builtins)
    recipe = _recipe(dataclasses.replace(literal, render=render), source.name, heading, architectures)
    own = tuple(alias for alias, _place in aliases(source))
    return dataclasses.replace(recipe, path=str(source.path.absolute()), aliases=own)


def _recipe(section: Section, name: str, heading: Heading, architectures: Pairs) -> Recipe:
    apt, tarball = archives.sources(section)
    root_password_hash, root_ssh_keys = contents.root(section)
    return Recipe(
        name=name,
        path="",
        description=heading.description,
        distribution=heading.distribution,
        version=heading.version,
        codename=heading.codename,
        unproven=heading.unproven,
        end_of_life=heading.end_of_life,
        systemd=section.number("systemd", 0, NEWEST_SYSTEMD) or 0,
        apt=apt,
        tarball=tarball,
        architectures=architectures,
        variant=section.choice("variant", VARIANTS, "minbase"),
        base_packages=_once(section.texts("base_packages", DEBIAN_PACKAGE if apt else PACKAGE)),
        packages=_once(section.texts("packages", APT_PACKAGE if apt else PACKAGE)),
        files=contents.files(section),
        commands=section.texts("commands", TEXT),
        users=contents.users(section),
        root_password_hash=root_password_hash,
        root_ssh_keys=root_ssh_keys,
        locale=section.text("locale", LOCALE),
        timezone=section.text("timezone", TIMEZONE),
        hostname=section.text("hostname", HOST_NAME),
        services=contents.services(section),
        machine=contents.machine(section),
    )


def _once(texts: tuple[str, ...]) -> tuple[str, ...]:
    """A child may name a package that its parent has."""
    return tuple(dict.fromkeys(texts))


def _chosen(architecture: str, architectures: Pairs, name: str) -> str:
    known = tuple(debian for debian, _own in architectures)
    if architecture in known or (not known and ARCHITECTURE.fits(architecture)):
        return architecture
    problem = _("{name} is not there for architecture {architecture!r}")
    raise UsageError(
        problem.format(name=name, architecture=architecture[:64]),
        _("it is there for: {names}").format(names=", ".join(known)) if known else unknown(architecture, ("amd64",)),
    )


def _abstract(literal: Section, heading: Heading, config: Config) -> MachinespawnError:
    """The refusal of a recipe that can only be extended, naming some that can be built."""
    names = [entry.name for entry in catalog.entries(config) if entry.distribution == heading.distribution]
    hint = _("build one of these: {names}").format(names=", ".join(names)) if names and heading.distribution else ""
    return literal.fault("abstract", _("this recipe is only there to be extended"), hint)
