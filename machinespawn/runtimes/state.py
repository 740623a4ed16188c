"""What is known of a running machine: one small file in /run, written by whoever starts it.

It holds only what cannot be asked of the kernel. Whether the machine runs is
always the kernel's answer: a supervisor or a leader of that pid and that start
time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from machinespawn.config import Config
from machinespawn.errors import BusyError
from machinespawn.files import locked, remove_tree, write_atomic
from machinespawn.host import cgroup, process
from machinespawn.host.process import Process
from machinespawn.runtimes import treelock
from machinespawn.store import trees
from machinespawn.text import _

STATE_FILE = "state.json"
SOCKET = "notify"
GONE_WITHIN = 5.0
"""Seconds that a killed supervisor may take to go."""


@dataclass(frozen=True)
class RunState:
    """One run of a machine."""

    supervisor: Process
    """systemd-nspawn."""
    leader: Process | None = None
    """The machine's init; None until it is there."""
    starter: Process | None = None
    """Who waits for the boot to end; None once it has."""
    console: str = ""
    """File that the console is written to; empty: it is on somebody's terminal."""

    @classmethod
    def parse(cls, text: str) -> RunState:
        """From the JSON of a state file."""
        data = json.loads(text)
        processes = {key: Process(**data[key]) if data[key] else None for key in ("supervisor", "leader", "starter")}
        return cls(**{**data, **processes})

    @property
    def word(self) -> str:
        """starting, running, stopping or stopped, as it is at this moment."""
        if self.leader and self.leader.alive:
            return "starting" if self.starter and self.starter.alive else "running"
        if not self.supervisor.alive:
            return "stopped"
        return "stopping" if self.leader else "starting"


def directory(config: Config, name: str) -> Path:
    """Where the state of a machine is kept while it runs."""
    return config.run / "machines" / name


def group(config: Config, name: str) -> str:
    """The machine's control group below machinespawn: its name, marked where it stands under another root.

    Control groups are the kernel's, not the root's: what one root takes for
    leftovers would be another's running machine.
    """
    return name if config.root == Path("/") else f"{name}@{zlib.crc32(os.fsencode(config.root)):08x}"


def write(config: Config, name: str, state: RunState) -> None:
    """Note the machine's state for other processes to see."""
    write_atomic(directory(config, name) / STATE_FILE, json.dumps(dataclasses.asdict(state)) + "\n", 0o600)


def running(config: Config, name: str) -> RunState | None:
    """The state of a machine that runs (or starts, or stops), else None."""
    state = _noted(config, name)
    if state and state.leader is None:
        state = dataclasses.replace(state, leader=process.init_below(state.supervisor.pid))
    return None if state is None or state.word == "stopped" else state


def _noted(config: Config, name: str) -> RunState | None:
    try:
        return RunState.parse((directory(config, name) / STATE_FILE).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def lock(config: Config, name: str, patience: float = 0.0) -> Iterator[None]:
    """Nobody else starts, clears up or removes the machine meanwhile.

    Raises BusyError if somebody has it for more than patience seconds.
    """
    with _patiently(config.locks / f"run-{name}", name, patience, shared=False):
        yield


@contextlib.contextmanager
def tree_kept(config: Config, name: str) -> Iterator[None]:
    """Nobody builds or removes the machine's tree meanwhile."""
    with _patiently(trees.lock_file(config, name), name, 1.0, shared=True):  # a sweep has it for an instant
        yield


@contextlib.contextmanager
def _patiently(path: Path, name: str, patience: float, *, shared: bool) -> Iterator[None]:
    busy = _("another command is using machine {name}").format(name=name)
    hint = _("wait until it is done and try again")
    deadline = time.monotonic() + patience
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(path, wait=False, shared=shared, busy=busy, hint=hint))
                break
            except BusyError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.02)
        yield


def leftovers(config: Config, name: str) -> bool:
    """Whether a run that is over left anything."""
    return directory(config, name).exists() or bool(cgroup.directories(group(config, name)))


def reclaim(config: Config, name: str) -> None:
    """End what is left of a run and clear it away; the caller has the lock, and the machine does not run."""
    end(config, name)
    cgroup.remove(group(config, name))
    treelock.forget(trees.path(config, name))
    remove_tree(directory(config, name))


def end(config: Config, name: str) -> None:
    """Kill all of a run: the leader first, since systemd-nspawn then clears up after itself."""
    run = _noted(config, name)
    cgroup.thaw(group(config, name))
    if run:
        leader = run.leader or process.init_below(run.supervisor.pid)
        if leader and process.send(leader, signal.SIGKILL):
            process.wait([run.supervisor], GONE_WITHIN)
    cgroup.kill(group(config, name))
    if run:
        process.wait([run.supervisor], GONE_WITHIN)


def reclaim_unless_used(config: Config, name: str) -> None:
    """Clear away what is left of a run, unless it is going on or somebody is at it."""
    with contextlib.suppress(BusyError), lock(config, name):
        if running(config, name) is None:
            reclaim(config, name)
