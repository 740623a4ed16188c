"""Progress as people or programs want it; always on stderr, since stdout is for the answer.

A build forks, and its children tell progress too. Lines and events are
written as they come, by whichever process has something to tell. A terminal
is drawn by one process of its own (drawing.py) that everybody sends events
to: no thread is there to be lost in a fork, and the cursor comes back even
when the build is killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from typing import NamedTuple

from machinespawn.progress import Voice
from machinespawn.text import _

OUTER = 1
"""Steps nested deeper than this are only shown with --verbose."""
SETTLE_TIMEOUT = 2.0


class Event(NamedTuple):
    """One call of a progress.Voice."""

    kind: str
    text: str
    depth: int
    seconds: float

    def wanted(self, verbosity: int) -> bool:
        """Whether people who asked for this much see it."""
        return self.kind == "warning" or (verbosity >= 0 and self.depth <= OUTER) or verbosity > 0


def choose(as_json: bool, verbosity: int) -> Voice:
    """The voice for this call."""
    if as_json:
        return events if verbosity >= 0 else _warnings_as_events
    if verbosity >= 0 and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return Terminal(verbosity)
    return Lines(verbosity)


def settle(voice: Voice | None) -> None:
    """Return when all that was told so far can be seen."""
    if isinstance(voice, Terminal):
        voice.settle()


def events(kind: str, text: str, depth: int, seconds: float) -> None:
    """One JSON object per line."""
    import json

    line = json.dumps({"event": kind, "text": text, "depth": depth, "seconds": round(seconds, 3)})
    print(line, file=sys.stderr, flush=True)


def _warnings_as_events(kind: str, text: str, depth: int, seconds: float) -> None:
    if kind == "warning":
        events(kind, text, depth, seconds)


class Lines:
    """Plain lines, for logs."""

    def __init__(self, verbosity: int) -> None:
        self.verbosity = verbosity

    def __call__(self, kind: str, text: str, depth: int, seconds: float) -> None:
        """Print what people who asked for this much want to see."""
        event = Event(kind, text, depth, seconds)
        line = line_of(event)
        if line and event.wanted(self.verbosity):
            print("  " * depth + line, file=sys.stderr, flush=True)


def line_of(event: Event) -> str:
    """The event as a line of a log; empty if it needs none."""
    match event.kind:
        case "start":
            return _("{text} …").format(text=event.text)
        case "done" if event.seconds >= 1:
            return _("{text}: done, {seconds:.1f} s").format(text=event.text, seconds=event.seconds)
        case "failed":
            return _("{text}: failed after {seconds:.1f} s").format(text=event.text, seconds=event.seconds)
        case "note":
            return event.text
        case "warning":
            return _("warning: {text}").format(text=event.text)
    return ""


class Terminal:
    """Sends events to the process that draws, which is started by the first of them."""

    def __init__(self, verbosity: int) -> None:
        self.verbosity = verbosity
        self.owner = os.getpid()
        self.to_drawing = -1
        self.acknowledged = -1

    def __call__(self, kind: str, text: str, depth: int, seconds: float) -> None:
        """Send one event; a pipe takes up to 4096 bytes at once, so writers do not mix."""
        if self.to_drawing < 0 and os.getpid() == self.owner:
            self._start()
        if self.to_drawing < 0:  # a child spoke first: what it started would end with it
            Lines(self.verbosity)(kind, text, depth, seconds)
            return
        self._send(Event(kind, text[:500], depth, seconds))

    def settle(self) -> None:
        """Wait until all that was sent is drawn and the running lines are off the screen."""
        if self.to_drawing >= 0:
            self._send(Event("settle", "", 0, 0.0))
            if select.select([self.acknowledged], [], [], SETTLE_TIMEOUT)[0]:
                os.read(self.acknowledged, 1)

    def _send(self, event: Event) -> None:
        import json

        with contextlib.suppress(BrokenPipeError):  # somebody ended the drawing: the work goes on
            os.write(self.to_drawing, json.dumps(event).encode() + b"\n")

    def _start(self) -> None:
        """Fork twice, so that the process that draws is nobody's child to wait for, an exec'd program's neither."""
        events_in, self.to_drawing = os.pipe()
        self.acknowledged, acknowledge = os.pipe()
        first = os.fork()
        if first == 0:
            try:
                if os.fork() == 0:
                    from machinespawn.cli import drawing

                    os.dup2(events_in, 0)
                    os.dup2(acknowledge, 1)
                    os.closerange(3, 65536)  # locks among them: they are not ours to hold
                    drawing.draw(self.verbosity)
            finally:
                os._exit(0)  # whatever happens: the caller's work is not ours to go on with
        os.waitpid(first, 0)
        os.close(events_in)
        os.close(acknowledge)
