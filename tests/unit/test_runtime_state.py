"""What is known of running machines is checked against the kernel each time."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from machinespawn.config import Config
from machinespawn.errors import BusyError, UsageError
from machinespawn.host import process
from machinespawn.host.process import Process
from machinespawn.machines.lifecycle import signal_number
from machinespawn.runtimes import state
from machinespawn.runtimes.state import RunState


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(root=tmp_path)


@pytest.fixture
def other() -> Iterator[Process]:
    """A process that is not ours to wait for alone."""
    with subprocess.Popen(["sleep", "600"]) as child:
        found = process.of(child.pid)
        assert found
        yield found
        child.kill()


def note(config: Config, run: RunState) -> None:
    state.directory(config, "bread").mkdir(parents=True)
    state.write(config, "bread", run)


def test_what_was_noted_is_read(config: Config, other: Process) -> None:
    us = process.of(os.getpid())
    run = RunState(other, leader=us, starter=None, console="/log")
    note(config, run)
    assert state.running(config, "bread") == run
    assert run.word == "running"
    assert dataclasses.replace(run, starter=us).word == "starting"
    assert os.stat(state.directory(config, "bread") / state.STATE_FILE).st_mode & 0o777 == 0o600


def test_a_reused_pid_is_somebody_else(config: Config, other: Process) -> None:
    impostor = Process(other.pid, other.started - 1)
    assert not impostor.alive
    assert not process.send(impostor, signal.SIGKILL)
    assert other.alive
    note(config, RunState(impostor, leader=impostor))
    assert state.running(config, "bread") is None


def test_a_leader_that_ended_before_its_supervisor(config: Config, other: Process) -> None:
    note(config, RunState(other, leader=Process(other.pid, 1)))
    run = state.running(config, "bread")
    assert run
    assert run.word == "stopping"


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"supervisor": 3}', '{"supervisor": {"pid": 1}}'])
def test_a_damaged_state_is_none(config: Config, text: str) -> None:
    directory = state.directory(config, "bread")
    directory.mkdir(parents=True)
    (directory / state.STATE_FILE).write_text(text)
    assert state.running(config, "bread") is None


def test_waiting_and_ending(other: Process) -> None:
    assert not process.wait([other], 0.05)
    assert process.send(other, signal.SIGKILL)
    assert process.wait([other], 10)
    assert not other.alive
    assert not process.send(other, signal.SIGKILL)


def test_uptime_is_in_seconds(other: Process) -> None:
    assert 0 <= other.uptime < 60
    with Path("/proc/uptime").open() as stream:
        assert abs(Process(1, 0).uptime - float(stream.read().split()[0])) < 5


def test_who_takes_a_signal() -> None:
    code = "import signal, sys; signal.signal(signal.SIGUSR1, lambda *_: 0); print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.read(1)
        found = process.of(child.pid)
        assert found
        assert process.takes(found, signal.SIGUSR1)
        assert not process.takes(found, signal.SIGUSR2)
        child.communicate()


def test_one_at_a_time(config: Config) -> None:
    with state.lock(config, "bread"):
        with pytest.raises(BusyError), state.lock(config, "bread", patience=0.1):
            pass
        with state.lock(config, "cake"):
            pass
    with state.lock(config, "bread"):
        pass


def test_roots_have_control_groups_of_their_own(tmp_path: Path) -> None:
    assert state.group(Config(), "bread") == "bread"
    groups = {state.group(Config(root=tmp_path / each), "bread") for each in "ab"}
    assert len(groups) == 2
    assert all(group.startswith("bread@") for group in groups)  # no machine's name holds an @


@pytest.mark.parametrize(
    ("text", "number"),
    [("KILL", 9), ("sigterm", 15), ("9", 9), ("RTMIN+4", signal.SIGRTMIN + 4), ("SIGRTMIN", signal.SIGRTMIN)],
)
def test_signals(text: str, number: int) -> None:
    assert signal_number(text) == number


@pytest.mark.parametrize("text", ["", "0", "KILLED", "-9", "999", "RTMIN+99", "_DFL", "_BLOCK", "_SETMASK", "mask"])
def test_no_signals(text: str) -> None:
    with pytest.raises(UsageError):
        signal_number(text)
