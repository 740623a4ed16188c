"""The keys apt and tarball: where a machine comes from."""

from __future__ import annotations

from machinespawn.recipe.model import AptSource, Suite, TarSource
from machinespawn.recipe.names import (
    ARCHIVES,
    COMPONENT,
    DEBIAN_PACKAGE,
    KEYRING,
    PRODUCT,
    SCRIPT,
    SNAPSHOT,
    SUITE,
    URL,
)
from machinespawn.recipe.section import Section
from machinespawn.text import _

APT_KEYS = (
    "accept_expired_keys",
    "accept_expired_release",
    "components",
    "keyring_package",
    "keyrings",
    "mirrors",
    "script",
    "snapshot",
    "suites",
)
SUITE_KEYS = ("suite", "archive", "components")
TARBALL_KEYS = ("checksum", "keyring", "product", "signature", "streams", "strip", "url")
DEEPEST = 8
"""More leading directories than any archive has."""


def sources(recipe: Section) -> tuple[AptSource | None, TarSource | None]:
    """Exactly one of the two."""
    match "apt" in recipe, "tarball" in recipe:
        case True, False:
            return _apt(recipe.section("apt", APT_KEYS), ended="end_of_life" in recipe), None
        case False, True:
            return None, _tarball(recipe.section("tarball", TARBALL_KEYS))
        case True, True:
            raise recipe.fault("tarball", _("stands beside apt"), _("a machine comes from one of them"))
        case _:
            problem = _("neither apt nor tarball is there")
            raise recipe.fault("", problem, _("say where the machine comes from, or extend a recipe that does"))


def _apt(section: Section, ended: bool) -> AptSource:
    section.need("suites", "components", "mirrors", "keyrings")
    source = AptSource(
        suites=_suites(section),
        components=section.texts("components", COMPONENT),
        mirrors=_mirrors(section),
        keyrings=section.texts("keyrings", KEYRING),
        keyring_package=section.text("keyring_package", DEBIAN_PACKAGE),
        script=section.text("script", SCRIPT),
        snapshot=section.text("snapshot", SNAPSHOT),
        accept_expired_release=section.switch("accept_expired_release", False),
        accept_expired_keys=section.switch("accept_expired_keys", False),
    )
    for name in ("suites", "components", "keyrings"):
        if not getattr(source, name):
            raise section.fault(name, _("is empty"))
    if not ended:
        for name in ("accept_expired_release", "accept_expired_keys"):
            if getattr(source, name):
                raise section.fault(name, _("is for releases that have ended"), _("say when, with end_of_life"))
    without = {suite.archive for suite in source.suites} - {archive for archive, _urls in source.mirrors}
    for archive in sorted(without):
        raise section.fault("mirrors", _("has no {archive}, which a suite needs").format(archive=archive))
    return source


def _suites(section: Section) -> tuple[Suite, ...]:
    suites: list[Suite] = []
    for part in section.mixed("suites", SUITE_KEYS, SUITE):
        if isinstance(part, str):
            suite = Suite(part)
        else:
            part.need("suite")
            suite = Suite(
                name=part.text("suite", SUITE, empty=False),
                archive=part.choice("archive", ("main", "security"), "main"),
                components=part.texts("components", COMPONENT),
            )
        if suite.name in (earlier.name for earlier in suites):
            raise section.fault("suites", _("{suite} is in it twice").format(suite=suite.name))
        suites.append(suite)
    return tuple(suites)


def _mirrors(section: Section) -> tuple[tuple[str, tuple[str, ...]], ...]:
    mirrors = section.section("mirrors", ARCHIVES)
    listed = ((archive, mirrors.texts(archive, URL, single=True)) for archive in ARCHIVES)
    return tuple((archive, tuple(url.rstrip("/") for url in urls)) for archive, urls in listed if urls)


def _tarball(section: Section) -> TarSource:
    if ("url" in section) == ("streams" in section):
        raise section.fault("", _("needs either url, or streams and product"))
    for name, needed in (("streams", "product"), ("product", "streams"), ("signature", "keyring")):
        if name in section:
            section.need(needed)
    return TarSource(
        url=section.text("url", URL, empty=False),
        streams=section.text("streams", URL, empty=False).rstrip("/"),
        product=section.text("product", PRODUCT, empty=False),
        checksum=section.text("checksum", URL),
        signature=section.text("signature", URL),
        keyring=section.text("keyring", KEYRING),
        strip=section.number("strip", 0, DEEPEST) or 0,
    )
