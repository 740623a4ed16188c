"""Who is asked when: warm builds, refresh in all its forms, --offline, and a cache that is deleted."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from machinespawn.store.layers import content_digest
from tests.lab import debs, tars
from tests.lab.fileserver import Files, files
from tests.lab.mirror import Mirror, publish, ubuntu
from tests.roots import Answer, Root, temporary_root

RELEASES = sorted(f"/dists/{suite}/InRelease" for suite in ("jammy", "jammy-updates", "jammy-security"))
LAYERS = 2


@dataclass(frozen=True)
class Bakery:
    """A root where ubuntu-jammy has been built from a mirror of our own."""

    root: Root
    mirror: Mirror

    def call(self, *options: str) -> tuple[Answer, list[str]]:
        """What came of a build of bread, and what the mirror was asked for."""
        self.mirror.requests.clear()
        known = ("--mirror", self.mirror.url, "--keyring", str(self.mirror.keyring))
        answer = self.root.call("bootstrap", "ubuntu-jammy", "bread", "--replace", *known, *options)
        return answer, self.mirror.requests

    def warm(self, *options: str) -> list[str]:
        """What the mirror was asked for by a build that has every layer."""
        answer, asked = self.call(*options)
        assert answer.status == 0, answer.printed
        assert answer.data["hits"] == LAYERS
        return sorted(asked)

    def plan(self, *options: str, env: dict[str, str] | None = None) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """The stages of such a build, and what the mirror was asked for."""
        self.mirror.requests.clear()
        known = ("--mirror", self.mirror.url, "--keyring", str(self.mirror.keyring))
        stages = self.root.build("plan", "ubuntu-jammy", *known, *options, env=env)
        return {stage["name"]: stage for stage in stages}, sorted(self.mirror.requests)

    def planned(self, *options: str, env: dict[str, str] | None = None) -> list[str]:
        """What the mirror was asked for by a plan that hits everywhere."""
        stages, asked = self.plan(*options, env=env)
        assert all(stage["hit"] for stage in stages.values())
        return asked


@pytest.fixture(scope="module")
def bakery() -> Iterator[Bakery]:
    with ubuntu() as mirror, temporary_root() as root:
        made = Bakery(root, mirror)
        answer, asked = made.call()
        assert answer.status == 0, answer.printed
        assert any(path.endswith(".deb") for path in asked)
        yield made


@pytest.fixture
def settings(bakery: Bakery) -> Iterator[Path]:
    """The root's configuration file."""
    file = bakery.root.path / "etc/machinespawn.yaml"
    file.parent.mkdir(exist_ok=True)
    yield file
    file.unlink()


def test_a_warm_build_asks_nobody(bakery: Bakery) -> None:
    assert bakery.warm() == []


def test_offline_a_warm_build_works_and_no_other(bakery: Bakery) -> None:
    assert bakery.warm("--offline") == []
    answer, asked = bakery.call("--package", "crumb", "--offline")
    assert (answer.status, answer.error["code"]) == (10, "build"), answer.printed
    assert "crumb" in answer.error["message"]
    assert "--offline" in answer.error["hint"]
    assert asked == []
    assert (bakery.root.tree("bread") / "etc/os-release").exists()
    answer, asked = bakery.call("--refresh", "--offline")
    assert (answer.status, answer.error["code"], asked) == (2, "usage", [])


def test_after_the_time_to_refresh_only_releases_are_asked_for(bakery: Bakery, settings: Path) -> None:
    settings.write_text("refresh: 0s\n")
    assert bakery.warm() == RELEASES
    assert bakery.planned("--offline") == []
    assert bakery.planned(env={"MACHINESPAWN_REFRESH": "7d"}) == []
    assert bakery.planned() == RELEASES
    settings.write_text("refresh: 0s\noffline: true\n")
    assert bakery.planned() == []


def test_refresh_asks_now(bakery: Bakery) -> None:
    assert bakery.planned("--refresh") == RELEASES
    bakery.mirror.republish(dataclasses.replace(bakery.mirror.archive, version="22.04.1"))
    assert bakery.planned() == []
    assert bakery.warm("--refresh") == RELEASES  # another Release of the same packages


def test_deleting_the_cache_hurts_nobody(bakery: Bakery) -> None:
    tree = bakery.root.tree("bread")
    before = content_digest(tree)
    shutil.rmtree(bakery.root.cache)
    answer, asked = bakery.call("--offline")
    assert (answer.status, answer.error["code"], asked) == (9, "network", []), answer.printed
    assert "--offline" in answer.error["hint"]
    assert content_digest(tree) == before

    assert bakery.warm() == RELEASES
    shutil.rmtree(bakery.root.cache)
    answer, asked = bakery.call("--package", "crumb")
    assert (answer.status, answer.data["hits"]) == (0, 1), answer.printed
    assert [path.rpartition("/")[2] for path in asked if path.endswith(".deb")] == ["crumb_3_all.deb"]
    assert (tree / "etc/crumb").read_text() == "3\n"


def test_what_is_new_on_the_mirror_is_built(bakery: Bakery, tmp_path: Path) -> None:
    """Last, for it changes the mirror."""
    bakery.planned("--refresh")
    crumb = debs.tiny(tmp_path, "crumb", "4", {"/etc/crumb": "4\n"})
    publish(bakery.mirror.directory, {"jammy-security": (crumb,)}, bakery.mirror.archive, bakery.mirror.key)
    assert bakery.planned() == []
    stages, asked = bakery.plan("--refresh")
    assert asked == RELEASES
    assert not any(stage["hit"] for stage in stages.values())
    assert "jammy-security" in stages["bootstrap"]["why"]
    assert "jammy-updates" not in stages["bootstrap"]["why"]


ARCHIVE = tars.tar(tars.directory("usr"), tars.directory("etc"), tars.Entry("etc/os-release", b"ID=lab\n"))
OFFLINE = {"MACHINESPAWN_OFFLINE": "yes"}


@pytest.fixture
def server() -> Iterator[Files]:
    with files(**{"x.tar": ARCHIVE, "x.tar.sha256": tars.sha256(ARCHIVE).encode()}) as served:
        yield served


def test_archives_offline(fresh_root: Root, server: Files) -> None:
    pull = ("pull-tar", f"{server.url}/x.tar", "bread", "--replace")
    answer = fresh_root.call(*pull, env=OFFLINE)
    assert (answer.status, answer.error["code"], server.asked) == (9, "network", []), answer.printed
    fresh_root.build(*pull)
    server.asked.clear()
    fresh_root.build(*pull, env=OFFLINE | {"MACHINESPAWN_REFRESH": "0s"})
    assert server.asked == []
    shutil.rmtree(fresh_root.layers)
    fresh_root.build(*pull, env=OFFLINE)
    assert server.asked == []


def test_archives_are_refreshed(fresh_root: Root, server: Files) -> None:
    pull = ("pull-tar", f"{server.url}/x.tar", "bread", "--replace")
    first = fresh_root.build(*pull)
    changed = ARCHIVE.replace(b"ID=lab", b"ID=new")
    server.content.update({"/x.tar": changed, "/x.tar.sha256": tars.sha256(changed).encode()})
    assert fresh_root.build(*pull)["layers"] == first["layers"]
    assert fresh_root.build(*pull, env={"MACHINESPAWN_REFRESH": "0s"})["layers"] != first["layers"]
    assert (fresh_root.tree("bread") / "etc/os-release").read_text() == "ID=new\n"
    shutil.rmtree(fresh_root.cache)
    server.asked.clear()
    assert fresh_root.build(*pull)["hits"] == 1
    assert "/x.tar" not in server.paths()
