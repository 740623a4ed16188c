"""The verbs: what can be done with a machine that is there."""

from __future__ import annotations

import contextlib
import re
import signal
import time
from pathlib import Path

from machinespawn.config import Config
from machinespawn.errors import BusyError, NotRunningError, UsageError
from machinespawn.host import cgroup, process
from machinespawn.machines import settings, status
from machinespawn.machines.commands import capture, command, execute, shell, wait_until_booted
from machinespawn.machines.logs import logs
from machinespawn.machines.status import Details, Status, list_machines, show
from machinespawn.progress import step
from machinespawn.runtimes import boot, console, state, treelock
from machinespawn.store import trees
from machinespawn.text import _

POWEROFF = signal.SIGRTMIN + 4
"""To systemd as init: power off, systemd(1)."""
KILL = signal.SIGKILL
PATIENCE = 10.0
"""Seconds that somebody who is just clearing up may take."""

__all__ = [
    "Details",
    "Status",
    "attach",
    "capture",
    "command",
    "execute",
    "kill",
    "list_machines",
    "logs",
    "remove",
    "shell",
    "show",
    "start",
    "stop",
    "wait_until_booted",
]


def start(config: Config, name: str, *, wait: bool = True, timeout: float = 90.0) -> Status:
    """Boot the machine in the background, until it is ready; without wait, until it has an init.

    Raises BusyError if it runs already, BootError if it does not come up
    within timeout seconds; then nothing of the boot is left.
    """
    machine = status.existing(config, name)
    with (
        step(_("boot {name}").format(name=name)),
        state.lock(config, name),
        state.tree_kept(config, name),
    ):
        _refuse_running(config, name)
        state.reclaim(config, name)
        boot.detached(config, machine, wait=wait, timeout=timeout)
    return status.of(config, name)


def attach(config: Config, name: str) -> int:
    """Boot the machine with its console on our terminal until it is shut down; gives systemd-nspawn's status."""
    machine = status.existing(config, name)
    with contextlib.ExitStack() as stack:
        stack.enter_context(state.lock(config, name))
        stack.enter_context(state.tree_kept(config, name))
        _refuse_running(config, name)
        state.reclaim(config, name)
        try:
            return boot.attached(config, machine, up=stack.close)
        finally:
            stack.close()
            _clear_up(config, name)


def stop(config: Config, name: str, *, timeout: float = 90.0) -> str:
    """Shut the machine down and give how: "poweroff", or "killed" if that took more than timeout seconds."""
    run = status.run_of(config, name)
    with step(_("shut {name} down").format(name=name)):
        how = "poweroff"
        if run.leader is None or not _powered_off(run, timeout):
            how = "killed"
            state.end(config, name)
        _clear_up(config, name)
    return how


def _powered_off(run: state.RunState, timeout: float) -> bool:
    if run.leader is None:
        return False
    deadline = time.monotonic() + timeout
    while run.leader.alive and not process.takes(run.leader, POWEROFF):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)  # it has only just been started, and would never see the signal
    process.send(run.leader, POWEROFF)
    return process.wait([run.leader, run.supervisor], deadline - time.monotonic())


def kill(config: Config, name: str, signal: str = "KILL", whom: str = "leader") -> None:
    """Send a signal (KILL, SIGTERM, RTMIN+4, 15) to the machine's init, or to all that runs in it.

    After KILL nothing of the machine's run is left when this returns.
    """
    number = signal_number(signal)
    run = status.run_of(config, name)
    if whom not in ("leader", "all"):
        raise UsageError(_("{whom!r} cannot be sent a signal").format(whom=whom), _("leader or all"))
    if number == KILL:
        state.end(config, name)
        _clear_up(config, name)
    elif whom == "leader":
        if not process.send(status.leader_of(config, name), number):
            raise NotRunningError(_("machine {name} has just stopped").format(name=name))
    else:
        for pid in cgroup.processes(state.group(config, name)) - {run.supervisor.pid}:
            if found := process.of(pid):
                process.send(found, number)


def signal_number(text: str) -> int:
    """The number of a signal given as KILL, SIGKILL, RTMIN+4 or 9. Raises UsageError."""
    word = text.upper().removeprefix("SIG")
    real_time = re.fullmatch(r"RTMIN(?:\+(\d+))?", word)
    number = (
        int(word)
        if word.isdigit()
        else signal.SIGRTMIN + int(real_time[1] or 0)
        if real_time
        else signal.Signals.__members__.get(f"SIG{word}", 0)
    )
    if 0 < number <= signal.SIGRTMAX:
        return int(number)
    raise UsageError(_("{text!r} is no signal").format(text=text), _("such as TERM, KILL, HUP, RTMIN+4 or a number"))


def remove(config: Config, name: str, *, force: bool = False) -> None:
    """Remove the machine: its tree, spec, settings, logs. Raises BusyError if it runs, unless ``force`` kills it."""
    status.existing(config, name)
    if state.running(config, name):
        if not force:
            raise BusyError(
                _("machine {name} is running").format(name=name),
                _("machinespawn stop {name}, or machinespawn remove --force {name}").format(name=name),
            )
        kill(config, name)
    with state.lock(config, name), step(_("remove {name}").format(name=name)):
        _refuse_running(config, name)
        state.reclaim(config, name)
        _refuse_foreign_use(trees.path(config, name))
        trees.remove(config, name, lambda: _forget(config, name))
        (config.locks / f"run-{name}").unlink(missing_ok=True)


def _forget(config: Config, name: str) -> None:
    settings.remove(config, name)
    console.remove(config, name)


def _refuse_running(config: Config, name: str) -> None:
    if state.running(config, name):
        raise BusyError(
            _("machine {name} is running already").format(name=name),
            _("machinespawn shell {name}, or machinespawn stop {name} first").format(name=name),
        )


def _refuse_foreign_use(tree: Path) -> None:
    """Somebody else may run the tree, and what is mounted in it is not the machine's to be removed with it."""
    if treelock.in_use(tree):
        raise BusyError(
            _("a systemd-nspawn that machinespawn did not start is using {tree}").format(tree=tree),
            _("machinectl list and ps tell which; end it first"),
        )
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = (line.split(" ")[4].encode().decode("unicode_escape") for line in lines)
    below = [point for point in points if point == str(tree) or point.startswith(f"{tree}/")]
    if below:
        raise BusyError(
            _("{point} is mounted in the tree").format(point=below[-1]), _("umount {point}").format(point=below[-1])
        )


def _clear_up(config: Config, name: str) -> None:
    """Clear away what a run left that has just ended; somebody else may be at that already."""
    with contextlib.suppress(BusyError), state.lock(config, name, PATIENCE):
        if state.running(config, name) is None:
            state.reclaim(config, name)
