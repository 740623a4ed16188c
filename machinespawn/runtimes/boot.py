"""Bring a machine up: control groups, a socket to be told on, systemd-nspawn; and all of it undone if that fails."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from machinespawn import shell
from machinespawn.config import Config
from machinespawn.errors import BootError
from machinespawn.host import architecture, cgroup, process
from machinespawn.host.process import Process
from machinespawn.runtimes import console, foreground, notify, nspawn, state, terminal
from machinespawn.runtimes.notify import Listener
from machinespawn.runtimes.nspawn import Machine
from machinespawn.runtimes.state import RunState
from machinespawn.text import _

LEADER = "X_NSPAWN_LEADER_PID"
IDLE_WITHIN = 30.0
"""Seconds in which namespaces without a boot must be there."""
IDLE_LOG = "idle.log"
ENDS_WITHIN = 10.0
"""Seconds that systemd-nspawn may take to clear up after its machine."""


@dataclass(frozen=True)
class Ground:
    """What is laid before systemd-nspawn is started."""

    cgroups: tuple[Path, ...]
    listener: Listener
    environment: dict[str, str]
    resolv_conf: str
    drop: tuple[str, ...]


@contextlib.contextmanager
def _ground(config: Config, machine: Machine) -> Iterator[Ground]:
    """Lay the ground. The caller has the lock; what an earlier run left is cleared away."""
    nspawn.check_host(machine.settings)
    if machine.architecture:
        architecture.check(machine.architecture)
    environment = nspawn.environment(machine.settings)
    directory = state.directory(config, machine.name)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    group = state.group(config, machine.name)
    cgroups = cgroup.create(group)
    open_devices = not machine.settings.private_users and not cgroup.close_devices(group)
    with notify.listening(directory / state.SOCKET) as listener:
        yield Ground(
            cgroups,
            listener,
            {**environment, "NOTIFY_SOCKET": str(listener.path)},
            nspawn.resolv_conf(machine.tree),
            ("CAP_MKNOD",) if open_devices else (),
        )


@contextlib.contextmanager
def _undone_on_error(config: Config, name: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        state.reclaim(config, name)
        raise


def detached(config: Config, machine: Machine, *, wait: bool, timeout: float) -> None:
    """Boot the machine in a session of its own, until it is ready or, without wait, has an init.

    Raises BootError, with all undone, if that takes more than timeout seconds.
    """
    nspawn.check_init(machine)
    log = console.rotate(config, machine.name)
    with _undone_on_error(config, machine.name), _ground(config, machine) as ground:
        argv = nspawn.boot(machine, console="read-only", resolv_conf=ground.resolv_conf, drop=ground.drop)
        supervisor = _spawn(argv, ground, machine, log)
        run = RunState(supervisor, starter=process.of(os.getpid()), console=str(log))
        state.write(config, machine.name, run)
        for message in _told(ground.listener, supervisor, machine, log, timeout):
            if LEADER in message:
                run = dataclasses.replace(run, leader=process.of(int(message[LEADER])))
                state.write(config, machine.name, run)
            if message.get("READY") == "1" or (run.leader and not wait):
                break
        state.write(config, machine.name, dataclasses.replace(run, starter=None))


def attached(config: Config, machine: Machine, up: Callable[[], None]) -> int:
    """Boot the machine with its console on our terminal, until it is shut down; gives systemd-nspawn's status.

    ``up`` is called once others can see the machine running.
    """
    nspawn.check_init(machine)
    log = console.rotate(config, machine.name)
    interactive = {0, 1} <= set(terminal.ours())
    with _ground(config, machine) as ground, open(log, "ab") as copy:
        argv = nspawn.boot(
            machine,
            console="interactive" if interactive else "read-only",
            resolv_conf=ground.resolv_conf,
            drop=ground.drop,
        )
        environment = {**shell.CLEAN_ENVIRONMENT, "TERM": os.environ.get("TERM", "dumb"), **ground.environment}

        def started(pid: int) -> None:
            state.write(config, machine.name, RunState(_known(pid, machine, log), console=str(log)))

        def told() -> None:
            for message in ground.listener.messages():
                run = state.running(config, machine.name)
                if run and LEADER in message:
                    leader = process.of(int(message[LEADER]))
                    state.write(config, machine.name, dataclasses.replace(run, leader=leader))
                    up()

        return foreground.run(
            lambda: shell.replace(argv, env=environment, cgroups=ground.cgroups),
            terminal.of_host,
            started=started,
            watch={ground.listener.fileno(): told},
            copy_to=copy.fileno(),
        )


@contextlib.contextmanager
def idle(config: Config, machine: Machine) -> Iterator[Process]:
    """The machine's namespaces without a boot, for as long as the block takes; gives the process that holds them."""
    with _undone_on_error(config, machine.name), _ground(config, machine) as ground:
        log = state.directory(config, machine.name) / IDLE_LOG
        argv = nspawn.idle(machine, resolv_conf=ground.resolv_conf, drop=ground.drop)
        supervisor = _spawn(argv, ground, machine, log)
        messages = _told(ground.listener, supervisor, machine, log, IDLE_WITHIN)
        leader = _known(int(next(message[LEADER] for message in messages if LEADER in message)), machine, log)
        try:
            yield leader
        finally:
            process.send(leader, signal.SIGKILL)
            process.wait([supervisor], ENDS_WITHIN)
    state.reclaim(config, machine.name)


def _spawn(argv: list[str], ground: Ground, machine: Machine, log: Path) -> Process:
    return _known(shell.spawn(argv, env=ground.environment, log=log, cgroups=ground.cgroups), machine, log)


def _known(pid: int, machine: Machine, log: Path) -> Process:
    known = process.of(pid)
    if known is None:
        raise _ended(machine, log)
    return known


def _told(
    listener: Listener, supervisor: Process, machine: Machine, log: Path, timeout: float
) -> Iterator[dict[str, str]]:
    """What systemd-nspawn tells, as it comes. Raises BootError when it ends, or timeout seconds have passed."""
    deadline = time.monotonic() + timeout
    with process.held(supervisor) as descriptor:
        while descriptor is not None:
            poll = select.poll()
            poll.register(listener.fileno(), select.POLLIN)
            poll.register(descriptor, select.POLLIN)
            ready = dict(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
            if listener.fileno() in ready:
                yield from listener.messages()
            elif descriptor in ready:
                break
            elif not ready:
                raise _late(machine, log, timeout)
    raise _ended(machine, log)


def _ended(machine: Machine, log: Path) -> BootError:
    return BootError(
        _("machine {name} did not come up").format(name=machine.name) + _last_words(log),
        _("the end of its console is above; all of it is in {log}").format(log=log),
    )


def _late(machine: Machine, log: Path, timeout: float) -> BootError:
    return BootError(
        _("machine {name} was not ready within {timeout:.0f} seconds").format(name=machine.name, timeout=timeout)
        + _last_words(log),
        _("machinespawn run {name} with a longer --timeout, or see what it waits for in {log}").format(
            name=machine.name, log=log
        ),
    )


def _last_words(log: Path) -> str:
    printed = console.tail(log)
    return f"\n{printed}" if printed else ""
