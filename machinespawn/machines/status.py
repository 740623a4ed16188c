"""What is seen of machines: asked of the kernel and of their trees each time, never stored."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from machinespawn.config import Config
from machinespawn.errors import MachinespawnError, NotFoundError, NotRunningError
from machinespawn.host import cgroup, process
from machinespawn.machines import spec
from machinespawn.machines.spec import MachineSpec
from machinespawn.runtimes import console, enter, state
from machinespawn.runtimes.nspawn import Machine
from machinespawn.runtimes.state import RunState
from machinespawn.store import inside, trees
from machinespawn.text import _

LONGEST = 100
"""Characters of a machine's own texts that are shown."""

ANSWERS_WITHIN = 5
"""Seconds that a machine's systemd gets to say how it is."""

WANTED_BY = "etc/systemd/system/machines.target.wants"


@dataclass(frozen=True)
class Status:
    """One machine, as it is now."""

    name: str
    state: str
    """running, starting, stopping or stopped."""
    recipe: str
    """Empty: it was not made by us."""
    os: str
    """PRETTY_NAME of its os-release."""
    release: str
    """Codename or version."""
    leader: int | None
    """Pid of its init on the host."""
    addresses: tuple[str, ...]
    """Its own; none while it shares the host's network."""
    uptime: float | None
    """Seconds."""
    enabled: bool
    """It starts when the host boots."""
    tree: Path


@dataclass(frozen=True)
class Details:
    """Everything known of one machine."""

    status: Status
    spec: MachineSpec | None
    """What is wanted of it; None for a machine that was not made by us."""
    health: str
    """What its systemd says: running, degraded, starting; empty unless it runs."""
    supervisor: int | None
    """Pid of systemd-nspawn; None if it was killed."""
    uid_shift: int | None
    """The host's uid of its root while it runs."""
    cgroups: tuple[Path, ...]
    processes: int
    console: Path | None
    """The log of its last boot."""


def list_machines(config: Config) -> tuple[Status, ...]:
    """Every machine, by name."""
    return tuple(of(config, name) for name in trees.names(config))


def of(config: Config, name: str) -> Status:
    """One machine; what an earlier run of it left behind is cleared away by the way."""
    run = state.running(config, name)
    if run is None and state.leftovers(config, name):
        state.reclaim_unless_used(config, name)
    tree = trees.path(config, name)
    known = wanted(config, name)
    release = _os_release(tree)
    leader = run.leader if run and run.leader and run.leader.alive else None
    return Status(
        name=name,
        state=run.word if run else "stopped",
        recipe=known.recipe if known else "",
        os=release.get("PRETTY_NAME", ""),
        release=release.get("VERSION_CODENAME") or release.get("VERSION_ID", ""),
        leader=leader.pid if leader else None,
        addresses=(),
        uptime=round(leader.uptime, 3) if leader else None,
        enabled=(config.root / WANTED_BY / f"systemd-nspawn@{name}.service").is_symlink(),
        tree=tree,
    )


def show(config: Config, name: str) -> Details:
    """Everything known of one machine."""
    machine = existing(config, name)
    status = of(config, name)
    run = state.running(config, name)
    log = console.path(config, name)
    return Details(
        status=status,
        spec=wanted(config, name),
        health=health(config, name) if status.leader else "",
        supervisor=run.supervisor.pid if run and run.supervisor.alive else None,
        uid_shift=_uid_shift(status.leader) if status.leader and machine.settings.private_users else None,
        cgroups=cgroup.directories(state.group(config, name)),
        processes=len(cgroup.processes(state.group(config, name))),
        console=log if log.exists() else None,
    )


def _uid_shift(leader: int) -> int | None:
    with contextlib.suppress(OSError):
        return enter.uid_shift(leader)
    return None


def health(config: Config, name: str) -> str:
    """What the machine's systemd says of itself, or "frozen"; empty if it does not answer."""
    from machinespawn import shell

    if cgroup.frozen(state.group(config, name)):
        return "frozen"
    with contextlib.suppress(MachinespawnError):
        leader = leader_of(config, name).pid
        where = shell.Inside(leader, capabilities=enter.capabilities(leader))  # a freeze would hold us up, so not there
        asked = shell.run(
            ["systemctl", "is-system-running"], where, env={"SYSTEMD_BUS_TIMEOUT": f"{ANSWERS_WITHIN}s"}, check=False
        )
        return console.readable(asked.stdout).strip()[:LONGEST]
    return ""


def existing(config: Config, name: str) -> Machine:
    """The machine's tree and settings. Raises NotFoundError, with names that come near."""
    spec.check_name(name)
    names = trees.names(config)
    if name not in names:
        import difflib

        near = difflib.get_close_matches(name, names, n=3)
        raise NotFoundError(
            _("there is no machine {name}").format(name=name),
            _("did you mean {names}?").format(names=_(" or ").join(near))
            if near
            else _("machinespawn list shows those there are; machinespawn RECIPE {name} makes it").format(name=name),
        )
    known = wanted(config, name)
    tree = trees.path(config, name)
    return Machine(name, tree, known.settings, known.architecture) if known else Machine(name, tree)


def wanted(config: Config, name: str) -> MachineSpec | None:
    """The machine's spec, if there is one that can be read and belongs to this tree."""
    with contextlib.suppress(MachinespawnError, OSError):
        known = spec.read(config, name)
        if known and known.tree_inode == trees.path(config, name).stat().st_ino:
            return known
    return None


def run_of(config: Config, name: str) -> RunState:
    """The machine's run. Raises NotRunningError, or NotFoundError if there is not even a tree."""
    spec.check_name(name)
    run = state.running(config, name)
    if run is None:
        existing(config, name)
        state.reclaim_unless_used(config, name)
        raise NotRunningError(
            _("machine {name} is not running").format(name=name), _("machinespawn run {name}").format(name=name)
        )
    return run


def leader_of(config: Config, name: str) -> process.Process:
    """The machine's init. Raises NotRunningError."""
    leader = run_of(config, name).leader
    if leader is None or not leader.alive:
        raise NotRunningError(
            _("machine {name} is only starting or stopping").format(name=name), _("try again in a moment")
        )
    return leader


def _os_release(tree: Path) -> dict[str, str]:
    """For a terminal: what a hostile tree says is made readable, and short."""
    return {key: console.readable(value).strip()[:LONGEST] for key, value in inside.os_release(tree).items()}
