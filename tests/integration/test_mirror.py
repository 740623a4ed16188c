"""Ubuntu's recipes for real, and what a mirror may do to a build."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.lab import debs
from tests.lab.mirror import Mirror, publish, ubuntu
from tests.lab.signing import signer
from tests.roots import Root


@pytest.fixture(scope="module")
def jammy() -> Iterator[Mirror]:
    with ubuntu() as served:
        yield served


def options(mirror: Mirror, *more: str) -> tuple[str, ...]:
    return ("--mirror", mirror.url, "--keyring", str(mirror.keyring), *more)


@pytest.mark.parametrize("driver", ["mmdebstrap", "debootstrap"])
def test_ubuntu_jammy_survives_its_mirror_and_boots(fresh_root: Root, jammy: Mirror, driver: str) -> None:
    arguments = ("ubuntu-22.04", "jammy", *options(jammy, "--driver", driver, "--package", "crumb"))
    jammy.debs_left = 20
    answer = fresh_root.call(*arguments)
    assert answer.status == 10, answer.printed
    assert len(answer.error["message"].splitlines()) > 1, "the end of what the program printed is part of the error"
    assert not fresh_root.tree("jammy").exists()
    assert not fresh_root.staged()

    jammy.debs_left = None
    fresh_root.build(*arguments)
    crumb = (fresh_root.tree("jammy") / "etc/crumb").read_text()
    assert crumb == "3\n", "packages come from the security suite where it has newer ones"
    sources = (fresh_root.tree("jammy") / "etc/apt/sources.list").read_text().splitlines()
    assert [line.split()[3] for line in sources] == ["jammy", "jammy-updates", "jammy-security"]
    assert all("signed-by=/usr/share/keyrings/machinespawn-archive-keyring.gpg" in line for line in sources)
    fresh_root.build("run", "-d", "jammy")
    state = fresh_root.run("exec", "jammy", "--", "systemctl", "is-system-running", "--wait")
    fresh_root.build("stop", "jammy")
    assert state.stdout == "running\n"


def test_a_suite_that_debootstrap_has_no_script_for(fresh_root: Root) -> None:
    with ubuntu("noble", "24.04", (*debs.BASE, "systemd-resolved")) as noble:
        fresh_root.build("ubuntu-noble", "noble", *options(noble, "--driver", "debootstrap"))
    assert (fresh_root.tree("noble") / "usr/lib/systemd/systemd").exists()


def test_the_shipped_keys_are_used_without_a_hunt(fresh_root: Root, jammy: Mirror) -> None:
    answer = fresh_root.call("ubuntu-jammy", "bread", "--mirror", jammy.url)
    assert (answer.status, answer.error["code"]) == (8, "trust")
    assert "ubuntu-archive-keyring" in answer.printed or "keyring" in answer.error["message"]
    assert not fresh_root.tree("bread").exists()


def test_a_release_past_its_time(fresh_root: Root) -> None:
    with ubuntu() as lagging:
        old = dataclasses.replace(lagging.archive, valid_until=datetime.now(UTC) - timedelta(days=3))
        lagging.republish(old)
        answer = fresh_root.call("ubuntu-jammy", "bread", *options(lagging))
        assert (answer.status, answer.error["code"]) == (8, "trust")
        assert "expired" in answer.error["message"]
        assert "--allow-expired-release" in answer.error["hint"]
        fresh_root.build("plan", "ubuntu-jammy", *options(lagging, "--allow-expired-release"))
        again = fresh_root.call("ubuntu-jammy", "other", *options(lagging))
        assert again.status == 8, "what was allowed once must not be allowed for ever"


def test_a_release_that_somebody_else_signed(fresh_root: Root) -> None:
    with ubuntu() as stolen, signer("Mallory") as mallory:
        stolen.republish(stolen.archive, mallory)
        answer = fresh_root.call("ubuntu-jammy", "bread", *options(stolen))
    assert (answer.status, answer.error["code"]) == (8, "trust")
    assert not fresh_root.tree("bread").exists()


@pytest.mark.parametrize("driver", ["mmdebstrap", "debootstrap"])
def test_a_package_that_was_changed_after_signing(fresh_root: Root, driver: str) -> None:
    with ubuntu() as broken:
        broken.spoil("pool/**/dbus_*.deb")
        answer = fresh_root.call("ubuntu-jammy", "bread", *options(broken, "--driver", driver))
    assert answer.status == 10, answer.printed
    assert not fresh_root.tree("bread").exists()
    assert not list(fresh_root.cache.glob("archives/dbus_*.deb"))


def test_a_suite_that_no_mirror_has(fresh_root: Root, jammy: Mirror) -> None:
    answer = fresh_root.call("ubuntu-noble", "bread", *options(jammy))
    assert answer.status in (4, 9), answer.printed
    assert "noble" in answer.error["message"]


def test_an_archive_without_inrelease(fresh_root: Root) -> None:
    with ubuntu() as old:
        for file in old.directory.glob("dists/*/InRelease"):
            file.unlink()
        fresh_root.build("plan", "ubuntu-jammy", *options(old))
        with signer("Mallory") as mallory:
            old.republish(old.archive, mallory)
            for file in old.directory.glob("dists/*/InRelease"):
                file.unlink()
            answer = fresh_root.call("ubuntu-jammy", "other", *options(old, "--refresh"))
    assert (answer.status, answer.error["code"]) == (8, "trust")


def test_an_archive_that_moves_on_is_asked_again(fresh_root: Root, tmp_path: Path) -> None:
    with ubuntu() as moving:
        fresh_root.build("ubuntu-jammy", "before", *options(moving))
        newer = debs.tiny(tmp_path, "crumb", "4", {"/etc/crumb": "4\n"})
        for old in moving.directory.glob("pool/**/crumb_*.deb"):
            old.unlink()
        publish(moving.directory, {"jammy-security": (newer,)}, moving.archive, moving.key)
        alone = fresh_root.call("ubuntu-jammy", "after", *options(moving, "--package", "crumb", "--offline"))
        assert alone.status != 0
        fresh_root.build("ubuntu-jammy", "after", *options(moving, "--package", "crumb"))
    assert (fresh_root.tree("after") / "etc/crumb").read_text() == "4\n"


SNAPSHOT = "20260801T000000Z"


def test_a_snapshot_and_a_lock_repeat_a_build(fresh_root: Root, tmp_path: Path) -> None:
    with ubuntu() as moving:
        recipe = tmp_path / "dated.yaml"
        recipe.write_text(
            f"description: dated\nextends: ubuntu-jammy\napt: {{snapshot: '{moving.url}/{{date}}'}}\n"
            f"base_packages: [nano]\n"
        )
        moving.snapshot(SNAPSHOT)
        lock = tmp_path / "lock"
        arguments = (str(recipe), "--keyring", str(moving.keyring), "--snapshot", SNAPSHOT, "--lock", str(lock))
        first = fresh_root.build(arguments[0], "first", *arguments[1:])
        shutil.rmtree(fresh_root.layers)
        shutil.rmtree(fresh_root.cache)
        moving.republish(dataclasses.replace(moving.archive, version="22.05"))
        second = fresh_root.build(arguments[0], "second", *arguments[1:], "--locked")
    assert second["hits"] == 0
    assert second["layers"] == first["layers"]
    versions = [(fresh_root.tree(name) / "var/lib/dpkg/status").read_text() for name in ("first", "second")]
    assert versions[0] == versions[1]
