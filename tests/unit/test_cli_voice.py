"""Progress: lines for logs, objects for programs, a picture for a terminal, whichever process speaks."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command_line import CHECKOUT

SPEAKER = """
import os, sys, time
from machinespawn import progress
from machinespawn.cli import voice
kind = voice.choose(sys.argv[1] == "json", int(sys.argv[2]))
progress.speak_with(kind)
try:
    with progress.step("outer"):
        child = os.fork()
        if child == 0:
            with progress.step("inner [bold]"), progress.step("deep"):
                progress.note("deep note")
                time.sleep(0.3)
            progress.warn("careful")
            os._exit(0)
        os.waitpid(child, 0)
        with progress.step("broken"):
            raise KeyError
except KeyError:
    pass
voice.settle(kind)
print("the end", flush=True)
"""


def environment(term: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), "TERM": term, "COLUMNS": "80"}


def spoken(kind: str, verbosity: int) -> list[str]:
    told = subprocess.run(
        [sys.executable, "-c", SPEAKER, kind, str(verbosity)],
        env=environment("xterm"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "the end\n"
    return re.sub(r"\d+\.\d s", "N s", told.stderr).splitlines()


def test_lines_of_a_log() -> None:
    assert spoken("text", 0) == [
        "outer …",
        "  inner [bold] …",
        "  warning: careful",
        "  broken …",
        "  broken: failed after N s",
        "outer: failed after N s",
    ]
    assert spoken("text", -1) == ["  warning: careful"]
    assert {"    deep …", "      deep note"} <= set(spoken("text", 1))


def test_objects_for_programs() -> None:
    events = [json.loads(line) for line in spoken("json", 0)]
    assert [(event["event"], event["text"], event["depth"]) for event in events] == [
        ("start", "outer", 0),
        ("start", "inner [bold]", 1),
        ("start", "deep", 2),
        ("note", "deep note", 3),
        ("done", "deep", 2),
        ("done", "inner [bold]", 1),
        ("warning", "careful", 1),
        ("start", "broken", 1),
        ("failed", "broken", 1),
        ("failed", "outer", 0),
    ]
    assert all(event["seconds"] >= 0 for event in events)


def on_a_terminal(argv: list[str], until: bytes = b"") -> tuple[subprocess.Popen[bytes], bytes]:
    """Run argv on a terminal until it ends, or has printed something."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen(argv, env=environment("xterm"), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    printed = b""
    while not (until and until in printed):
        try:
            printed += os.read(ours, 65536)
        except OSError:  # every holder of the other end has gone
            break
    if until:
        running.kill()
        while True:
            try:
                printed += os.read(ours, 65536)
            except OSError:
                break
    os.close(ours)
    running.wait()
    return running, printed


def test_a_terminal_is_drawn_before_the_answer() -> None:
    running, printed = on_a_terminal([sys.executable, "-c", SPEAKER, "text", "0"])
    assert running.returncode == 0
    text = printed.decode()
    for line in ("inner [bold]", "careful", "broken", "outer"):
        assert line in text
    assert "deep note" not in text
    assert text.rindex("outer") < text.index("the end")
    assert "\n" not in text[text.index("the end") :].strip()
    assert printed.rindex(b"\x1b[?25h") < printed.index(b"the end")  # the cursor is back


WORKER = """
import time
from machinespawn import progress
from machinespawn.cli import voice
progress.speak_with(voice.choose(False, 0))
with progress.step("working"):
    time.sleep(60)
"""


def drawing_processes() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and WORKER.encode() in (entry / "cmdline").read_bytes():
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_a_killed_worker_leaves_cursor_and_processes_behind_it_in_order() -> None:
    _running, printed = on_a_terminal([sys.executable, "-c", WORKER], until=b"working")
    assert b"\x1b[?25l" in printed
    assert printed.rindex(b"\x1b[?25h") > printed.rindex(b"\x1b[?25l")
    for _attempt in range(100):
        if not drawing_processes():
            return
        time.sleep(0.05)
    pytest.fail("the process that draws is still there")
