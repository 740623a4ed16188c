"""Files of a tree that somebody else wrote: whatever links it holds, nothing outside is read, written or removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from machinespawn.store import inside


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree whose /etc is a link to the host's directory beside it, by absolute and by relative name."""
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    outside.mkdir()
    tree.mkdir()
    (outside / "passwd").write_text("the host's")
    (tree / "etc").symlink_to(outside)
    (tree / "var").symlink_to("../outside")
    (tree / "file").symlink_to(outside / "passwd")
    return tree


@pytest.mark.parametrize("path", ["etc/passwd", "var/passwd", "file", "../outside/passwd", "/../outside/passwd"])
def test_nothing_outside_is_read(tree: Path, path: str) -> None:
    assert inside.read(tree, path) is None
    assert not inside.exists(tree, path)


def test_nothing_outside_is_written_or_removed(tree: Path) -> None:
    outside = tree.parent / "outside"
    inside.write(tree, "file", "ours")
    inside.remove(tree, "var/passwd")
    inside.empty(tree, "var")
    inside.empty(tree, "etc")
    assert (outside / "passwd").read_text() == "the host's"
    assert not (tree / "file").is_symlink()
    assert (tree / "file").read_text() == "ours"


def test_links_inside_are_followed_inside(tree: Path) -> None:
    (tree / "usr/lib").mkdir(parents=True)
    (tree / "usr/lib/os-release").write_text('ID=debian\nPRETTY_NAME="Debian 12"\n')
    (tree / "run").symlink_to("/usr/lib")
    assert inside.read(tree, "run/os-release")
    assert inside.os_release(tree) == {"ID": "debian", "PRETTY_NAME": "Debian 12"}


def test_writing_makes_what_is_missing_with_its_mode(tree: Path) -> None:
    inside.write(tree, "srv/deep/er/page", b"x", 0o640)
    assert (tree / "srv/deep/er/page").stat().st_mode & 0o777 == 0o640
    assert (tree / "srv/deep").stat().st_mode & 0o777 == 0o755
    assert os.listdir(tree / "srv/deep/er") == ["page"]


def test_a_directory_is_emptied_of_directories_too(tree: Path) -> None:
    (tree / "run/lock/deep").mkdir(parents=True)
    (tree / "run/file").write_text("x")
    inside.empty(tree, "run")
    assert os.listdir(tree / "run") == []


def test_a_fifo_in_the_place_of_a_file_does_not_block(tree: Path) -> None:
    os.mkfifo(tree / "machine-id")
    assert inside.read(tree, "machine-id") is None
