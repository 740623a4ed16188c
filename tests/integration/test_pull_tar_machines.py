"""pull-tar from the command line: whole machines over HTTP, and small ones in every form, right and wrong."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import left
from tests.command_line import CHECKOUT, machinespawn
from tests.integration.test_kill import settled
from tests.lab import tars
from tests.lab.fileserver import Files, files
from tests.lab.http import Answer, serving
from tests.lab.packed import packed, small
from tests.roots import Root

MACHINE_ID = 33
"""Bytes of /etc/machine-id."""


def sums(**archives: bytes) -> bytes:
    """SHA256SUMS of archives, as sha256sum prints it."""
    return "".join(f"{tars.sha256(data)}  {name}\n" for name, data in archives.items()).encode()


@pytest.fixture(scope="module")
def archive(machine_tree: Path) -> bytes:
    """A plain tar with a few programs and no init."""
    return small(machine_tree)


@pytest.fixture
def server(archive: bytes) -> Iterator[Files]:
    """It and its checksum, and one that nothing vouches for."""
    with files(**{"x.tar": archive, "y.tar": archive, "SHA256SUMS": sums(**{"x.tar": archive})}) as served:
        yield served


@pytest.fixture
def name(root: Root) -> Iterator[str]:
    """For a machine of the test's own, which goes with it."""
    chosen = f"pulled-{secrets.token_hex(2)}"
    yield chosen
    root.run("kill", chosen)
    root.run("remove", chosen)


def refused(root: Root, code: tuple[int, str], *argv: str) -> str:
    """The error's hint of a command that fails like that, and makes no machine of the name that comes last."""
    answer = root.call(*argv)
    assert (answer.status, answer.error["code"]) == code, answer.printed
    assert not root.tree(argv[2]).exists()
    assert not root.staged()
    return str(answer.error["hint"])


TRUST = (8, "trust")


def test_a_machine_over_http_boots_and_is_one_of_its_own(
    root: Root, machine_tree: Path, name: str, nothing_left: Callable[[], None]
) -> None:
    data = packed(machine_tree, "xz")
    with files(**{"x.tar.xz": data, "SHA256SUMS": sums(**{"x.tar.xz": data})}) as server:
        url = f"{server.url}/x.tar.xz"
        first = root.build("pull-tar", url, name)
        assert first["hits"] == 0
        assert server.sent >= len(data)
        identity = (root.tree(name) / "etc/machine-id").read_text()
        assert len(identity) == MACHINE_ID
        assert identity != (machine_tree / "etc/machine-id").read_text()

        root.build("run", "-d", name)
        assert root.run("exec", name, "--", "systemctl", "is-system-running", "--wait").stdout == "running\n"
        assert root.run("exec", name, "--", "cat", "/etc/machine-id", "/etc/hostname").stdout == f"{identity}{name}\n"
        assert root.build("show", name)["spec"]["distribution"] == "debian"
        busy = root.call("pull-tar", url, name, "--replace")
        assert (busy.status, busy.error["code"]) == (6, "busy"), busy.printed
        root.build("stop", name)
        assert (root.tree(name) / "etc/machine-id").read_text() == identity
        root.build("remove", name)
        assert not root.tree(name).exists()

        server.asked.clear()
        second = root.build("pull-tar", url, name)
        assert (second["hits"], second["layers"]) == (1, first["layers"])
        assert (root.tree(name) / "etc/machine-id").read_text() != identity
        assert server.asked == []
        root.build("remove", name)


def test_a_checksum_decides(root: Root, server: Files, archive: bytes, name: str) -> None:
    url = f"{server.url}/x.tar"
    server.content["/SHA256SUMS"] = sums(**{"x.tar": archive + b"x"})
    refused(root, TRUST, "pull-tar", url, name)
    refused(root, TRUST, "pull-tar", url, name, "--sha256", "0" * 64)
    refused(root, (2, "usage"), "pull-tar", url, name, "--sha256", "abc")
    made = root.build("pull-tar", url, name, "--sha256", tars.sha256(archive))
    assert made["name"] == name


def test_nothing_vouches_for_it(root: Root, server: Files, archive: bytes, name: str) -> None:
    url = f"{server.url}/y.tar"
    hint = refused(root, TRUST, "pull-tar", url, name)
    assert "--sha256" in hint
    assert "--no-verify" in hint
    root.build("pull-tar", url, name, "--no-verify")
    root.build("remove", name)
    root.build("pull-tar", url, name, "--sha256", tars.sha256(archive))


def test_a_recipe_s_name_takes_no_checksum_from_outside(root: Root, name: str) -> None:
    refused(root, (2, "usage"), "pull-tar", "fedora-44", name, "--sha256", "0" * 64)
    hint = refused(root, (2, "usage"), "pull-tar", "debian-bookworm", name)
    assert "machinespawn debian-bookworm" in hint
    refused(root, (4, "notfound"), "pull-tar", "./nothing.tar", name)


def with_checksum(place: Path, data: bytes) -> Path:
    place.write_bytes(data)
    place.with_name(f"{place.name}.sha256").write_text(f"{tars.sha256(data)}  {place.name}\n")
    return place


