"""Layers and trees: sealed, held, committed; and what every moment of a kill leaves behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from machinespawn.config import Config
from machinespawn.errors import BusyError, ExistsError, ProgramError
from machinespawn.files import locked, remove_tree, write_atomic
from machinespawn.machines import spec
from machinespawn.machines.spec import MachineSpec
from machinespawn.recipe.model import MachineSettings
from machinespawn.store import layers, trees
from machinespawn.store.sweep import sweep


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(root=tmp_path)


def wanted(name: str, tree: Path, recipe: str = "new") -> MachineSpec:
    settings = MachineSettings(parameters=("quiet",), environment=(("A", "b"),))
    inode = tree.stat().st_ino
    return MachineSpec(name, recipe, "debian", "12", "amd64", ("key",), "2026-01-01T00:00:00Z", inode, settings)


@contextlib.contextmanager
def staged(config: Config, name: str, content: str) -> Iterator[Path]:
    with layers.staging(config.machines, name, config) as tree:
        (tree / "content").write_text(content)
        yield tree


def content(config: Config, name: str) -> str:
    return (trees.path(config, name) / "content").read_text()


def test_a_spec_comes_back_as_it_was_written(config: Config, tmp_path: Path) -> None:
    written = wanted("bread", tmp_path)
    spec.write(config, written)
    assert spec.read(config, "bread") == written
    assert (spec.directory(config, "bread") / spec.SPEC_FILE).stat().st_mode & 0o777 == 0o600


def test_a_machine_is_there_by_one_rename(config: Config) -> None:
    with staged(config, "bread", "old") as tree:
        trees.commit(config, tree, wanted("bread", tree))
    assert trees.names(config) == ("bread",)
    assert content(config, "bread") == "old"
    with staged(config, "bread", "new") as tree:
        trees.commit(config, tree, wanted("bread", tree, "newer"))
    assert content(config, "bread") == "new"
    known = spec.read(config, "bread")
    assert known and known.recipe == "newer"
    assert os.listdir(config.machines) == ["bread"]


def test_a_kill_before_the_rename_is_undone(config: Config) -> None:
    with staged(config, "bread", "old") as tree:
        trees.commit(config, tree, wanted("bread", tree, "old"))
    with staged(config, "bread", "new") as tree:
        spec.write(config, wanted("bread", tree, "new"), trees.NEXT)
    sweep(config)
    known = spec.read(config, "bread")
    assert known and known.recipe == "old"
    assert content(config, "bread") == "old"
    assert not (spec.directory(config, "bread") / trees.NEXT).exists()


def test_a_kill_after_the_rename_is_finished(config: Config) -> None:
    with staged(config, "bread", "old") as tree:
        trees.commit(config, tree, wanted("bread", tree, "old"))
    with staged(config, "bread", "new") as tree:
        spec.write(config, wanted("bread", tree, "new"), trees.NEXT)
        remove_tree(trees.path(config, "bread"))
        tree.rename(trees.path(config, "bread"))
    sweep(config)
    known = spec.read(config, "bread")
    assert known and known.recipe == "new"


def test_a_kill_before_anything_was_there_leaves_no_spec(config: Config) -> None:
    with staged(config, "bread", "new") as tree:
        spec.write(config, wanted("bread", tree), trees.NEXT)
    sweep(config)
    assert list(spec.names(config)) == []


def test_a_tree_that_vanishes_for_a_while_keeps_its_spec(config: Config) -> None:
    with staged(config, "bread", "x") as tree:
        trees.commit(config, tree, wanted("bread", tree))
    away = config.machines.rename(config.root / "unmounted")
    config.machines.mkdir()
    sweep(config)
    config.machines.rmdir()
    away.rename(config.machines)
    assert spec.read(config, "bread")


def test_a_removal_that_was_killed_is_finished(config: Config) -> None:
    with staged(config, "bread", "x") as tree:
        trees.commit(config, tree, wanted("bread", tree))
    doomed = config.machines / f".#bread{trees.REMOVED}.0123abcd"
    doomed.mkdir()
    trees.path(config, "bread").rename(doomed / "tree")
    sweep(config)
    assert os.listdir(config.machines) == []
    assert list(spec.names(config)) == []


def test_what_is_in_use_is_not_swept(config: Config) -> None:
    with staged(config, "bread", "x") as tree:
        sweep(config)
        assert (tree / "content").exists()
    orphan = config.machines / ".#toast.0123abcd"
    orphan.mkdir()
    assert sweep(config) == 1
    assert not orphan.exists()


def test_a_name_is_reserved_for_one(config: Config) -> None:
    with contextlib.ExitStack() as held:
        held.enter_context(trees.reserved(config, "bread", replace=False))
        with pytest.raises(BusyError, match="bread"):
            held.enter_context(trees.reserved(config, "bread", replace=False))
    with staged(config, "bread", "x") as tree:
        trees.commit(config, tree, wanted("bread", tree))
    with pytest.raises(ExistsError, match="bread"), trees.reserved(config, "bread", replace=False):
        pass


def seal(config: Config, key: str, text: str) -> None:
    with layers.staging(config.layers, key, config) as directory:
        (directory / "tree").mkdir()
        (directory / "tree/file").write_text(text)
        described = layers.describe(directory, key=key, stage="s", parent="", recipe="r", inputs={"a": 1}, packages={})
        layers.seal(config, directory, described)


def test_a_layer_is_sealed_whole_and_may_be_made_anew(config: Config) -> None:
    seal(config, "key", "one")
    first = layers.manifest(config, "key")
    seal(config, "key", "two")
    second = layers.manifest(config, "key")
    assert first and second and first.digest != second.digest
    assert (layers.tree(config, "key") / "file").read_text() == "two"
    assert os.listdir(config.layers) == ["key"]


def test_a_layer_that_is_read_is_not_discarded(config: Config) -> None:
    seal(config, "key", "one")
    child = f"""
