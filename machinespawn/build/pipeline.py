"""From stages to layers, from layers to a machine.

The walk: plan, then each missing layer in staging and sealed, then a copy of
them all in staging, made a machine of its own, then one rename. Everything
between runs in namespaces that die with this process.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

from machinespawn.architecture import native
from machinespawn.build import customize, lockfile, plan, stages, workspace
from machinespawn.build.plan import Plan
from machinespawn.build.wanted import Built, Pulled, Wanted
from machinespawn.build.workspace import Workspace
from machinespawn.config import Config
from machinespawn.errors import BusyError, OutdatedError, UsageError
from machinespawn.host import cgroup, namespace
from machinespawn.machines import settings, spec
from machinespawn.machines.spec import MachineSpec
from machinespawn.progress import note, step
from machinespawn.recipe import load
from machinespawn.store import inside, layers, overlay, trees
from machinespawn.store.sweep import sweep
from machinespawn.text import _


def bootstrap(wanted: Wanted, config: Config) -> Built:
    """Build a machine from a recipe."""
    return _build(
        wanted.name,
        config,
        replace=wanted.replace,
        work=lambda space: _from_recipe(wanted, config, space),
    )


def pull(pulled: Pulled, config: Config) -> Built:
    """Make a machine from an archive."""
    return _build(
        pulled.name,
        config,
        replace=pulled.replace,
        work=lambda space: _from_archive(pulled, config, space),
    )


def _build(name: str, config: Config, *, replace: bool, work: Callable[[Workspace], Built]) -> Built:
    spec.check_name(name)
    began = time.monotonic()
    sweep(config)

    def inside(join: Callable[[], None]) -> dict[str, object]:
        join()
        with workspace.opened(config) as space:
            return dataclasses.asdict(work(space)) | {"tree": str(trees.path(config, name))}

    with trees.reserved(config, name, replace=replace):
        if replace:
            _refuse_running(config, name)
        try:
            with cgroup.for_build() as join:
                built = namespace.isolated(lambda: inside(join), network=not config.offline)
        except BaseException:
            sweep(config)
            raise
    return Built(
        **{
            **built,
            "tree": Path(built["tree"]),
            "layers": tuple(built["layers"]),
            "seconds": round(time.monotonic() - began, 3),
        }
    )


def _refuse_running(config: Config, name: str) -> None:
    from machinespawn.runtimes import state

    if state.running(config, name):
        raise BusyError(
            _("machine {name} is running and cannot be replaced").format(name=name),
            _("machinespawn stop {name}").format(name=name),
        )


def _from_recipe(wanted: Wanted, config: Config, space: Workspace) -> Built:
    planned = plan.resolve(wanted, config, space.top)
    lock = lockfile.read(wanted.lock) if wanted.locked and wanted.lock else None
    if lock and wanted.lock:
        lockfile.check_layers(wanted.lock, lock, tuple(stage.key for stage in planned.stages))
    try:
        made = stages.ensure(planned, config, space, use_cache=wanted.use_cache, keep=wanted.keep)
    except OutdatedError:
        if wanted.locked or wanted.refresh or config.offline:
            raise
        note(_("the archive has moved on since its indexes were read: asking again"))
        return _from_recipe(dataclasses.replace(wanted, refresh=True), config, space)
    if wanted.lock:
        _lock(wanted.lock, lock, planned, config)
    return _machine(planned, made, wanted.name, config, space)


def _lock(path: Path, lock: lockfile.Lock | None, planned: Plan, config: Config) -> None:
    keys = tuple(stage.key for stage in planned.stages)
    last = layers.manifest(config, keys[-1])
    packages = last.packages if last else {}
    if lock:
        lockfile.check_packages(path, lock, packages)
    else:
        found = planned.apt.indexes if planned.apt else ()
        lockfile.write(path, lockfile.Lock(planned.recipe.name, planned.architecture, found, keys, packages))


def _from_archive(pulled: Pulled, config: Config, space: Workspace) -> Built:
    if not _is_address(pulled.source):
        return _from_recipe(_as_recipe(pulled, config), config, space)
    planned = plan.of_archive(pulled, config)
    made = stages.ensure(planned, config, space, use_cache=True, keep=pulled.keep)
    return _machine(planned, made, pulled.name, config, space)


def _is_address(source: str) -> bool:
    """Whether pull-tar's source is a URL or a path, not a recipe's name."""
    return "/" in source or Path(source).exists()


def _as_recipe(pulled: Pulled, config: Config) -> Wanted:
    if pulled.sha256 or not pulled.verify:
        raise UsageError(
            _("--sha256 and --no-verify are for URLs and files; recipe {name} says itself what to go by").format(
                name=pulled.source
            ),
            _("give the archive's URL or path; one in this directory as ./{name}").format(name=pulled.source),
        )
    recipe = load.load(pulled.source, config, architecture=pulled.architecture or native())
    if recipe.tarball is None:
        raise UsageError(
            _("recipe {name} is not of an archive but of packages").format(name=recipe.name),
            _("machinespawn {recipe} {name}").format(recipe=recipe.name, name=pulled.name),
        )
    return Wanted(
        pulled.source, pulled.name, architecture=pulled.architecture, replace=pulled.replace, keep=pulled.keep
    )


def _machine(planned: Plan, made: stages.Made, name: str, config: Config, space: Workspace) -> Built:
    """Copy the layers into a tree, give it an identity of its own, and commit."""
    with (
        step(_("machine {name}").format(name=name)),
        layers.held(config, made.keys) as sources,
        layers.staging(config.machines, name, config) as staged,
    ):
        trees.copy(sources, space.lower, staged)
        with overlay.bound(staged, space.root):
            customize.identify(space.root, planned.recipe.hostname or name)
        wanted = _spec(planned, made, name, staged)
        trees.commit(config, staged, wanted)
        settings.write(config, wanted)
    return Built(name, trees.path(config, name), planned.recipe.name, made.keys, made.hits, 0.0)


def _spec(planned: Plan, made: stages.Made, name: str, staged: Path) -> MachineSpec:
    recipe = planned.recipe
    system = inside.os_release(staged)
    return MachineSpec(
        name=name,
        recipe=recipe.name,
        distribution=recipe.distribution or system.get("ID", ""),
        version=recipe.version or system.get("VERSION_ID", ""),
        architecture=planned.architecture,
        layers=made.keys,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        tree_inode=staged.stat().st_ino,
        settings=recipe.machine,
    )
