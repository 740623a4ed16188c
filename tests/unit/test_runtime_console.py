"""Console logs: kept of two boots, for root alone, and harmless on a terminal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from machinespawn.config import Config
from machinespawn.runtimes import console


def test_the_log_before_is_kept(tmp_path: Path) -> None:
    config = Config(root=tmp_path)
    for boot in ("first", "second", "third"):
        log = console.rotate(config, "bread")
        assert log.read_text() == ""
        assert os.stat(log).st_mode & 0o777 == 0o600
        log.write_text(boot)
    assert console.path(config, "bread").read_text() == "third"
    assert console.previous(config, "bread").read_text() == "second"
    assert os.stat(config.logs).st_mode & 0o777 == 0o700
    console.remove(config, "bread")
    console.remove(config, "bread")
    assert list(config.logs.iterdir()) == []


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("[\x1b[0;32m  OK  \x1b[0m] Started\r\n", "[  OK  ] Started\n"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]52;c;Y2F0\x1b\\after", "after"),
        ("\x1bPq#0\x1b\\after", "after"),
        ("\x1b[2J\x1b[1;1H\x1bcafter", "after"),
        ("a\x00b\x08c\x9b31md", "abc31md"),
        ("größe …", "größe …"),
    ],
)
def test_nothing_acts_on_a_terminal(printed: str, shown: str) -> None:
    assert console.readable(printed) == shown


def test_the_end_of_a_long_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(100_000)))
    lines = console.tail(log).splitlines()
    assert lines[-1] == "line 99999"
    assert len(lines) == console.TAIL_LINES
    assert console.tail(tmp_path / "none") == ""
