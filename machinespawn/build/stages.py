"""Each stage made into its layer, unless that is there already."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from machinespawn.build import apt, customize, drivers, foreign
from machinespawn.build.apt import Apt
from machinespawn.build.drivers import Job, tarball
from machinespawn.build.plan import Plan, Stage
from machinespawn.build.workspace import Workspace
from machinespawn.config import Config
from machinespawn.errors import BuildError, BusyError, OutdatedError, ProgramError
from machinespawn.fetch import proxy
from machinespawn.files import locked, remove_tree
from machinespawn.progress import note, step
from machinespawn.store import clean, inside, layers, overlay
from machinespawn.text import _

NOT_FOUND = "404  Not Found"
"""As apt says it of a package that a newer one has replaced in the archive."""


@dataclass(frozen=True)
class Made:
    """The layers of a build."""

    keys: tuple[str, ...]
    hits: int


def ensure(plan: Plan, config: Config, space: Workspace, *, use_cache: bool, keep: bool) -> Made:
    """Make every layer of the plan that is not there."""
    keys: list[str] = []
    hits = 0
    for stage in plan.stages:
        with _making(stage, config):
            if use_cache and layers.manifest(config, stage.key):
                hits += 1
            else:
                _make(stage, plan, tuple(keys), config, space, use_cache=use_cache, keep=keep)
        keys.append(stage.key)
    return Made(tuple(keys), hits)


@contextlib.contextmanager
def _making(stage: Stage, config: Config) -> Iterator[None]:
    """One build makes a layer; another that wants the same waits and finds it made."""
    lock = config.locks / f"layer-{stage.key}"
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(lock, wait=False))
        except BusyError:
            note(_("another build is making the same {stage} layer: waiting for it").format(stage=stage.name))
            held.enter_context(locked(lock))
        yield


def _make(
    stage: Stage,
    plan: Plan,
    below: Sequence[str],
    config: Config,
    space: Workspace,
    *,
    use_cache: bool,
    keep: bool,
) -> None:
    log = config.logs / f"build-{plan.recipe.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    kept = config.state / "kept" / f"{plan.recipe.name}-{stage.name}-{secrets.token_hex(4)}" if keep else None
    with (
        step(_("{stage}: {recipe} ({driver})").format(stage=stage.name, recipe=plan.recipe.name, driver=plan.driver)),
        _explained(log, kept, offline=config.offline),
        locked(config.locks / clean.DOWNLOADS_LOCK, shared=True),
        layers.staging(config.layers, stage.key, config, keep=kept) as staged,
        layers.held(config, below) as lower,
    ):
        tree, work = staged / "tree", staged / "work"
        tree.mkdir(mode=0o755)
        work.mkdir()
        with _mounted(lower, space, tree, work):
            match stage.name:
                case "bootstrap":
                    _bootstrap(plan, config, space, log, use_cache=use_cache)
                case "packages":
                    _packages(plan, config, space, log, use_cache=use_cache)
                case _:
                    customize.apply(plan, space.root, log)
            customize.tidy(space.root, sources=plan.apt is not None and not below)
            installed = _installed(space.root)
        remove_tree(work)
        layers.seal(
            config,
            staged,
            layers.describe(
                staged,
                key=stage.key,
                stage=stage.name,
                parent=stage.parent,
                recipe=plan.recipe.name,
                inputs=stage.inputs,
                packages=installed,
            ),
        )


@contextlib.contextmanager
def _mounted(lower: Sequence[Path], space: Workspace, tree: Path, work: Path) -> Iterator[None]:
    if lower:
        with overlay.stacked(lower, space.root, upper=tree, work=work):
            yield
    else:
        with overlay.bound(tree, space.root):
            yield


@contextlib.contextmanager
def _explained(log: Path, kept: Path | None, *, offline: bool) -> Iterator[None]:
    """A program that failed in a stage is a failed build, with the places of its log and its tree."""
    try:
        yield
    except ProgramError as error:
        where = [error.hint] if error.hint else [_("all of its output: {log}").format(log=log)]
        where += [
            _("what the stage had written: {path}").format(path=kept / "tree")
            if kept
            else _("with --keep, what the stage had written stays to be looked at")
        ]
        if offline:
            where.insert(
                0, _("offline there is no network: if something is not in the cache, run once without --offline")
            )
        kind = OutdatedError if NOT_FOUND in error.output else BuildError
        raise kind(error.message, "; ".join(where)) from error
    except OSError as error:
        raise BuildError(
            _("the build failed: {error}").format(error=error),
            _("if the disk is full, 'machinespawn clean-cache' frees what no machine needs"),
        ) from error


def _bootstrap(plan: Plan, config: Config, space: Workspace, log: Path, *, use_cache: bool) -> None:
    if plan.tar:
        tarball.unpack(plan.tar, space.root, config)
        return
    assert plan.recipe.apt is not None
    with _apt(plan, config, space, log, use_cache=use_cache) as ready:
        job = Job(plan.recipe.apt, ready, plan.variant, plan.recipe.base_packages)
        drivers.load(plan.driver).build(job)


def _packages(plan: Plan, config: Config, space: Workspace, log: Path, *, use_cache: bool) -> None:
    if plan.tar:
        given = config.proxy if config.proxy not in ("auto", "none") else ""
        foreign.install(plan.recipe, space.root, log, proxy=proxy.normalised(given) if given else "")
        return
    with _apt(plan, config, space, log, use_cache=use_cache) as ready:
        apt.install(ready, plan.recipe.packages)


@contextlib.contextmanager
def _apt(plan: Plan, config: Config, space: Workspace, log: Path, *, use_cache: bool) -> Iterator[Apt]:
    """apt with its caches mounted and its lists fresh."""
    assert plan.recipe.apt and plan.apt
    first = plan.apt.indexes[0]
    ready = Apt(
        space,
        plan.architecture,
        plan.apt.indexes,
        plan.apt.keyring,
        proxy.find(config, f"{first.url}/dists/{first.suite}/InRelease").url,
        plan.apt.check_dates,
        not plan.recipe.apt.accept_expired_keys,
        log,
    )
    with apt.shared_lists(config, ready) as same, apt.shared_archives(config, space, use_cache=use_cache):
        if not same:
            raise OutdatedError(
                _("the archive at {url} has changed since its indexes were read").format(url=first.url),
                _("run the command again with --refresh; a build that must repeat wants --snapshot DATE"),
            )
        yield ready


def _installed(tree: Path) -> Mapping[str, str]:
    """Name -> version of what dpkg has installed; nothing on other distributions."""
    found = {}
    for paragraph in (inside.read(tree, "var/lib/dpkg/status", limit=1 << 26) or "").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" installed"):
            found[fields["Package"]] = fields["Version"]
    return dict(sorted(found.items()))
