"""Recipes of one's own that start from an archive: its URL, or a product of a simplestreams server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import machinespawn
from tests.lab import tars
from tests.lab.fileserver import Files, files
from tests.lab.packed import packed, small
from tests.roots import Root

SOURCES = "/etc/apt/sources.list"


@dataclass(frozen=True)
class Kitchen:
    """A server of archives and a directory of recipes."""

    root: Root
    server: Files
    directory: Path

    @property
    def env(self) -> dict[str, str]:
        return {"MACHINESPAWN_RECIPE_PATH": str(self.directory)}

    def recipe(self, name: str, text: str) -> str:
        (self.directory / f"{name}.yaml").write_text(text.replace("SERVER", self.server.url))
        return name

    def build(self, *argv: str) -> Any:
        return self.root.build(*argv, env=self.env)

    def hits(self, *argv: str) -> dict[str, bool]:
        return {stage["name"]: stage["hit"] for stage in self.build("plan", *argv)}


@pytest.fixture
def kitchen(root: Root, tmp_path: Path) -> Iterator[Kitchen]:
    with files() as server:
        yield Kitchen(root, server, tmp_path)
    root.run("remove", "dough")


SMALL = """
description: a few files
distribution: lab
version: 1
unproven: nobody has seen it boot
tarball:
  url: SERVER/base/root.tar
  checksum: SERVER/base/CHECKSUMS
files:
  - {path: /etc/motd, content: "bread {{ version }}\\n", mode: 0640}
commands: ['cat /etc/motd > /copy']
"""


def test_a_url_and_its_checksum(kitchen: Kitchen, machine_tree: Path) -> None:
    archive = small(machine_tree)
    kitchen.server.content["/base/root.tar"] = archive
    kitchen.server.content["/base/CHECKSUMS"] = f"SHA256 (root.tar) = {tars.sha256(archive)}\n".encode()
    recipe = kitchen.recipe("crumbs", SMALL)
    assert kitchen.hits(recipe)["customize"] is False

    made = kitchen.build(recipe, "dough")
    tree = kitchen.root.tree("dough")
    assert (tree / "copy").read_text() == "bread 1\n"
    assert (tree / "etc/motd").stat().st_mode & 0o7777 == 0o640
    assert kitchen.hits(recipe) == {"bootstrap": True, "customize": True}
    assert kitchen.build(recipe, "dough", "--replace")["hits"] == len(made["layers"]) == 2

    listed = kitchen.root.build("recipes", "list", env=kitchen.env)
    assert {entry["name"]: entry["unproven"] for entry in listed}["crumbs"] == "nobody has seen it boot"
    (line,) = [line for line in listed_for_people(kitchen) if line.startswith("crumbs ")]
    assert "unproven" in line

    kitchen.server.content["/base/CHECKSUMS"] = f"SHA256 (root.tar) = {'0' * 64}\n".encode()
    assert kitchen.hits(recipe)["bootstrap"] is True  # what was asked a moment ago holds for a day
    answer = kitchen.root.call(recipe, "dough", "--replace", "--refresh", env=kitchen.env)
    assert (answer.status, answer.error["code"]) == (8, "trust"), answer.printed
    assert (tree / "copy").exists()


def listed_for_people(kitchen: Kitchen) -> list[str]:
    return machinespawn("recipes", "list", root=kitchen.root.path, env=kitchen.env).stdout.splitlines()


def test_files_of_this_host(kitchen: Kitchen, machine_tree: Path) -> None:
    archive = kitchen.directory / "my root.tar"
    archive.write_bytes(small(machine_tree))
    sums = kitchen.directory / "SHA256SUMS"
    recipe = kitchen.recipe("local", f"{LOCAL}tarball: {{url: 'file://{kitchen.directory}/my%20root.tar'}}\n")
    answer = kitchen.root.call(recipe, "dough", env=kitchen.env)
    assert (answer.status, answer.error["code"]) == (8, "trust"), answer.printed
    sums.write_text(f"{tars.sha256(archive.read_bytes())}  my root.tar\n")
    kitchen.build(recipe, "dough", "--offline")
    assert (kitchen.root.tree("dough") / "usr/bin/sh").exists()
    sums.write_text(f"{'0' * 64}  my root.tar\n")
    answer = kitchen.root.call(recipe, "dough", "--replace", env=kitchen.env)
    assert (answer.status, answer.error["code"]) == (8, "trust"), answer.printed
    archive.unlink()
    answer = kitchen.root.call(recipe, "dough", "--replace", env=kitchen.env)
    assert answer.status in (4, 8), answer.printed
    assert not list(kitchen.root.cache.glob("downloads/partial/*"))


LOCAL = "description: from here\ndistribution: lab\nversion: 1\n"
PRODUCT = "debian:bookworm:amd64:default"
STREAMED = f"""
description: Debian as somebody packed it
distribution: debian
version: 12
tarball: {{streams: SERVER/images, product: "{PRODUCT}"}}
packages: [nano]
files:
  - {{path: {SOURCES}, content: CONTENT}}
  - {{path: /home/ada/note, content: "knead\\n", owner: ada, mode: "0600"}}
