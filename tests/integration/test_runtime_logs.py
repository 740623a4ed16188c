"""Logs of machines that run, have stopped, or have crashed."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from machinespawn.config import Config
from machinespawn.errors import NotFoundError, TrustError
from machinespawn.machines import lifecycle
from machinespawn.runtimes import console
from tests import verbs


def say(config: Config, name: str, text: str, unit: str = "talker") -> None:
    argv = ["systemd-run", "--quiet", "--wait", f"--unit={unit}", "echo", text]
    lifecycle.capture(config, name, argv)
    lifecycle.capture(config, name, ["journalctl", "--sync"])


def test_the_journal_is_there_running_stopped_and_crashed(config: Config, machine: str) -> None:
    lifecycle.start(config, machine)
    lifecycle.wait_until_booted(config, machine)
    say(config, machine, "first words")
    assert any("first words" in line for line in lifecycle.logs(config, machine))
    lifecycle.stop(config, machine)
    assert any("first words" in line for line in lifecycle.logs(config, machine, unit="talker"))
    assert not any("first words" in line for line in lifecycle.logs(config, machine, unit="dbus"))
    assert len(list(lifecycle.logs(config, machine, lines=3))) == 3
    assert not list(lifecycle.logs(config, machine, since="tomorrow"))
    entries = [json.loads(line) for line in lifecycle.logs(config, machine, unit="talker", as_json=True)]
    assert "first words" in {entry["MESSAGE"] for entry in entries}
    lifecycle.start(config, machine)
    lifecycle.wait_until_booted(config, machine)
    say(config, machine, "last words", "crasher")
    lifecycle.kill(config, machine)
    assert any("last words" in line for line in lifecycle.logs(config, machine))


def test_followed(config: Config, machine: str) -> None:
    lifecycle.start(config, machine)
    lifecycle.wait_until_booted(config, machine)
    followed = lifecycle.logs(config, machine, lines=0, follow=True)
    found: list[str] = []

    def follow() -> None:
        found.append(next(line for line in followed if "said later" in line))
        followed.close()  # type: ignore[attr-defined]

    following = threading.Thread(target=follow)
    following.start()
    for number in range(20):
        say(config, machine, "said later", f"talker{number}")
        following.join(1)
        if not following.is_alive():
            break
    assert found


def test_a_journal_in_memory(config: Config, machine: str) -> None:
    """Of a machine that keeps none on disk: there while it runs, then its console is all there is."""
    subprocess.run(["rm", "-r", config.machines / machine / "var/log/journal"], check=True)
    lifecycle.start(config, machine)
    lifecycle.wait_until_booted(config, machine)
    say(config, machine, "in memory")
    assert any("in memory" in line for line in lifecycle.logs(config, machine))
    lifecycle.stop(config, machine)
    lines = list(lifecycle.logs(config, machine))
    assert not any("in memory" in line for line in lines)
    assert any("Reached target" in line for line in lines)


def test_the_console(config: Config, machine: str) -> None:
    with pytest.raises(NotFoundError):
        list(lifecycle.logs(config, machine, console=True))
    lifecycle.start(config, machine)
    lines = list(lifecycle.logs(config, machine, console=True))
    assert any("Reached target" in line for line in lines)
    assert "\x1b" not in "".join(lines)
    assert list(lifecycle.logs(config, machine, console=True, lines=2)) == lines[-2:]
    assert list(lifecycle.logs(config, machine, console=True, lines=0)) == []
    followed = lifecycle.logs(config, machine, console=True, lines=0, follow=True)
    lifecycle.stop(config, machine)
    lifecycle.start(config, machine)
    lifecycle.stop(config, machine)
    assert "Powering off" in console.previous(config, machine).read_text()
    followed.close()  # type: ignore[attr-defined]


def test_a_followed_console_ends_with_the_machine(config: Config, machine: str) -> None:
    lifecycle.start(config, machine)
    with verbs.begin("logs", config.root, machine, stdout=subprocess.PIPE, console=True, follow=True) as following:
        lifecycle.stop(config, machine)
        assert b"Powering off" in following.communicate(timeout=20)[0]


def test_no_link_in_a_tree_leads_to_the_hosts_journal(config: Config, small_tree: str, tmp_path: Path) -> None:
    """Neither as the directory nor above it."""
    tree = config.machines / small_tree
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal/system.journal").write_bytes(b"the host's")
    for link in ("var/log/journal", "var/log", "var"):
        subprocess.run(["rm", "-rf", tree / "var"], check=True)
        (tree / link).parent.mkdir(parents=True, exist_ok=True)
        target = {"var/log/journal": tmp_path / "journal", "var/log": tmp_path, "var": tmp_path}[link]
        (tree / link).symlink_to(target)
        os.makedirs(tmp_path / "log", exist_ok=True)
        if not (tmp_path / "log/journal").exists():
            (tmp_path / "log/journal").symlink_to(tmp_path / "journal")
        with pytest.raises(NotFoundError):
            list(lifecycle.logs(config, small_tree))


def test_a_journal_that_is_a_link_is_not_read(config: Config, small_tree: str, tmp_path: Path) -> None:
    journal = config.machines / small_tree / "var/log/journal/0123456789abcdef0123456789abcdef"
    journal.mkdir(parents=True)
    (tmp_path / "host.journal").write_bytes(b"the host's")
    (journal / "system.journal").symlink_to(tmp_path / "host.journal")
    with pytest.raises(TrustError):
        list(lifecycle.logs(config, small_tree))
