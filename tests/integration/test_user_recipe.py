"""A recipe of one's own, with everything that a recipe can say, built on the real Debian."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.roots import Root

RECIPE = """
description: a kitchen
extends: debian-bookworm
variables: {port: 80, greeting: null}
packages: [nano]
locale: de_DE.UTF-8
timezone: Europe/Berlin
hostname: kitchen
users:
  - name: ada
    uid: 4242
    groups: [adm]
    sudo: true
    password_hash: $6$salt$IxDD3jeSOb5eB1CX5LBsqZFVkJdido3OUILO5Ifz5iwMuTS4XMS130MTSuDDl3aCI6WouIL9AjRbLCelDCy.g.
    ssh_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJYj0Ay0o2Zp1gXw0m7cXwq7m3o2v0b1cX0m1Zs9Qkqd ada@example.org]
root:
  ssh_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJYj0Ay0o2Zp1gXw0m7cXwq7m3o2v0b1cX0m1Zs9Qkqd root@example.org]
files:
  - {path: /etc/oven.conf, content: "port={{ port }} {{ greeting }}\\n", mode: 0640, group: adm}
  - {path: /home/ada/note, source: note.txt, owner: ada, group: ada, mode: "0600"}
  - {path: /srv/deep/er/page, content: x}
services:
  enable: [bake.service]
  mask: [apt-daily.timer]
  disable: [e2scrub_all.timer]
commands:
  - echo "[Unit]" > /etc/systemd/system/other.service
  - |
    id ada > /srv/who
    test "$(hostname)" != "" && cat /etc/oven.conf >> /srv/who
"""
UNIT = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "kitchen.yaml"
    unit = "  - {path: /etc/systemd/system/bake.service, source: bake.service}\n"
    file.write_text(RECIPE.replace("files:\n", "files:\n" + unit))
    (tmp_path / "bake.service").write_text(UNIT)
    (tmp_path / "note.txt").write_text("bread, not cake {{ port }}\n")
    return file


def test_all_of_it_is_in_the_tree(root: Root, recipe: Path) -> None:
    root.build(str(recipe), "kitchen", "-D", "greeting=moin", "-D", "port=8080")
    tree = root.tree("kitchen")

    def owned(path: str) -> tuple[int, int, int]:
        status = (tree / path).lstat()
        return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid

    adm = next(line for line in (tree / "etc/group").read_text().splitlines() if line.startswith("adm:"))
    assert adm.endswith(":ada")
    assert (tree / "etc/oven.conf").read_text() == "port=8080 moin\n"
    assert owned("etc/oven.conf") == (0o640, 0, int(adm.split(":")[2]))
    assert (tree / "home/ada/note").read_text() == "bread, not cake {{ port }}\n"
    assert owned("home/ada/note") == (0o600, 4242, 4242)
    assert (tree / "srv/deep/er/page").read_text() == "x"
    assert owned("home/ada/.ssh") == (0o700, 4242, 4242)
    assert owned("home/ada/.ssh/authorized_keys") == (0o600, 4242, 4242)
    assert "root@example.org" in (tree / "root/.ssh/authorized_keys").read_text()
    assert "NOPASSWD" in (tree / "etc/sudoers.d/ada").read_text()
    assert (tree / "usr/bin/sudo").exists()
    shadow = next(line for line in (tree / "etc/shadow").read_text().splitlines() if line.startswith("ada:"))
    assert shadow.split(":")[1].startswith("$6$salt$")
    assert os.readlink(tree / "etc/localtime").endswith("/zoneinfo/Europe/Berlin")
    assert "de_DE.UTF-8" in (tree / "etc/default/locale").read_text()
    assert (tree / "usr/lib/locale/locale-archive").stat().st_size > 0
    assert (tree / "etc/hostname").read_text() == "kitchen\n"
    assert (tree / "etc/systemd/system/multi-user.target.wants/bake.service").is_symlink()
    assert os.readlink(tree / "etc/systemd/system/apt-daily.timer") == "/dev/null"
    assert "uid=4242(ada)" in (tree / "srv/who").read_text()
    assert "port=8080 moin" in (tree / "srv/who").read_text()
    assert (tree / "etc/systemd/system/other.service").exists()


def test_a_password_hash_is_in_no_manifest(root: Root, recipe: Path) -> None:
    made = root.build(str(recipe), "secret", "-D", "greeting=moin", "-D", "port=8080")
    for key in made["layers"]:
        assert "$6$salt$" not in (root.layers / key / "manifest.json").read_text()


def test_a_source_that_changes_changes_the_key(root: Root, recipe: Path) -> None:
    def customize() -> str:
        return str(root.build("plan", str(recipe), "-D", "greeting=moin")[-1]["key"])

    before = customize()
    assert customize() == before
    (recipe.parent / "note.txt").write_text("cake after all\n")
    assert customize() != before


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("packagse: [nano]", "packages"),
        ("packages: {a: b}", "packages"),
        ("extends: debian-bookwrm", "debian-bookworm"),
        ("hostname: '{{ nothing }}'", "nothing"),
    ],
)
def test_mistakes_are_told_with_file_line_and_key(root: Root, tmp_path: Path, line: str, word: str) -> None:
    file = tmp_path / "wrong.yaml"
    parent = "" if line.startswith("extends") else "extends: debian-bookworm\n"
    file.write_text(f"description: wrong\n{parent}{line}\n")
    answer = root.call(str(file), "never")
    number = 2 if line.startswith("extends") else 3
    assert answer.status == 3, answer.printed
    assert f"{file}:{number}" in answer.error["message"]
    assert word in answer.error["message"] + answer.error["hint"]
    assert not root.tree("never").exists()
