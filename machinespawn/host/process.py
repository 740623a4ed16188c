"""Processes that others started: told apart by pid and start time, so that a reused pid is never signalled."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """One process for all time: ``started`` is field 22 of /proc/PID/stat, clock ticks since the host booted."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether it runs still; one that ended and was not waited for does not."""
        return of(self.pid) == self

    @property
    def uptime(self) -> float:
        """Seconds since it was started."""
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - self.started / TICKS)


def of(pid: int) -> Process | None:
    """The process that has this pid now, or None if there is none that runs."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name in () may hold anything
    return None if state in "ZX" else Process(pid, int(fields[18]))


def init_below(pid: int) -> Process | None:
    """The child of pid's main thread that is PID 1 of a pid namespace of its own."""
    try:
        pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        found = next((int(each) for each in pids if _numbers(int(each))[1:] == ("1",)), None)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return of(found) if found else None


def _numbers(pid: int) -> tuple[str, ...]:
    """Its pid in our namespace and in each below."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((tuple(line.split()[1:]) for line in lines if line.startswith("NSpid:")), ())


@contextlib.contextmanager
def held(process: Process) -> Iterator[int | None]:
    """A pidfd of the process, or None if it has ended."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield descriptor if process.alive else None
    finally:
        os.close(descriptor)


def send(process: Process, number: int) -> bool:
    """Signal the process; False if it has ended."""
    with held(process) as descriptor:
        if descriptor is None:
            return False
        try:
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        return True


def takes(process: Process, number: int) -> bool:
    """Whether it has a handler or a queue for the signal; PID 1 of a namespace sees no other."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigBlk:", "SigCgt:"))]
    return any(mask >> (number - 1) & 1 for mask in masks)


def wait(processes: Iterable[Process], timeout: float) -> bool:
    """Wait until all of them have ended; False if that took more than timeout seconds."""
    deadline = time.monotonic() + max(0.0, timeout)
    return all(_ends(process, max(0.0, deadline - time.monotonic())) for process in processes)


def _ends(process: Process, timeout: float) -> bool:
    with held(process) as descriptor:
        if descriptor is not None:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            if not poll.poll(timeout * 1000):
                return False
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)  # where it is a child of ours
    return True
