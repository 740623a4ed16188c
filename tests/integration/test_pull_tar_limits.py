"""Archives and downloads that would take all of the disk, and work whose owner is killed."""

from __future__ import annotations

import contextlib
import gzip
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from machinespawn.build.archive.unpack import How, unpack
from machinespawn.config import Config
from machinespawn.errors import BuildError
from machinespawn.fetch import download
from tests.command_line import CHECKOUT
from tests.lab import tars
from tests.lab.fileserver import files
from tests.lab.tars import Entry

HOW = How(None, "amd64")
MIB = 1 << 20


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB and 100 inodes."""
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,nr_inodes=100", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def bomb(path: Path, size: int, name: str = "zeros") -> Path:
    """A small file that unpacks to a tar with size bytes of zeros in it."""
    head = tarfile.TarInfo(name)
    head.size = size
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(head.tobuf())
        for _part in range(size // MIB):
            file.write(bytes(MIB))
        file.write(bytes(1024))
    return path


def test_a_small_file_that_unpacks_to_more_than_the_disk_has(tmp_path: Path, small: Path) -> None:
    archive = bomb(tmp_path / "bomb", 200 * MIB)
    assert archive.stat().st_size < 2 * MIB
    with pytest.raises(BuildError, match=r"more than|no space") as raised:
        unpack(archive, small, HOW, tmp_path / "scratch")
    assert raised.value.hint


def test_an_image_that_unpacks_to_more_than_the_scratch_place_has(tmp_path: Path, small: Path) -> None:
    archive = bomb(tmp_path / "bomb", 200 * MIB, "manifest.json")
    tree = tmp_path / "tree"
    tree.mkdir()
    with pytest.raises(BuildError, match=r"more than|no space"):
        unpack(archive, tree, HOW, small)
    assert list(small.iterdir()) == []
    assert list(tree.iterdir()) == []


def test_more_files_than_the_file_system_has_room_for(tmp_path: Path, small: Path) -> None:
    archive = tmp_path / "many"
    archive.write_bytes(tars.tar(*(Entry(f"file-{number}") for number in range(200))))
    with pytest.raises(BuildError, match="no inodes"):
        unpack(archive, small, HOW, tmp_path / "scratch")


def test_a_sparse_file_takes_no_more_than_its_data(tmp_path: Path, small: Path) -> None:
    with open(tmp_path / "disk", "wb") as file:
        file.write(b"data")
        file.truncate(1 << 40)
    argv = ["tar", "--sparse", "--format=posix", "-C", str(tmp_path), "-cf", str(tmp_path / "archive"), "disk"]
    subprocess.run(argv, check=True)
    unpack(tmp_path / "archive", small, HOW, tmp_path / "scratch")
    assert (small / "disk").stat().st_size == 1 << 40


def test_a_download_that_fills_the_disk(tmp_path: Path, small: Path) -> None:
    with files(big=os.urandom(20 * MIB)) as server:
        server.extra = {"Content-Length": "", "Connection": "close"}
        config = Config(root=tmp_path, cache_dir=small)
        with pytest.raises(BuildError, match="no room"):
            download.fetch(f"{server.url}/big", config)
    assert not [path for path in small.rglob("*") if path.is_file()]


CODE = """
import sys
from pathlib import Path
from machinespawn.build.archive.unpack import How, unpack
unpack(Path(sys.argv[1]), Path(sys.argv[2]), How(None, "amd64"), Path(sys.argv[2]))
"""


def offspring(pid: int) -> set[int]:
    found = set()
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError):
            found |= {int(child) for child in path.read_text().split()}
    return found


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_what_works_for_a_killed_process_ends_with_it(tmp_path: Path, how: signal.Signals) -> None:
    archive, tree = bomb(tmp_path / "bomb", 800 * MIB), tmp_path / "tree"
    tree.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, archive, tree],
        cwd=CHECKOUT,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a run in the background ignores it
    )
    try:
        until(lambda: (tree / "zeros").exists() and len(offspring(process.pid)) == 2)
        process.send_signal(signal.SIGSTOP)  # so that it is not done before we are
        children = offspring(process.pid)
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)
        assert process.wait(20) != 0
        until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    finally:
        process.kill()
        process.wait()
    assert (tree / "zeros").stat().st_size < 800 * MIB