from pathlib import Path
from machinespawn.config import Config
from machinespawn.store import clean
print(clean.clean(Config(root=Path({str(config.root)!r})), dry_run=False).layers)
"""
    with layers.held(config, ("key",)):
        argv = [sys.executable, "-c", child]
        assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "()\n"
        assert layers.manifest(config, "key")
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "('key',)\n"
    assert not layers.manifest(config, "key")


@pytest.mark.parametrize("change", ["content", "mode", "link", "name"])
def test_the_content_digest_sees(tmp_path: Path, change: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    before = layers.content_digest(tmp_path)
    os.utime(tmp_path / "file", (1, 1))
    assert layers.content_digest(tmp_path) == before, "times do not count"
    match change:
        case "content":
            (tmp_path / "file").write_text("y")
        case "mode":
            (tmp_path / "file").chmod(0o4755)
        case "link":
            (tmp_path / "link").unlink()
            (tmp_path / "link").symlink_to("elsewhere")
        case _:
            (tmp_path / "file").rename(tmp_path / "other")
    assert layers.content_digest(tmp_path) != before


def test_a_lock_file_that_was_removed_locks_nobody_out(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with locked(lock):
        lock.unlink()
        with locked(lock, wait=False):
            pass


def test_a_file_is_written_whole_and_with_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.symlink_to(tmp_path / "elsewhere")
    write_atomic(target, "text", 0o600)
    assert not target.is_symlink()
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("text", 0o600)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting is root's")
def test_nothing_mounted_in_a_tree_is_removed_with_it(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "home").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tree / "home")], check=True)
    try:
        (tree / "home/thesis").write_text("years")
        with pytest.raises(ProgramError):
            remove_tree(tree)
        assert (tree / "home/thesis").read_text() == "years"
    finally:
        subprocess.run(["umount", str(tree / "home")], check=True)
    remove_tree(tree)
    assert not tree.exists()
