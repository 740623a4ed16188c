"""From a URL or a path to a tree, as a build goes about it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from machinespawn.build.drivers import tarball
from machinespawn.build.wanted import Pulled
from machinespawn.config import Config
from machinespawn.errors import TrustError
from machinespawn.recipe.model import TarSource
from tests.lab import tars
from tests.lab.fileserver import Files, files
from tests.lab.tars import Entry, directory

ROOT = tars.tar(directory("root.x86_64"), Entry("root.x86_64/etc/os-release", b"ID=lab\n"))


@pytest.fixture
def server() -> Iterator[Files]:
    data = tars.compressed(ROOT, "zstd")
    with files(**{"root.tar.zst": data, "root.tar.zst.sha256": tars.sha256(data).encode()}) as served:
        yield served


def direct(_url: str) -> str:
    return ""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    path.mkdir(mode=0o700)
    return path


def test_from_a_url(tmp_path: Path, server: Files, tree: Path) -> None:
    config = Config(root=tmp_path)
    archive = tarball.resolve(TarSource(url=f"{server.url}/root.tar.zst", strip=1), "amd64", config, direct)
    tarball.unpack(archive, tree, config, direct)
    assert (tree / "etc/os-release").read_text() == "ID=lab\n"
    assert tree.stat().st_mode & 0o7777 == 0o755


def test_the_cache_may_go_at_any_time(tmp_path: Path, server: Files, tree: Path) -> None:
    config = Config(root=tmp_path)
    archive = tarball.resolve(TarSource(url=f"{server.url}/root.tar.zst"), "amd64", config, direct)
    tarball.unpack(archive, tree, config, direct)
    shutil.rmtree(config.cache)
    tarball.unpack(archive, tree, config, direct)
    assert server.paths().count("/root.tar.zst") == 2


def test_the_server_has_another_file_by_now(tmp_path: Path, server: Files, tree: Path) -> None:
    config = Config(root=tmp_path)
    archive = tarball.resolve(TarSource(url=f"{server.url}/root.tar.zst"), "amd64", config, direct)
    server.content["/root.tar.zst"] += b"x"
    with pytest.raises(TrustError, match=archive.sha256):
        tarball.unpack(archive, tree, config, direct)
    assert os.listdir(tree) == []


def test_a_local_file_that_changes_after_it_was_looked_at(tmp_path: Path, tree: Path) -> None:
    config, file = Config(root=tmp_path), tmp_path / "root.tar"
    file.write_bytes(ROOT)
    archive = tarball.resolve_given(Pulled(str(file), "bread", verify=False), config, direct)
    file.write_bytes(ROOT.replace(b"ID=lab", b"ID=bad"))
    with pytest.raises(TrustError, match=archive.sha256):
        tarball.unpack(archive, tree, config, direct)


def test_a_layout_directory(tmp_path: Path, tree: Path) -> None:
    config = Config(root=tmp_path)
    layout = tars.spread(tars.oci(ROOT, architecture="arm64"), tmp_path / "layout")
    pulled = Pulled(str(layout), "bread", architecture="arm64")
    archive = tarball.resolve_given(pulled, config, direct)
    tarball.unpack(archive, tree, config, direct)
    assert (tree / "root.x86_64/etc/os-release").exists()
