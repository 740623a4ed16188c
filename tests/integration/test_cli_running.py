"""Machines on the command line: run in all its forms, exec, shell, logs, list, show, stop, kill, remove."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from dataclasses import replace

from machinespawn.config import Config
from machinespawn.machines import status
from tests import left
from tests.command_line import CHECKOUT
from tests.roots import Root


def state(config: Config, name: str) -> str:
    return status.of(config, name).state


def rows(root: Root) -> dict[str, list[str]]:
    """What list prints: name -> the line's words."""
    lines = root.run("list").stdout.splitlines()
    return {line.split()[0]: line.split() for line in lines[1:]}


def test_run_without_a_terminal_returns_when_it_is_ready(root: Root, config: Config, machine: str) -> None:
    booted = root.run("run", machine)
    assert booted.returncode == 0
    assert booted.stdout.startswith(f"{machine} is up\n")
    assert rows(root)[machine][1] == "running"
    assert root.run("exec", machine, "--", "systemctl", "is-active", "multi-user.target").stdout == "active\n"

    again = root.run("run", "-d", machine)
    assert again.returncode == 0
    assert again.stdout.startswith(f"{machine} is running already\n")
    assert again.stderr == ""

    refused = root.call("remove", machine)
    assert (refused.status, refused.error["code"]) == (6, "busy")

    assert root.run("stop", machine).stdout == f"{machine} is shut down\n"
    assert rows(root)[machine][1] == "stopped"
    assert root.call("stop", machine).status == 11
    assert root.run("logs", machine).stdout != ""


def test_a_command_boots_the_machine_and_leaves_it(root: Root, config: Config, machine: str) -> None:
    done = root.run("run", machine, "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout) == (3, "out\n")
    assert done.stderr.endswith("err\n")
    assert state(config, machine) == "running"


def test_rm_after_a_command(root: Root, config: Config, machine: str) -> None:
    before = left.look(root.path)
    done = root.run("run", "--rm", machine, "--", "sh", "-c", "exit 5")
    assert done.returncode == 5
    gone = str(config.machines / machine)
    assert left.look(root.path) == replace(before, files=tuple(path for path in before.files if path != gone))
    assert gone in before.files


def test_rm_without_a_terminal_stays_until_the_machine_ends(root: Root, config: Config, machine: str) -> None:
    argv = [sys.executable, "-m", "machinespawn", "--root", str(root.path), "run", "--rm", machine]
    with subprocess.Popen(argv, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert any(b"login:" in line for line in iter(lambda: os.read(running.stdout.fileno(), 65536), b""))
        assert running.poll() is None
        assert root.run("stop", machine).returncode == 0
        running.communicate(timeout=60)
    assert running.returncode == 0
    assert not (config.machines / machine).exists()


def test_rm_and_detach_do_not_go_together(root: Root, config: Config, machine: str) -> None:
    assert root.call("run", "--rm", "-d", machine).status == 2
    assert state(config, machine) == "stopped"
    assert (config.machines / machine).exists()


def test_run_on_a_terminal_is_the_console(root: Root, config: Config, machine: str) -> None:
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "machinespawn", "--root", str(root.path), "run", machine]
    running = subprocess.Popen(argv, cwd=CHECKOUT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    printed = b""
    while b"login:" not in printed:
        printed += os.read(ours, 65536)
    assert state(config, machine) == "running"
    assert root.run("stop", machine).returncode == 0
    try:
        while os.read(ours, 65536):
            pass
    except OSError:  # nobody holds the other end any more
        pass
    assert running.wait(60) == 0
    os.close(ours)
    assert state(config, machine) == "stopped"


def test_exec_with_json_gives_streams_and_status(root: Root, booted: str) -> None:
    answer = root.call("exec", booted, "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert answer.status == 7
    assert answer.data == {"status": 7, "stdout": "out\n", "stderr": "err\n"}


def test_options_of_exec_stand_before_or_after_the_name(root: Root, booted: str) -> None:
    for argv in (
        ("exec", "-u", "nobody", "-w", "/usr", "-e", "A=b c", booted, "sh", "-c", 'id -un; pwd; echo "$A"'),
        ("exec", booted, "--user=nobody", "-w", "/usr", "-e", "A=b c", "--", "sh", "-c", 'id -un; pwd; echo "$A"'),
    ):
        assert root.run(*argv).stdout == "nobody\n/usr\nb c\n"


def test_ours_and_theirs_can_be_told_apart(root: Root, booted: str) -> None:
    assert root.run("exec", booted, "--", "/no/such").returncode == 127
    failed = root.run("exec", "-u", "nosuchuser", booted, "--", "true")
    assert (failed.returncode, failed.stdout) == (125, "")
    assert "nosuchuser" in failed.stderr


def test_shell_reads_commands_without_a_terminal(root: Root, booted: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "machinespawn", "--root", str(root.path), "shell", booted],
        cwd=CHECKOUT,
        input="hostname; exit 9\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (9, f"{booted}\n")


def test_show_and_list_say_the_same(root: Root, booted: str) -> None:
    (listed,) = [each for each in root.build("list") if each["name"] == booted]
    shown = root.build("show", booted)
    assert {**listed, "uptime": 0} == {**shown["status"], "uptime": 0}
    assert shown["health"] == "running"
    told = dict(line.split(maxsplit=1) for line in root.run("show", booted).stdout.splitlines())
    assert told["state"] == "running"
    assert told["leader"] == str(listed["leader"])


def test_logs_for_people_and_programs(root: Root, booted: str) -> None:
    assert len(root.run("logs", booted, "-n", "5").stdout.splitlines()) == 5
    journal = root.build("logs", booted, "-n", "3")
    assert journal["source"] == "journal"
    assert all("MESSAGE" in entry for entry in journal["entries"])
    console = root.build("logs", booted, "--console")
    assert console["source"] == "console"
    assert any("login:" in line for line in console["entries"])
    assert root.call("logs", booted, "-f").status == 2


def test_kill_ends_the_machine(root: Root, config: Config, machine: str) -> None:
    root.build("run", machine)
    assert root.call("kill", machine, "-s", "NONSENSE").status == 2
    assert state(config, machine) == "running"
    assert root.run("kill", machine).stdout == f"KILL is sent to {machine}\n"
    assert state(config, machine) == "stopped"


def test_remove_by_force(root: Root, config: Config, machine: str) -> None:
    root.build("run", machine)
    assert root.run("remove", "--force", machine).stdout == f"{machine} is gone\n"
    assert machine not in rows(root)
    missing = root.call("show", machine)
    assert (missing.status, missing.error["code"]) == (4, "notfound")


def test_nothing_is_printed_to_stdout_but_the_answer(root: Root) -> None:
    answer = root.run("show", "no-such-machine")
    assert (answer.returncode, answer.stdout) == (4, "")


def test_exec_and_list_load_nothing_heavy(root: Root, booted: str) -> None:
    for argv in (("exec", booted, "--", "true"), ("list",)):
        told = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "machinespawn", "--root", str(root.path), *argv],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
        )
        loaded = {
            line.rpartition("|")[2].strip() for line in told.stderr.splitlines() if line.startswith("import time")
        }
        assert "machinespawn.machines.lifecycle" in loaded
        assert loaded & {"sh", "jinja2", "requests", "rich", "pystemd", "yaml"} == set()
