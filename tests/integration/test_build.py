"""Builds from the real mirror: layers, keys, machines of their own, and what is left in them."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import CHECKOUT
from tests.lab.http import forward, serving
from tests.roots import Root, temporary_root

RECIPE = "debian-bookworm"


def stages(root: Root, *options: str) -> dict[str, dict[str, object]]:
    return {stage["name"]: stage for stage in root.build("plan", RECIPE, *options)}


def test_the_second_build_takes_every_layer(root: Root) -> None:
    first = root.build(RECIPE, "warm-a")
    second = root.build("bookworm", "warm-b")
    assert second["hits"] == len(second["layers"]) == len(first["layers"])
    assert second["layers"] == first["layers"]
    assert all(stage["hit"] for stage in stages(root).values())


def test_one_package_more_stands_on_the_same_bootstrap(root: Root) -> None:
    plain = root.build(RECIPE, "plain", "--replace")
    more = root.build(RECIPE, "more", "--package", "nano")
    assert more["layers"][0] == plain["layers"][0]
    assert more["hits"] == 1
    assert (root.tree("more") / "usr/bin/nano").exists() or (root.tree("more") / "bin/nano").exists()
    assert not (root.tree("plain") / "bin/nano").exists()
    missed = stages(root, "--package", "nano,less")["packages"]
    assert not missed["hit"]
    assert "packages" in str(missed["why"])


def test_every_machine_is_one_of_its_own(root: Root) -> None:
    for name in ("own-a", "own-b"):
        root.build(RECIPE, name, "--package", "openssh-server")
    a, b = root.tree("own-a"), root.tree("own-b")
    for file in ("etc/machine-id", "etc/ssh/ssh_host_ed25519_key", "etc/ssh/ssh_host_ed25519_key.pub"):
        assert (a / file).read_bytes() != (b / file).read_bytes()
    assert len((a / "etc/machine-id").read_text().strip()) == 32
    assert (a / "etc/hostname").read_text() == "own-a\n"
    assert stat.S_IMODE((a / "etc/ssh/ssh_host_ed25519_key").stat().st_mode) == 0o600
    for layer in root.layers.iterdir():
        assert not list(layer.glob("tree/etc/ssh/ssh_host_*"))


def test_a_machine_holds_no_trace_of_its_making(root: Root) -> None:
    root.build(RECIPE, "traces", "--package", "nano")
    tree = root.tree("traces")
    for directory in ("tmp", "run", "dev", "var/cache/apt", "var/lib/apt/lists"):
        assert list((tree / directory).iterdir()) == [], directory
    for file in ("usr/sbin/policy-rc.d", "etc/resolv.conf", "etc/apt/apt.conf.d/99mmdebstrap", "var/log/dpkg.log"):
        assert not (tree / file).is_file(), file
    assert "signed-by" not in (tree / "etc/apt/sources.list").read_text()
    assert tree.stat().st_mode & 0o7777 == 0o755
    audit = subprocess.run(["dpkg", f"--root={tree}", "--audit"], capture_output=True, text=True, check=True)
    assert audit.stdout == ""


def test_a_proxy_is_used_and_never_kept(fresh_root: Root) -> None:
    with serving(forward) as server:
        fresh_root.build(RECIPE, "bread", "--proxy", server.url)
        assert any(path.endswith(".deb") for path in server.requests)
        address = server.url.removeprefix("http://").rstrip("/")
    argv = ["grep", "-rlF", address, str(fresh_root.tree("bread")), str(fresh_root.layers)]
    assert subprocess.run(argv, capture_output=True, text=True, check=False).stdout == ""


def test_two_builds_of_one_name(root: Root) -> None:
    root.build(RECIPE, "first", "--replace")  # the layers are there: both get as far as the name at once
    argv = [sys.executable, "-m", "machinespawn", "--root", str(root.path), RECIPE, "twin", "--json"]
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=CHECKOUT) for _ in range(2)]
    answers = [(json.loads(process.communicate()[0]), process.returncode) for process in both]
    assert sorted(status for _answer, status in answers)[0] == 0
    loser, status = max(answers, key=lambda answer: answer[1])
    assert status in (5, 6)
    assert "twin" in loser["error"]["message"]
    assert root.tree("twin").is_dir()
    assert not root.staged()


@pytest.fixture(scope="module")
def twins() -> Iterator[tuple[Root, list[dict[str, Any]]]]:
    """A cold root in which two builds of one recipe ran at once, and their answers."""
    with temporary_root() as cold:
        argv = [sys.executable, "-m", "machinespawn", "--root", str(cold.path), RECIPE]
        both = [
            subprocess.Popen([*argv, name, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=CHECKOUT)
            for name in ("one", "two")
        ]
        yield cold, [json.loads(process.communicate()[0]) for process in both]


def test_two_builds_of_one_recipe_share_the_work(twins: tuple[Root, list[dict[str, Any]]]) -> None:
    _cold, answers = twins
    assert all(answer["success"] for answer in answers), answers
    hits = sorted(answer["data"]["hits"] for answer in answers)
    assert hits == [0, len(answers[0]["data"]["layers"])]


def test_a_name_that_is_taken(root: Root) -> None:
    root.build(RECIPE, "taken")
    before = (root.tree("taken") / "etc/machine-id").read_text()
    answer = root.call(RECIPE, "taken")
    assert (answer.status, answer.error["code"]) == (5, "exists")
    assert "--replace" in answer.error["hint"]
    assert (root.tree("taken") / "etc/machine-id").read_text() == before
    root.build(RECIPE, "taken", "--replace")
    assert (root.tree("taken") / "etc/machine-id").read_text() != before


@pytest.mark.parametrize("name", ["a b", "-x", "../x", "", "a..b", "x" * 65, ".#x", "a/b", "é"])
def test_names_that_machined_would_refuse(root: Root, name: str) -> None:
    answer = root.call("bootstrap", RECIPE, "--", name)
    assert answer.status == 2, answer.printed


def test_a_failed_replacement_keeps_the_old_machine(root: Root, tmp_path: Path) -> None:
    root.build(RECIPE, "kept")
    before = (root.tree("kept") / "etc/machine-id").read_text()
    broken = tmp_path / "broken.yaml"
    broken.write_text(f"extends: {RECIPE}\ndescription: fails\ncommands: ['echo the oven is cold >&2; exit 3']\n")
    answer = root.call(str(broken), "kept", "--replace")
    assert (answer.status, answer.error["code"]) == (10, "build")
    assert "the oven is cold" in answer.error["message"]
    assert "exit status 3" in answer.error["message"]
    assert (root.tree("kept") / "etc/machine-id").read_text() == before
    assert not root.staged()


def test_keep_keeps_the_staging_tree_of_a_failed_build(root: Root, tmp_path: Path) -> None:
    broken = tmp_path / "kept.yaml"
    broken.write_text(
        f"extends: {RECIPE}\ndescription: fails\nfiles: [{{path: /crumbs, content: here}}]\ncommands: ['false']\n"
    )
    answer = root.call(str(broken), "crumbs", "--keep")
    assert answer.status == 10
    kept = next(Path(word.rstrip(".,;")) for word in answer.error["hint"].split() if word.endswith("/tree"))
    assert (kept / "crumbs").read_text() == "here"
    assert not root.tree("crumbs").exists()


def test_a_disk_that_is_full(fresh_root: Root) -> None:
    state = fresh_root.path / "var/lib/machinespawn"
    state.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m,mode=755", "tmpfs", str(state)], check=True)
    try:
        answer = fresh_root.call(RECIPE, "bread")
        assert (answer.status, answer.error["code"]) == (10, "build"), answer.printed
        assert not fresh_root.tree("bread").exists()
        assert not fresh_root.staged()
    finally:
        subprocess.run(["umount", str(state)], check=True)


def test_a_lock_file_pins_a_build(root: Root, tmp_path: Path) -> None:
    lock = tmp_path / "bread.lock"
    root.build(RECIPE, "locked-a", "--lock", str(lock))
    pinned = json.loads(lock.read_text())
    assert pinned["packages"]["systemd"]
    again = root.build(RECIPE, "locked-b", "--lock", str(lock), "--locked", "--offline")
    assert list(again["layers"]) == pinned["layers"]
    differs = root.call(RECIPE, "locked-c", "--lock", str(lock), "--locked", "--package", "nano")
    assert (differs.status, differs.error["code"]) == (10, "build")
    assert not root.tree("locked-c").exists()


def test_clean_cache_frees_what_no_machine_needs(twins: tuple[Root, list[dict[str, Any]]]) -> None:
    cold, answers = twins
    needed = answers[0]["data"]["layers"]
    cold.build(RECIPE, "gone", "--package", "nano")
    cold.build("remove", "gone")
    would = cold.build("clean-cache", "--dry-run")
    assert len(would["layers"]) == 2
    assert would["bytes"] > 10_000_000
    freed = cold.build("clean-cache")
    assert freed["bytes"] == would["bytes"]
    assert sorted(path.name for path in cold.layers.iterdir()) == sorted(needed)
    assert not list(cold.cache.glob("archives/*.deb"))
    assert (cold.tree("one") / "etc/os-release").exists()
    again = cold.build(RECIPE, "again")
    assert again["hits"] == len(needed)


def test_no_cache_builds_anew(twins: tuple[Root, list[dict[str, Any]]]) -> None:
    cold, answers = twins

    def created() -> list[str]:
        keys = answers[0]["data"]["layers"]
        return [json.loads((cold.layers / key / "manifest.json").read_text())["created"] for key in keys]

    before = created()
    anew = cold.build(RECIPE, "one", "--replace", "--no-cache")
    assert anew["hits"] == 0
    assert all(old != new for old, new in zip(before, created(), strict=True))
    assert not cold.staged()
