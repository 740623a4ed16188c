"""The process that draws progress on a terminal: reads events from its input until the last writer is gone."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from typing import NoReturn

from machinespawn.cli.voice import Event

FRAME = 0.1
"""Seconds between two pictures of the spinner."""
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


def draw(verbosity: int) -> NoReturn:
    """Draw until the input ends. Input 0: events; output 1: a byte for each "settle"; the terminal is 2."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the work is interrupted and tells how it ended; we draw that
    try:
        _Picture(verbosity).follow()
    except BaseException as error:
        os.write(2, f"machinespawn: progress is not shown any more: {error}\n".encode())
    os._exit(0)


class _Picture:
    """Lines of what ended, above one spinning line for each step that runs."""

    def __init__(self, verbosity: int) -> None:
        from rich.console import Console
        from rich.live import Live

        self.verbosity = verbosity
        self.live = Live(console=Console(file=sys.stderr), auto_refresh=False, transient=True)
        self.running: dict[tuple[int, str], float] = {}

    def follow(self) -> None:
        """Take events as they come, and turn the spinners in between."""
        buffer = b""
        try:
            while True:
                if select.select([0], [], [], FRAME if self.running else None)[0]:
                    chunk = os.read(0, 65536)
                    if not chunk:
                        return
                    *lines, buffer = (buffer + chunk).split(b"\n")
                    for line in lines:
                        self.take(Event(*json.loads(line)))
                self.refresh()
        finally:
            self.live.stop()

    def take(self, event: Event) -> None:
        """One event: a step more or less, or a line."""
        step = (event.depth, event.text)
        match event.kind:
            case "settle":
                self.running.clear()
                self.refresh()
                os.write(1, b".")
                return
            case "start":
                self.running[step] = time.monotonic()
            case "done" | "failed":
                self.running.pop(step, None)
        if event.wanted(self.verbosity):
            self.tell(event)

    def tell(self, event: Event) -> None:
        """Print what stays on the screen."""
        from rich.text import Text

        indent = "  " * event.depth
        seconds = (f"  {event.seconds:.1f} s", "dim")
        match event.kind:
            case "done":
                line = Text.assemble(indent, ("✓ ", "green"), event.text, seconds)
            case "failed":
                line = Text.assemble(indent, ("✗ ", "red"), event.text, seconds)
            case "note":
                line = Text.assemble(indent, "  ", (event.text, "dim"))
            case "warning":
                line = Text.assemble(indent, ("! ", "yellow bold"), event.text)
            case _:
                return
        self.live.console.print(line)

    def refresh(self) -> None:
        """Draw the steps that run, or nothing when there are none."""
        from rich.console import Group
        from rich.text import Text

        if not self.running:
            self.live.stop()
            return
        now = time.monotonic()
        turn = FRAMES[int(now / FRAME) % len(FRAMES)]
        lines = [
            Text.assemble("  " * depth, (turn, "cyan"), f" {text}", (f"  {now - began:.0f} s", "dim"))
            for (depth, text), began in self.running.items()
        ]
        self.live.start()
        self.live.update(Group(*lines), refresh=True)