FORMS: dict[str, Callable[[bytes, Path], Path]] = {
    "file": lambda data, place: with_checksum(place / "x.tar", data),
    "docker-archive": lambda data, place: with_checksum(place / "x.tar", tars.packed(tars.docker(data))),
    "oci-archive": lambda data, place: with_checksum(place / "x.tar", tars.packed(tars.oci(data, how="zstd"))),
    "oci-layout": lambda data, place: tars.spread(tars.oci(data), place / "layout"),
}


@pytest.mark.parametrize("form", FORMS)
def test_without_an_init_it_runs_commands_only(
    root: Root, archive: bytes, name: str, tmp_path: Path, form: str
) -> None:
    source = FORMS[form](archive, tmp_path)
    root.build("pull-tar", str(source), name)
    done = root.run("exec", name, "--", "sh", "-c", "cat /etc/hostname; exit 3")
    assert (done.returncode, done.stdout) == (3, f"{name}\n"), done.stderr
    answer = root.call("run", "-d", name)
    assert (answer.status, answer.error["code"]) == (12, "boot"), answer.printed
    assert f"machinespawn exec {name}" in answer.error["hint"]


def test_a_file_that_is_not_what_its_checksum_says(root: Root, archive: bytes, name: str, tmp_path: Path) -> None:
    file = with_checksum(tmp_path / "x.tar", archive)
    file.write_bytes(archive.replace(b"ID=debian", b"ID=rotten"))
    refused(root, TRUST, "pull-tar", str(file), name)
    file.with_name("x.tar.sha256").unlink()
    assert "--no-verify" in refused(root, TRUST, "pull-tar", str(file), name)


def test_names_and_replacing(root: Root, server: Files, archive: bytes, name: str) -> None:
    url = f"{server.url}/x.tar"
    root.build("pull-tar", url, name)
    identity = root.tree(name) / "etc/machine-id"
    before = identity.read_text()
    taken = root.call("pull-tar", url, name)
    assert (taken.status, taken.error["code"]) == (5, "exists")
    assert "--replace" in taken.error["hint"]
    failed = root.call("pull-tar", url, name, "--replace", "--sha256", "0" * 64)
    assert failed.status == 8
    assert identity.read_text() == before
    root.build("pull-tar", url, name, "--replace")
    assert identity.read_text() != before
    assert not root.staged()
    for wrong in ("a b", "../x", "a..b"):
        assert root.call("pull-tar", url, wrong).status == 2


def test_the_envelope(root: Root, server: Files, name: str) -> None:
    def call(*argv: str) -> tuple[int, dict[str, Any], list[dict[str, Any]]]:
        done = machinespawn("pull-tar", *argv, "--json", root=root.path)
        return done.returncode, json.loads(done.stdout), [json.loads(line) for line in done.stderr.splitlines()]

    status, answer, told = call(f"{server.url}/x.tar", name)
    assert (status, answer["success"], answer["error"]) == (0, True, None)
    data = answer["data"]
    assert sorted(data) == ["hits", "layers", "name", "recipe", "seconds", "tree"]
    assert (data["name"], data["recipe"], data["tree"]) == (name, "x.tar", str(root.tree(name)))
    assert any(name in event["text"] for event in told)
    status, answer, told = call(f"{server.url}/y.tar", f"{name}-b")
    assert (status, answer["success"], answer["data"]) == (8, False, None)
    assert sorted(answer["error"]) == ["code", "exit_code", "hint", "message"]
    assert answer["error"]["exit_code"] == 8


@dataclass
class Stalling(Files):
    """Sends so many bytes of the first archive that it is asked for, and then nothing more."""

    most: int = 0

    def reply(self, path: str, headers: dict[str, str]) -> Answer:
        status, body, fields = super().reply(path, headers)
        if self.most and path.endswith(".tar"):
            body, self.most = body[: self.most], 0
        return status, body, fields


def test_killed_while_it_downloads(fresh_root: Root, archive: bytes) -> None:
    """The parent alone is killed; what it began to download is not downloaded again."""
    before = left.look(fresh_root.path)
    stalling = Stalling({"/x.tar": archive, "/SHA256SUMS": sums(**{"x.tar": archive})}, most=len(archive) // 2)
    with serving(stalling.reply) as server:
        argv = ["--root", str(fresh_root.path), "pull-tar", f"{server.url}/x.tar", "bread"]
        process = subprocess.Popen(
            [sys.executable, "-m", "machinespawn", *argv],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        partial = growing(fresh_root, len(archive) // 4)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert settled(fresh_root.path) == {"machines": [], "mounts": [], "processes": []}
        assert left.look(fresh_root.path) == before
        here = partial.stat().st_size

        stalling.asked.clear()
        fresh_root.build("pull-tar", f"{server.url}/x.tar", "bread")
    ranges = [headers.get("Range") for path, headers in stalling.asked if path == "/x.tar"]
    assert ranges == [f"bytes={here}-"]
    assert (fresh_root.tree("bread") / "usr/bin/sh").exists()
    assert not partial.exists()
    assert not fresh_root.staged()


def growing(root: Root, size: int) -> Path:
    """The file that is being downloaded, once it has that many bytes."""
    for _attempt in range(400):
        for path in root.cache.glob("downloads/partial/*"):
            if path.suffix != ".json" and path.stat().st_size >= size:
                return path
        time.sleep(0.05)
    raise AssertionError("nothing is downloaded")
