"""From a recipe to stages, each with the key of everything that decides its result."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machinespawn.architecture import native
from machinespawn.build import drivers, foreign, indexes, lockfile, source
from machinespawn.build.drivers import tarball
from machinespawn.build.indexes import Index
from machinespawn.build.wanted import Pulled, StageReport, Wanted
from machinespawn.config import Config
from machinespawn.errors import UsageError
from machinespawn.fetch import keyrings, proxy
from machinespawn.host import architecture as host_architecture
from machinespawn.recipe import load
from machinespawn.recipe.model import AptSource, File, Recipe, TarSource
from machinespawn.recipe.names import APT_PACKAGE, PACKAGE
from machinespawn.store import layers
from machinespawn.store.layers import Manifest
from machinespawn.text import _

BUILDER = 1
"""Raised whenever the code of a stage changes what comes out of it."""


@dataclass(frozen=True)
class Stage:
    """One layer to be: its name, what lies below, and everything else that decides it."""

    name: str
    parent: str
    inputs: Mapping[str, Any]

    @property
    def key(self) -> str:
        """sha256 of parent, name, inputs and the version of the builder."""
        text = json.dumps([BUILDER, self.parent, self.name, self.inputs], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Archives:
    """Where the packages of an apt recipe come from, and how far that is believed."""

    indexes: tuple[Index, ...]
    keyring: Path
    """That signatures are checked with."""
    check_dates: bool
    """Whether the build refuses a Release past its Valid-Until."""
    keep_dates: bool
    """Whether the machine does: what was allowed for one build is not allowed for ever."""
    own_keyring: bytes
    """What the machine itself is to trust besides its own keyrings: that of --keyring."""


@dataclass(frozen=True)
class Plan:
    """All that a build needs to know; nothing is asked of anybody after this but the packages themselves."""

    recipe: Recipe
    architecture: str
    variant: str
    driver: str
    stages: tuple[Stage, ...]
    apt: Archives | None = None
    """Of an apt recipe."""
    tar: tarball.Archive | None = None
    """Of a tarball recipe."""


def resolve(wanted: Wanted, config: Config, directory: Path) -> Plan:
    """Load the recipe, find out what the archives offer, and key every stage.

    ``directory`` is where the merged keyring goes.
    """
    if config.offline and (wanted.refresh or not wanted.use_cache):
        raise UsageError(
            _("offline nothing can be asked or fetched anew"),
            _("leave out --refresh and --no-cache, or --offline (in the configuration: offline)"),
        )
    architecture = wanted.architecture or native()
    host_architecture.check(architecture)
    recipe = load.load(wanted.recipe, config, variables=dict(wanted.variables), architecture=architecture)
    recipe = dataclasses.replace(recipe, packages=_packages(recipe, wanted))
    variant = drivers.check_variant(wanted.variant or recipe.variant)
    if recipe.apt is None:
        return _from_tarball(recipe, architecture, variant, wanted, config)
    return _from_apt(recipe, recipe.apt, architecture, variant, wanted, config, directory)


def _packages(recipe: Recipe, wanted: Wanted) -> tuple[str, ...]:
    """Those of the recipe and the command line, and those that what the recipe wants cannot do without."""
    implied = []
    if recipe.apt and recipe.locale and not recipe.locale.startswith(("C.", "POSIX")):
        implied.append("locales")
    if recipe.apt and recipe.timezone:
        implied.append("tzdata")
    if any(user.sudo for user in recipe.users):
        implied.append("sudo")
    rule = APT_PACKAGE if recipe.apt else PACKAGE
    for name in wanted.packages:  # the loader has looked at the recipe's
        if not rule.fits(name):
            raise UsageError(
                _("--package {name!r} is not {what}").format(name=name, what=rule.what),
                _("one is: {example}").format(example=rule.example),
            )
    if recipe.apt is None:  # no bootstrap installs its base
        return tuple(dict.fromkeys((*recipe.base_packages, *recipe.packages, *wanted.packages, *implied)))
    named = dict.fromkeys((*recipe.packages, *wanted.packages, *implied))
    return tuple(name for name in named if name not in recipe.base_packages)


def _from_apt(
    recipe: Recipe, apt: AptSource, architecture: str, variant: str, wanted: Wanted, config: Config, directory: Path
) -> Plan:
    files = (
        (Path(wanted.keyring),) if wanted.keyring else keyrings.find(apt.keyrings, config, package=apt.keyring_package)
    )
    keyring = keyrings.merged(files, directory)
    dated = bool(wanted.allow_expired_release or wanted.snapshot or apt.accept_expired_release)
    if wanted.locked:
        found = lockfile.read(wanted.lock).indexes
    else:
        found = indexes.read(
            source.question(apt, architecture, keyring, wanted, config),
            lambda: source.archives(recipe, apt, architecture, wanted, config),
            apt,
            architecture,
            keyring,
            lambda url: proxy.find(config, url).url,
            config,
            refresh=wanted.refresh or not wanted.use_cache,
            allow_expired=dated,
        )
    driver = drivers.load(config.driver)
    bootstrap = Stage(
        "bootstrap",
        "",
        {
            "distribution": recipe.distribution,
            "driver": f"{driver.NAME} {driver.version()}",
            "script": apt.script if driver.NAME == "debootstrap" else "",
            "architecture": architecture,
            "variant": variant,
            "packages": sorted(recipe.base_packages),
            "indexes": _contents(found),
            "keyring": hashlib.sha256(keyring.read_bytes()).hexdigest(),
            "check_dates": not dated,
            "check_keys": not apt.accept_expired_keys,
        },
    )
    own = keyring.read_bytes() if wanted.keyring else b""
    lasting = not (wanted.snapshot or apt.accept_expired_release)
    stages = _upper(
        recipe,
        bootstrap,
        {"sources": _addresses(found), "keyring": hashlib.sha256(own).hexdigest(), "keep_dates": lasting},
    )
    return Plan(
        recipe, architecture, variant, driver.NAME, stages, apt=Archives(found, keyring, not dated, lasting, own)
    )


def _from_tarball(recipe: Recipe, architecture: str, variant: str, wanted: Wanted, config: Config) -> Plan:
    assert recipe.tarball is not None
    for option in ("mirror", "keyring", "snapshot", "variant", "allow_expired_release"):
        if getattr(wanted, option):
            raise UsageError(
                _("--{option} says nothing to recipe {name}, which comes as an archive").format(
                    option=option.replace("_", "-"), name=recipe.name
                ),
                _("leave it out; in a recipe that extends it, tarball: can name another archive and keyring"),
            )
    asking = dataclasses.replace(config, refresh=0) if wanted.refresh or not wanted.use_cache else config
    archive = tarball.resolve(recipe.tarball, architecture, asking, lambda url: proxy.find(config, url).url)
    stages = _upper(recipe, _unpacked(archive, architecture), {})
    return Plan(recipe, architecture, variant, tarball.NAME, stages, tar=archive)


def of_archive(pulled: Pulled, config: Config) -> Plan:
    """The plan of pull-tar: one layer, and nothing of a recipe on top of it."""
    archive = tarball.resolve_given(pulled, config, lambda url: proxy.find(config, url).url)
    source = archive.path or archive.url
    recipe = Recipe(
        name=Path(source).name,
        path=source,
        description="",
        distribution="",
        version="",
        codename="",
        tarball=TarSource(),
    )
    stages = (_unpacked(archive, archive.architecture),)
    return Plan(recipe, archive.architecture, "", tarball.NAME, stages, tar=archive)


def _unpacked(archive: tarball.Archive, architecture: str) -> Stage:
    """The stage of an archive: its digest decides it."""
    return Stage(
        "bootstrap",
        "",
        {
            "driver": f"{tarball.NAME} {tarball.version()}",
            "archive": archive.sha256,
            "strip": archive.strip,
            "architecture": architecture,
        },
    )


def _contents(found: Sequence[Index]) -> dict[str, dict[str, str]]:
    return {index.suite: dict(index.packages) for index in found}


def _addresses(found: Sequence[Index]) -> dict[str, list[str]]:
    return {index.suite: [index.url, *index.components] for index in found}


def _upper(recipe: Recipe, bootstrap: Stage, apt: Mapping[str, Any]) -> tuple[Stage, ...]:
    """The stages above the bootstrap."""
    stages = [bootstrap]
    if recipe.packages:
        inputs: dict[str, Any] = {"packages": sorted(recipe.packages)}
        if recipe.tarball:
            inputs["configuration"] = {file.path: [_digest(file), file.mode] for file in foreign.configuration(recipe)}
        stages.append(Stage("packages", stages[-1].key, inputs))
    stages.append(Stage("customize", stages[-1].key, {**_customization(recipe), **apt}))
    return tuple(stages)


CUSTOMIZED = ("files", "commands", "users", "root_password_hash", "root_ssh_keys", "locale", "timezone", "services")
"""Fields of a recipe that the last stage applies."""


def _customization(recipe: Recipe) -> dict[str, Any]:
    whole = dataclasses.asdict(recipe)
    chosen = {name: whole[name] for name in CUSTOMIZED}
    for file, said in zip(recipe.files, chosen["files"], strict=True):
        if file.source:
            said["content"] = _digest(file)
    # a secret has no place in a manifest: only its digest decides
    chosen["root_password_hash"] = _hidden(chosen["root_password_hash"])
    for user in chosen["users"]:
        user["password_hash"] = _hidden(user["password_hash"])
    return chosen


def _digest(file: File) -> str:
    return hashlib.sha256(Path(file.source).read_bytes() if file.source else file.content.encode()).hexdigest()


def _hidden(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def explain(wanted: Wanted, config: Config) -> tuple[StageReport, ...]:
    """Every stage: its key, whether its layer is there, and if not, why not."""
    with tempfile.TemporaryDirectory(prefix="machinespawn-") as directory:
        plan = resolve(wanted, config, Path(directory))
    known = layers.manifests(config)
    return tuple(_report(stage, known) for stage in plan.stages)


def _report(stage: Stage, known: Sequence[Manifest]) -> StageReport:
    hit = any(manifest.key == stage.key for manifest in known)
    return StageReport(stage.name, stage.key, hit, "" if hit else _why(stage, known))


def _why(stage: Stage, known: Sequence[Manifest]) -> str:
    """What differs from the nearest layer of the same stage."""
    nearest = min(
        (differences(stage, manifest) for manifest in known if manifest.stage == stage.name), key=len, default=None
    )
    if nearest is None:
        return _("no layer of this stage has been built yet")
    if not nearest:
        return _("it was built by another version of machinespawn")
    return _("differs from the nearest in: {fields}").format(fields=", ".join(nearest))


def differences(stage: Stage, manifest: Manifest) -> list[str]:
    """Names of what differs, those inside mappings dotted; 'parent' when what lies below is another."""
    below = ["parent"] if stage.parent != manifest.parent else []
    return below + _differing(json.loads(json.dumps(stage.inputs)), manifest.inputs, "")


def _differing(wanted: Any, found: Any, name: str) -> list[str]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        names = sorted({*wanted, *found})
        return [
            each
            for key in names
            for each in _differing(wanted.get(key), found.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if wanted == found else [name]
