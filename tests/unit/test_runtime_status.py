"""What is read of trees that anybody may have written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from machinespawn.config import Config
from machinespawn.errors import NotFoundError, NotRunningError, UsageError
from machinespawn.machines import lifecycle, spec
from machinespawn.machines.spec import MachineSpec


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(root=tmp_path)


@pytest.fixture
def tree(config: Config) -> Path:
    made = config.machines / "bread"
    (made / "etc").mkdir(parents=True)
    return made


def test_what_a_tree_says_of_itself(config: Config, tree: Path) -> None:
    (tree / "etc/os-release").write_text("# a comment\nNAME=Bread\nPRETTY_NAME=\"Rye 'n' Wheat\"\nVERSION_ID='3'\n")
    (status,) = lifecycle.list_machines(config)
    assert (status.name, status.os, status.release, status.state) == ("bread", "Rye 'n' Wheat", "3", "stopped")
    assert (status.leader, status.uptime, status.recipe, status.enabled) == (None, None, "", False)
    assert lifecycle.show(config, "bread").status == status


@pytest.mark.parametrize("content", ["", "PRETTY_NAME", 'PRETTY_NAME="\x1b]0;gone\x07\x1b[2JBread"\n', "\xff" * 9])
def test_nothing_it_says_acts_on_a_terminal(config: Config, tree: Path, content: str) -> None:
    (tree / "etc/os-release").write_text(content)
    (status,) = lifecycle.list_machines(config)
    assert status.os in ("", "Bread")


def test_a_tree_says_nothing_of_the_host(config: Config, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("PRETTY_NAME=secret\n")
    (tree / "etc/os-release").symlink_to(tmp_path / "secret")
    assert lifecycle.list_machines(config)[0].os == ""
    (tree / "etc/os-release").unlink()
    (tree / "etc/os-release").symlink_to("../" * 20 + str(tmp_path / "secret"))
    assert lifecycle.list_machines(config)[0].os == ""
    (tree / "etc/os-release").unlink()
    os.mkfifo(tree / "etc/os-release")
    assert lifecycle.list_machines(config)[0].os == ""


def test_what_is_no_machine(config: Config, tree: Path) -> None:
    (config.machines / ".#bread.0123").mkdir()
    (config.machines / ".hidden").mkdir()
    (config.machines / "a-file").touch()
    (config.machines / "a-link").symlink_to(tree)
    assert [status.name for status in lifecycle.list_machines(config)] == ["bread"]


def test_a_spec_counts_for_its_own_tree(config: Config, tree: Path) -> None:
    inode = tree.stat().st_ino
    made = MachineSpec("bread", "rye", "debian", "12", "amd64", (), "2026-01-01T00:00:00Z", inode)
    spec.write(config, made)
    assert lifecycle.list_machines(config)[0].recipe == "rye"
    tree.rename(config.machines / "other")
    tree.mkdir()
    assert {status.name: status.recipe for status in lifecycle.list_machines(config)} == {"bread": "", "other": ""}
    (spec.directory(config, "bread") / spec.SPEC_FILE).write_text("{ damaged")
    assert lifecycle.list_machines(config)[0].recipe == ""


def test_enabled(config: Config, tree: Path) -> None:
    wants = config.root / "etc/systemd/system/machines.target.wants"
    wants.mkdir(parents=True)
    (wants / "systemd-nspawn@bread.service").symlink_to("/lib/systemd/system/systemd-nspawn@.service")
    assert lifecycle.list_machines(config)[0].enabled


def test_names(config: Config, tree: Path) -> None:
    for verb in (lifecycle.start, lifecycle.show, lifecycle.remove, lifecycle.stop, lifecycle.kill, lifecycle.attach):
        with pytest.raises(NotFoundError) as absent:
            verb(config, "braed")
        assert absent.value.hint == "did you mean bread?"
        with pytest.raises(UsageError):
            verb(config, "../bread")
    for verb in (lifecycle.stop, lifecycle.kill):
        with pytest.raises(NotRunningError):
            verb(config, "bread")
