"""A program in the foreground: our signals reach it, its status is ours, and no terminal of ours gets into its hands.

Where a standard stream of ours is a terminal, the program gets a pseudo
terminal in its place, and this process copies between the two: a program that
held our terminal could type on it. Streams that are none are its own directly.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from machinespawn.errors import EXEC_FAILED, MachinespawnError
from machinespawn.host import linux
from machinespawn.runtimes import terminal
from machinespawn.runtimes.terminal import Pty

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
NOTICED = (signal.SIGWINCH, signal.SIGCONT)
CHUNK = 65536
LAST_WORDS = 100
"""Milliseconds that output may take to come through the pty after the program's end."""

Become = Callable[[], None]
"""Run in the child: turns into the program and does not return."""


def run(
    become: Become,
    pty: Callable[[], Pty],
    *,
    namespace: int | None = None,
    started: Callable[[int], None] = lambda _pid: None,
    watch: Mapping[int, Callable[[], None]] | None = None,
    copy_to: int | None = None,
) -> int:
    """Run the program to its end and give its exit status, 128 + N for signal N.

    ``pty`` makes a pseudo terminal, and is asked if a stream of ours is one;
    ``namespace`` is a pidfd of a process whose pid namespace the program starts
    in; ``started`` is told its pid; ``watch`` holds descriptors and what to do when one of them has
    something to read; ``copy_to`` gets the terminal's output too.
    """
    terminals = terminal.ours()
    pair = pty() if terminals else None
    with contextlib.ExitStack() as stack:
        wakeup = stack.enter_context(_signals())
        child = _fork(become, pair, terminals, namespace)
        if pair:
            os.close(pair.slave)
            stack.callback(os.close, pair.master)
            terminal.copy_size(terminals[0], pair)
        relay = _Relay(os.pidfd_open(child), wakeup, pair, terminals, watch or {}, copy_to)
        stack.callback(os.close, relay.child)
        try:
            started(child)
            relay.follow()
        except BaseException:
            os.kill(child, signal.SIGKILL)
            raise
        finally:
            relay.release()
            _pid, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _fork(become: Become, pair: Pty | None, terminals: tuple[int, ...], namespace: int | None) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.nullcontext() if namespace is None else linux.children_in(namespace):
        child = os.fork()
        if child == 0:
            _become(become, pair, terminals)
    return child


def _become(become: Become, pair: Pty | None, terminals: tuple[int, ...]) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        for number in (*FORWARDED, *NOTICED, signal.SIGTTOU):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        if pair:
            if 0 not in terminals:
                terminal.pass_through(pair.slave)
            fcntl.ioctl(pair.slave, termios.TIOCSCTTY, 0)
            for stream in terminals:
                os.dup2(pair.slave, stream)
        become()
    except (MachinespawnError, OSError) as error:
        os.write(2, f"machinespawn: {error}\n".encode())
    finally:
        os._exit(EXEC_FAILED)


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """While the block runs, signals are bytes on the descriptor that it gets."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.set_blocking(reader, False)
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda _number, _frame: None) for number in (*FORWARDED, *NOTICED)}
    before[signal.SIGTTOU] = signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # so that the terminal can be given back
    try:
        yield reader
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(reader)
        os.close(writer)


@dataclass
class _Relay:
    """Between the terminal that we are on and the program's pty."""

    child: int
    """A pidfd."""
    wakeup: int
    pty: Pty | None
    terminals: tuple[int, ...]
    watch: Mapping[int, Callable[[], None]]
    copy_to: int | None
    reading: bool = False
    """Keys are taken from the terminal."""
    mode: list[Any] | None = None
    """The terminal's own mode, once we have changed it."""
    typed: bytes = b""
    """Keys that the pty had no room for yet."""
    hung_up: bool = False
    """Nobody holds the other end of the pty any more."""

    def follow(self) -> None:
        """Copy and forward until the program ends."""
        if self.pty:
            os.set_blocking(self.pty.master, False)
        self._claim()
        while not self._step():
            pass
        while self.pty and not self.hung_up and self._poll(LAST_WORDS, {self.pty.master: select.POLLIN}):
            self._copy_output(self.pty)

    def release(self) -> None:
        """Give the terminal back as it was."""
        if self.mode is not None:
            with contextlib.suppress(termios.error):  # it may be gone
                termios.tcsetattr(0, termios.TCSADRAIN, self.mode)

    def _claim(self) -> None:
        """Take the terminal's keys, every one as it is, unless another job has the terminal."""
        self.reading = self.pty is not None and 0 in self.terminals and terminal.in_front(0)
        if self.reading:
            self.mode = self.mode or termios.tcgetattr(0)
            tty.setraw(0, termios.TCSANOW)

    @staticmethod
    def _poll(timeout: int | None, wanted: Mapping[int, int]) -> dict[int, int]:
        poll = select.poll()
        for descriptor, events in wanted.items():
            poll.register(descriptor, events)
        return dict(poll.poll(timeout))

    def _step(self) -> bool:
        """One round; True once the program has ended."""
        wanted = dict.fromkeys((self.child, self.wakeup, *self.watch), select.POLLIN)
        if self.pty and not self.hung_up:
            wanted[self.pty.master] = select.POLLIN | (select.POLLOUT if self.typed else 0)
        if self.reading and not self.typed:
            wanted[0] = select.POLLIN
        ready = self._poll(None, wanted)
        if self.wakeup in ready:
            self._forward()
        if 0 in ready:
            self._take_keys()
        if self.pty and self.pty.master in ready:
            self._pass_keys(self.pty)
            self._copy_output(self.pty)
        for descriptor, act in self.watch.items():
            if descriptor in ready:
                act()
        return self.child in ready

    def _forward(self) -> None:
        for number in os.read(self.wakeup, CHUNK):
            if number == signal.SIGCONT:
                self._claim()
            if number in NOTICED:
                if self.pty:
                    terminal.copy_size(self.terminals[0], self.pty)
            elif number in FORWARDED:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self.child, number)

    def _take_keys(self) -> None:
        with contextlib.suppress(OSError):
            self.typed = os.read(0, CHUNK)
        if not self.typed:  # our terminal has gone
            self.reading = False
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.child, signal.SIGHUP)

    def _pass_keys(self, pty: Pty) -> None:
        if self.typed:
            try:
                self.typed = self.typed[os.write(pty.master, self.typed) :]
            except BlockingIOError:
                pass
            except OSError:
                self.typed = b""

    def _copy_output(self, pty: Pty) -> None:
        data = b""
        try:
            data = os.read(pty.master, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self.hung_up = True
        if self.copy_to is not None:
            write_all(self.copy_to, data)
        with contextlib.suppress(OSError):  # our terminal may have gone: the program has SIGHUP then
            write_all(next(stream for stream in (1, 2, 0) if stream in self.terminals), data)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of data, however small the steps."""
    while data:
        data = data[os.write(descriptor, data) :]
