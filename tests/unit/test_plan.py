"""Stages and their keys, and the argument lists and texts that a build hands on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from machinespawn.build import apt, indexes, lockfile, source
from machinespawn.build.apt import Apt
from machinespawn.build.drivers import Job, debootstrap, mmdebstrap
from machinespawn.build.indexes import Index
from machinespawn.build.plan import Stage, differences
from machinespawn.build.wanted import Wanted
from machinespawn.build.workspace import Workspace
from machinespawn.config import Config
from machinespawn.errors import BuildError, NotFoundError, TrustError, UsageError
from machinespawn.recipe import load
from machinespawn.recipe.model import AptSource, Suite
from machinespawn.store.layers import Manifest

INPUTS = {"driver": "mmdebstrap 1.3.5", "packages": ["a", "b"], "indexes": {"bookworm": {"main": "0" * 64}}}
MAIN = Index("bookworm", "http://a.example/debian", ("main", "contrib"), (("main", "0" * 64),), "now")
SECURITY = Index("bookworm-security", "http://b.example/security", ("main",), (("main", "1" * 64),), "now")
SOURCE = AptSource((Suite("bookworm"),), ("main",), (("main", ("http://a.example/debian",)),), ("k.gpg",), script="sid")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"driver": "debootstrap 1.0"}, ["driver"]),
        ({"packages": ["a"]}, ["packages"]),
        ({"indexes": {"bookworm": {"main": "1" * 64}}}, ["indexes.bookworm.main"]),
        ({"more": 1}, ["more"]),
    ],
)
def test_everything_decides_a_key_and_is_named_when_it_differs(changed: dict[str, object], named: list[str]) -> None:
    stage, other = Stage("bootstrap", "", INPUTS), Stage("bootstrap", "", {**INPUTS, **changed})
    assert stage.key == Stage("bootstrap", "", dict(reversed(INPUTS.items()))).key
    assert len({stage.key, other.key, Stage("bootstrap", "p", INPUTS).key, Stage("packages", "", INPUTS).key}) == 4
    manifest = Manifest(stage.key, "bootstrap", "", "r", json.loads(json.dumps(INPUTS)), "", 0, "")
    assert differences(stage, manifest) == []
    assert differences(other, manifest) == named
    assert differences(Stage("bootstrap", "p", INPUTS), manifest) == ["parent"]


def test_a_sources_list() -> None:
    assert apt.sources((MAIN, SECURITY), "", check_dates=True) == (
        "deb http://a.example/debian bookworm main contrib\ndeb http://b.example/security bookworm-security main\n"
    )
    assert apt.sources((SECURITY,), "/k.gpg", check_dates=False) == (
        "deb [signed-by=/k.gpg check-valid-until=no] http://b.example/security bookworm-security main\n"
    )


@pytest.fixture
def job(tmp_path: Path) -> Job:
    space = Workspace(Path("/run/machinespawn/build"))
    ready = Apt(space, "arm64", (MAIN, SECURITY), Path("/k.gpg"), "http://p:3142", True, True, tmp_path / "log")
    return Job(SOURCE, ready, "minbase", ("systemd", "dbus"))


def test_debootstrap_always_checks_signatures_and_names_its_script(job: Job) -> None:
    assert debootstrap.command(job) == [
        "debootstrap",
        "--variant=minbase",
        "--arch=arm64",
        "--components=main,contrib",
        "--keyring=/k.gpg",
        "--force-check-gpg",
        "bookworm",
        "/run/machinespawn/build/root",
        "http://a.example/debian",
        "/usr/share/debootstrap/scripts/sid",
    ]
    assert "--variant=minbase" not in debootstrap.command(dataclasses.replace(job, variant="standard"))


def test_mmdebstrap_gets_its_sources_on_standard_input(job: Job) -> None:
    line = mmdebstrap.command(job, ["merged-usr"])
    assert line[-3:] == ["bookworm", "/run/machinespawn/build/root", "-"]
    assert {"--architectures=arm64", "--include=systemd,dbus", "--variant=minbase", "--mode=root"} <= set(line)
    assert "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr" in line


RELEASE = """Origin: Debian
Suite: stable
Codename: bookworm
Date: Sat, 01 Aug 2026 00:00:00 UTC
Valid-Until: Sat, 08 Aug 2026 00:00:00 UTC
Architectures: all amd64
Components: main contrib
SHA256:
 aa 10 main/binary-amd64/Packages
 bb 10 main/binary-amd64/Packages.xz
 cc 10 contrib/binary-amd64/Packages.xz
