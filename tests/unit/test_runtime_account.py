"""Users, groups and locale of a machine, read from files that the machine may have written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from machinespawn.errors import NotFoundError
from machinespawn.machines import account
from machinespawn.runtimes.enter import Account

PASSWD = """\
root:x:0:0:root:/root:/bin/bash
baker:x:1000:1000:,,,:/home/baker:/bin/zsh
broken:line
odd:x:minus:1::/:
"""
GROUP = "root:x:0:\nadm:x:4:baker,root\nbaker:x:1000:\nwheel:x:10:bakers\nbread:x:77:oven,baker\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return tmp_path


def test_by_name_or_number(tree: Path) -> None:
    baker = Account("baker", 1000, 1000, (1000, 4, 77), "/home/baker", "/bin/zsh")
    assert account.find(tree, "baker") == baker
    assert account.find(tree, "1000") == baker
    assert account.find(tree, "root").uid == 0
    assert account.find(tree, "4711") == Account("4711", 4711, 4711, (4711,), "/")
    for absent in ("nobody", "odd", "broken", ""):
        with pytest.raises(NotFoundError):
            account.find(tree, absent)


def test_root_is_there_without_a_file(tmp_path: Path) -> None:
    assert account.find(tmp_path, "root") == Account()


def test_the_hosts_users_are_not_the_machines(tree: Path) -> None:
    (tree / "etc/passwd").unlink()
    (tree / "etc/passwd").symlink_to("/etc/passwd")
    with pytest.raises(NotFoundError):
        account.find(tree, "daemon")


def test_a_pipe_in_the_place_of_a_file_holds_nobody_up(tree: Path) -> None:
    (tree / "etc/passwd").unlink()
    os.mkfifo(tree / "etc/passwd")
    assert account.find(tree, "root") == Account()


def test_the_environment(tree: Path) -> None:
    baker = account.find(tree, "baker")
    (tree / "etc/locale.conf").write_text('LC_TIME=C\nLANG="de_DE.UTF-8"\n')
    given = account.environment(tree, baker, {"A": "1", "HOME": "/elsewhere"})
    given.pop("TERM", None)
    assert given == {
        "PATH": account.PATH,
        "HOME": "/elsewhere",
        "USER": "baker",
        "LOGNAME": "baker",
        "SHELL": "/bin/zsh",
        "LANG": "de_DE.UTF-8",
        "A": "1",
    }
    (tree / "etc/locale.conf").write_text("LANG=$(reboot)\n")
    assert account.environment(tree, baker, {})["LANG"] == "C.UTF-8"


def test_home(tree: Path) -> None:
    baker = account.find(tree, "baker")
    assert account.home(tree, baker) == "/"
    (tree / "home/baker").mkdir(parents=True)
    assert account.home(tree, baker) == "/home/baker"
