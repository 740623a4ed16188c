"""Commands that ask for no machine: help, recipes, config, plan's and bootstrap's options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from machinespawn import __version__
from machinespawn.cli.main import COMMANDS
from tests.command_line import machinespawn


def data(*argv: str, root: Path | None = None, env: dict[str, str] | None = None) -> Any:
    told = machinespawn(*argv, "--json", root=root, env=env)
    assert told.returncode == 0, told.stdout + told.stderr
    answer = json.loads(told.stdout)
    assert (answer["success"], answer["error"]) == (True, None)
    return answer["data"]


def test_help_names_every_command() -> None:
    told = machinespawn("--help").stdout
    assert all(f"\n  {name} " in told for name in COMMANDS)
    assert "--root" not in told


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_the_envelope(name: str) -> None:
    told = machinespawn(name, "--help")
    assert told.returncode == 0
    assert "--json" in told.stdout


def test_a_recipe_is_a_command() -> None:
    assert machinespawn("debian-12", "--help").stdout == machinespawn("bootstrap", "--help").stdout


def test_version() -> None:
    assert machinespawn("--version").stdout == f"machinespawn {__version__}\n"
    assert data("version")["machinespawn"] == __version__


def test_recipes_are_listed_for_people_and_programs() -> None:
    names = [entry["name"] for entry in data("recipes")]
    assert "debian-bookworm" in names
    table = machinespawn("recipes", "list").stdout.splitlines()
    assert table[0].split() == ["RECIPE", "WHAT", "ALIASES", "REMARKS"]
    assert [line.split()[0] for line in table[1:]] == names


def test_a_recipe_is_shown_resolved(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "extends: debian-bookworm\nvariables: {port: '80'}\n"
        "files:\n- {path: /etc/port, content: 'port {{ port }}', mode: '0640'}\n"
    )
    shown = data("recipes", "show", str(recipe), "-D", "port=8080")
    assert shown["name"] == "mine"
    assert [file["content"] for file in shown["files"] if file["path"] == "/etc/port"] == ["port 8080"]
    told = machinespawn("recipes", "show", str(recipe)).stdout
    assert "content: port 80\n" in told
    assert "mode: '0640'\n" in told


def test_check_tells_every_mistake(tmp_path: Path) -> None:
    wrong = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    for path in wrong:
        path.write_text("extends: debian-bookworm\npakages: [vim]\n")
    told = machinespawn("recipes", "check", *map(str, wrong), "debian-bookworm")
    assert told.returncode == 3
    assert all(f"{path}:2" in told.stderr for path in wrong)
    assert told.stderr.count("did you mean packages?") == 2
    assert data("recipes", "check", "debian-bookworm") == {"checked": ["debian-bookworm"]}


def test_config_says_where_each_value_came_from(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("proxy: none\ndriver: debootstrap\nrefresh: 2h\n")
    environment = {"MACHINESPAWN_DRIVER": "mmdebstrap"}
    told = machinespawn("--config", str(file), "config", "show", "--json", root=tmp_path, env=environment)
    found = {setting["name"]: (setting["value"], setting["origin"]) for setting in json.loads(told.stdout)["data"]}
    assert found["driver"] == ("mmdebstrap", "environment MACHINESPAWN_DRIVER")
    assert found["proxy"] == ("none", f"{file}:1")
    assert found["refresh"] == (7200, f"{file}:3")
    assert found["offline"] == (False, "default")
    assert found["root"][0] == str(tmp_path)
    assert "debootstrap" not in machinespawn("config", root=tmp_path, env=environment).stdout


def test_a_missing_configuration_file_is_an_error() -> None:
    assert machinespawn("--config", "/no/such.yaml", "config").returncode == 2


def test_doctor_tells_programs_and_people_the_same() -> None:
    told = machinespawn("doctor", "--json")
    answer = json.loads(told.stdout)
    missing = [check["name"] for check in answer["data"]["checks"] if check["needed"] and not check["ok"]]
    assert answer["success"] is (not missing)
    assert told.returncode == (7 if missing else 0)
    table = machinespawn("doctor").stdout
    assert all(check["name"] in table for check in answer["data"]["checks"])


def test_no_machine_is_no_mistake(tmp_path: Path) -> None:
    assert data("list", root=tmp_path) == []
    assert machinespawn("list", root=tmp_path).stdout.split() == ["MACHINE", "STATE", "UP", "RECIPE", "SYSTEM", "PID"]


def test_an_empty_cache_frees_nothing(tmp_path: Path) -> None:
    freed = data("clean-cache", "--dry-run", root=tmp_path)
    assert (freed["layers"], freed["downloads"], freed["bytes"]) == ([], 0, 0)
    assert machinespawn("clean-cache", root=tmp_path).stdout == "freed 0 layers and 0 downloads, 0 B\n"
