"""What the command line answers when something is wrong: text, envelope, exit status."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from machinespawn import errors
from tests.command_line import NOBODY, machinespawn


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (["bootstrap"], 2, "Missing argument 'RECIPE'."),
        (["list", "--jsom"], 2, "No such option"),
        (["--nope", "list"], 2, "No such option"),
        (["bootstrap", "debian-bookworm", "bread", "--locked"], 2, "--locked without a lock file"),
        (["bootstrap", "debian-bookworm", "bread", "-D", "nonsense"], 2, "-D nonsense: no value"),
        (["debian-bokworm", "bread"], 4, "'debian-bokworm' is neither a command nor a recipe"),
        (["lsit"], 4, "'lsit' is neither a command nor a recipe"),
        (["./no/such.yaml", "bread"], 4, "there is no recipe file ./no/such.yaml"),
        (["recipes", "show", "nonsense"], 4, "there is no recipe 'nonsense'"),
    ],
)
def test_text_and_envelope_say_the_same(tmp_path: Path, argv: list[str], status: int, message: str) -> None:
    told = machinespawn(*argv, root=tmp_path)
    assert told.returncode == status
    assert told.stdout == ""
    assert told.stderr.startswith("error: ")
    assert message in told.stderr
    assert "Traceback" not in told.stderr

    answered = machinespawn(*argv, "--json", root=tmp_path)
    assert answered.returncode == status
    envelope = json.loads(answered.stdout)
    assert envelope.keys() == {"success", "data", "error"}
    assert envelope["success"] is False
    assert envelope["data"] is None
    assert message in envelope["error"]["message"]
    assert envelope["error"]["exit_code"] == status


def test_did_you_mean_comes_from_commands_and_recipes(tmp_path: Path) -> None:
    assert "did you mean debian-bookworm?" in machinespawn("debian-bokworm", "bread", root=tmp_path).stderr
    assert "did you mean bootstrap?" in machinespawn("bootstarp", "bread", root=tmp_path).stderr
    assert "--help" in machinespawn("qqqqqqqq", "bread", root=tmp_path).stderr


def test_nobody_is_told_the_command_to_use(tmp_path: Path) -> None:
    argv = ("bootstrap", "debian-bookworm", "bread", "-D", "motd=two words")
    told = machinespawn(*argv, root=tmp_path, user=NOBODY)
    assert told.returncode == errors.NotRootError.exit_code
    assert f"sudo machinespawn --root {tmp_path} bootstrap debian-bookworm bread -D 'motd=two words'" in told.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argv", [["--help"], ["recipes"], ["config"], ["version"], ["stop", "--help"]])
def test_nobody_may_ask(tmp_path: Path, argv: list[str]) -> None:
    told = machinespawn(*argv, root=tmp_path, user=NOBODY)
    assert (told.returncode, told.stderr) == (0, "")


def test_exec_fails_with_a_status_of_its_own(tmp_path: Path) -> None:
    for argv in (["exec", "bread", "--", "true"], ["exec"], ["run", "bread", "--", "true"], ["shell", "bread"]):
        assert machinespawn(*argv, root=tmp_path).returncode == errors.EXEC_FAILED, argv
    answered = machinespawn("exec", "bread", "--json", "--", "true", root=tmp_path)
    assert json.loads(answered.stdout)["error"]["exit_code"] == errors.EXEC_FAILED


def test_a_json_further_on_is_the_commands_own(tmp_path: Path) -> None:
    for argv in (["exec", "bread", "--", "ls", "--json"], ["exec", "bread", "ls", "--json"]):
        told = machinespawn(*argv, root=tmp_path)
        assert told.stdout == "", argv
        assert told.stderr.startswith("error: "), argv


def test_a_closed_pipe_is_no_mistake() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    told = machinespawn("recipes", stdout=writer)
    os.close(writer)
    assert (told.returncode, told.stderr) == (1, "")


def test_every_error_has_an_exit_status_of_its_own() -> None:
    statuses = [cls.exit_code for cls in errors.classes().values()]
    assert len(set(statuses)) == len(statuses)
    assert not {0, errors.EXEC_FAILED, 126, 127, 130} & set(statuses)


def test_a_wrong_configuration_names_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "etc/machinespawn.yaml"
    file.parent.mkdir()
    file.write_text("proxy: none\ndirver: debootstrap\n")
    told = machinespawn("config", "show", root=tmp_path)
    assert told.returncode == 2
    assert f"{file}:2" in told.stderr
    assert "did you mean driver?" in told.stderr
