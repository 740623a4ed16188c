"""Where a build's packages come from: which mirrors are asked, in which order."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from machinespawn.build.indexes import Archive
from machinespawn.build.wanted import Wanted
from machinespawn.config import Config
from machinespawn.errors import UsageError
from machinespawn.host import apt as host_apt
from machinespawn.recipe.model import AptSource, Recipe, Suite
from machinespawn.text import _

MAIN_ARCHITECTURES = ("amd64", "i386")
"""Architectures that a distribution with a ports archive keeps on its main one."""

_DATE = re.compile(r"(\d{8})(?:T(\d{6})Z)?")


def archives(
    recipe: Recipe, source: AptSource, architecture: str, wanted: Wanted, config: Config
) -> tuple[Archive, ...]:
    """Every suite with the URLs to try: what was asked for, then the host's own mirror, then the recipe's."""
    host = host_apt.mirrors(recipe.distribution) if not (wanted.snapshot or wanted.mirror) else None
    asked = dict(config.mirrors).get(recipe.distribution, "")
    given = dict(source.mirrors)

    def urls(suite: Suite) -> tuple[str, ...]:
        if wanted.snapshot:
            return (_snapshot(recipe, source, suite, wanted.snapshot),)
        if wanted.mirror and suite.archive == "main":
            return (wanted.mirror,)
        if "ports" in given and architecture not in MAIN_ARCHITECTURES:
            return _unique(wanted.mirror, asked, host.ports if host else "", *given["ports"])
        own = "" if host is None else host.security if suite.archive == "security" else host.main
        return _unique(wanted.mirror, asked, own, *given.get(suite.archive, given["main"]))

    return tuple(Archive(suite, suite.components or source.components, urls(suite)) for suite in source.suites)


def question(source: AptSource, architecture: str, keyring: Path, wanted: Wanted, config: Config) -> str:
    """Everything that decides which archives are asked, and what a good answer is."""
    return repr(
        (
            source,
            architecture,
            hashlib.sha256(keyring.read_bytes()).hexdigest(),
            wanted.mirror,
            wanted.snapshot,
            config.mirrors,
            host_apt.sources_changed(),
        )
    )


def _unique(*urls: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(url.rstrip("/") for url in urls if url))


def _snapshot(recipe: Recipe, source: AptSource, suite: Suite, date: str) -> str:
    match = _DATE.fullmatch(date)
    if match is None:
        raise UsageError(
            _("{date!r} is no date of a snapshot").format(date=date),
            _("write YYYYMMDD or YYYYMMDDTHHMMSSZ, such as 20260801T000000Z"),
        )
    if not source.snapshot:
        raise UsageError(
            _("recipe {name} names no snapshot archive").format(name=recipe.name),
            _("set apt: snapshot: URL in a recipe that extends it"),
        )
    given = dict(source.mirrors)
    archive = given.get(suite.archive, given["main"])[0].rstrip("/").rpartition("/")[2]
    return source.snapshot.format(archive=archive, date=f"{match[1]}T{match[2] or '000000'}Z")