users:
  - {{name: ada, uid: 4242}}
"""


def streamed(sources: str) -> str:
    return STREAMED.replace("CONTENT", json.dumps(sources))


def stream(kitchen: Kitchen, **versions: bytes) -> None:
    listed = {}
    for version, data in versions.items():
        path = f"dough/{version}/root.tar.zst"
        kitchen.server.content[f"/images/{path}"] = data
        item = {"path": path, "sha256": tars.sha256(data), "size": len(data)}
        listed[version] = {"items": {"root.tar.xz": item}}
    index = {"products": {PRODUCT: {"versions": listed}}}
    kitchen.server.content["/images/streams/v1/images.json"] = json.dumps(index).encode()


def test_a_product_with_packages_of_its_own_distribution(kitchen: Kitchen, machine: str, machine_tree: Path) -> None:
    tree = kitchen.root.tree(machine)
    sources = tree / SOURCES.lstrip("/")
    wanted = sources.read_text()
    sources.write_text("deb http://127.0.0.1:9/nowhere bookworm main\n")  # what the recipe's file must repair first
    stream(kitchen, **{"20260801_05:24": b"old", "20260802_05:24": packed(tree, "zst")})
    recipe = kitchen.recipe("streamed", streamed(wanted))

    made = kitchen.build(recipe, "dough")
    assert made["hits"] == 0
    dough = kitchen.root.tree("dough")
    assert (dough / "usr/bin/nano").exists()
    assert (dough / "home/ada/note").read_text() == "knead\n"
    assert (dough / "home/ada/note").stat().st_uid == 4242
    assert (dough / SOURCES.lstrip("/")).read_text() == wanted
    for leftover in ("usr/sbin/policy-rc.d", "etc/resolv.conf"):
        assert not (dough / leftover).is_file(), leftover
    assert list((dough / "var/lib/apt/lists").iterdir()) == []
    assert (dough / "etc/machine-id").read_text() != (machine_tree / "etc/machine-id").read_text()

    assert kitchen.hits(recipe) == {"bootstrap": True, "packages": True, "customize": True}
    kitchen.recipe("streamed", streamed(wanted) + "timezone: Etc/UTC\n")
    assert kitchen.hits(recipe) == {"bootstrap": True, "packages": True, "customize": False}
    kitchen.recipe("streamed", streamed(f"# mine\n{wanted}"))
    assert kitchen.hits(recipe) == {"bootstrap": True, "packages": False, "customize": False}


def test_what_an_archive_cannot_have(kitchen: Kitchen, machine_tree: Path) -> None:
    archive = small(machine_tree)
    kitchen.server.content["/base/root.tar"] = archive
    kitchen.server.content["/base/CHECKSUMS"] = f"{tars.sha256(archive)}  root.tar\n".encode()
    recipe = kitchen.recipe("crumbs", SMALL)

    def refusal(*options: str) -> tuple[int, str]:
        answer = kitchen.root.call(recipe, "dough", *options, env=kitchen.env)
        assert not kitchen.root.tree("dough").exists()
        return answer.status, f"{answer.error['message']} {answer.error['hint']}"

    status, told = refusal("--package", "nano")
    assert status == 2
    assert "no package manager" in told
    status, told = refusal("--package=--root=/")
    assert status == 2
    assert "'--root=/' is not the name" in told
    for option in ("--mirror=http://127.0.0.1:9/", "--snapshot=20260801", "--variant=standard"):
        status, told = refusal(option)
        assert status == 2
        assert option.partition("=")[0] in told
    assert not kitchen.root.staged()