"""
ARCHIVE = indexes.Archive(Suite("bookworm"), ("main", "contrib"), ("http://a.example/debian",))


def test_an_index_is_read_from_a_release() -> None:
    index = indexes.parsed(RELEASE, "http://a.example/debian", ARCHIVE, "amd64")
    assert index.packages == (("main", "aa"), ("contrib", "cc"))
    assert indexes.parse(json.loads(json.dumps(dataclasses.asdict(index)))) == index


@pytest.mark.parametrize(
    ("archive", "architecture", "error", "word"),
    [
        (ARCHIVE, "riscv64", NotFoundError, "riscv64"),
        (dataclasses.replace(ARCHIVE, components=("main", "univers")), "amd64", NotFoundError, "univers"),
        (dataclasses.replace(ARCHIVE, suite=Suite("trixie")), "amd64", TrustError, "trixie"),
    ],
)
def test_a_release_that_does_not_fit(
    archive: indexes.Archive, architecture: str, error: type[Exception], word: str
) -> None:
    with pytest.raises(error, match=word):
        indexes.parsed(RELEASE, "http://a.example/debian", archive, architecture)


def urls(
    recipe: str, wanted: Wanted, architecture: str = "amd64", config: Config | None = None
) -> dict[str, tuple[str, ...]]:
    config = config or Config()
    loaded = load.load(recipe, config, architecture=architecture)
    assert loaded.apt
    found = source.archives(loaded, loaded.apt, architecture, wanted, config)
    return {archive.suite.name: archive.urls for archive in found}


def test_mirrors_are_tried_in_order() -> None:
    asked = Config(mirrors=(("ubuntu", "http://near.example/ubuntu/"),))
    assert urls("jammy", Wanted("jammy"), config=asked) == {
        "jammy": ("http://near.example/ubuntu", "http://archive.ubuntu.com/ubuntu"),
        "jammy-updates": ("http://near.example/ubuntu", "http://archive.ubuntu.com/ubuntu"),
        "jammy-security": ("http://near.example/ubuntu", "http://security.ubuntu.com/ubuntu"),
    }
    given = urls("jammy", Wanted("jammy", mirror="http://m.example/u"))
    assert given["jammy"] == ("http://m.example/u",)
    assert given["jammy-security"] == ("http://m.example/u", "http://security.ubuntu.com/ubuntu")
    assert urls("jammy", Wanted("jammy"), "arm64")["jammy-security"] == ("http://ports.ubuntu.com/ubuntu-ports",)


def test_a_snapshot_takes_the_place_of_every_mirror() -> None:
    assert urls("bookworm", Wanted("bookworm", snapshot="20260801")) == {
        "bookworm": ("http://snapshot.debian.org/archive/debian/20260801T000000Z/",),
        "bookworm-updates": ("http://snapshot.debian.org/archive/debian/20260801T000000Z/",),
        "bookworm-security": ("http://snapshot.debian.org/archive/debian-security/20260801T000000Z/",),
    }
    with pytest.raises(UsageError, match="yesterday"):
        urls("bookworm", Wanted("bookworm", snapshot="yesterday"))


def test_a_lock_file_comes_back_and_is_held_to(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = lockfile.Lock("r", "amd64", (MAIN,), ("k1", "k2"), {"systemd": "252"})
    lockfile.write(path, lock)
    assert lockfile.read(path) == lock
    lockfile.check_layers(path, lock, ("k1", "k2"))
    lockfile.check_packages(path, lock, {"systemd": "252"})
    with pytest.raises(BuildError):
        lockfile.check_layers(path, lock, ("k1", "k3"))
    with pytest.raises(BuildError, match="systemd"):
        lockfile.check_packages(path, lock, {"systemd": "253"})
    with pytest.raises(NotFoundError):
        lockfile.read(tmp_path / "none")
    path.write_text("{}")
    with pytest.raises(UsageError):
        lockfile.read(path)
