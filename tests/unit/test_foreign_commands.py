"""What installs packages in the trees of distributions that cannot be fetched from everywhere."""

from __future__ import annotations

import pytest

from machinespawn.build import foreign
from machinespawn.recipe.model import File, Recipe, TarSource

INSTALLERS = {installer.program: installer for installer in foreign.INSTALLERS}


def recipe(*paths: str) -> Recipe:
    files = tuple(File(path, path) for path in paths)
    return Recipe("x", "", "", "x", "1", "", tarball=TarSource(url="http://example.org/x.tar"), files=files)


@pytest.mark.parametrize(
    ("program", "first", "last"),
    [
        ("usr/bin/dnf", [], "dnf --assumeyes --setopt=install_weak_deps=0 install nano less"),
        ("usr/bin/microdnf", [], "microdnf --assumeyes --setopt=install_weak_deps=0 install nano less"),
        ("usr/bin/zypper", [], "zypper --non-interactive install --no-recommends nano less"),
        (
            "usr/bin/pacman",
            ["pacman-key --init", "pacman-key --populate"],
            "pacman -Syu --noconfirm --needed --disable-sandbox nano less",
        ),
        (
            "usr/bin/apt-get",
            ["apt-get -o APT::Update::Error-Mode=any update"],
            "apt-get -o Dpkg::Use-Pty=false -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "
            "--yes --no-install-recommends install nano less",
        ),
    ],
)
def test_commands(program: str, first: list[str], last: str) -> None:
    made = [" ".join(command) for command in foreign.commands(INSTALLERS[program], ("nano", "less"))]
    assert made == [*first, last]


def test_every_installer_is_tested() -> None:
    assert set(INSTALLERS) == {f"usr/bin/{name}" for name in ("apt-get", "dnf", "microdnf", "zypper", "pacman")}


@pytest.mark.parametrize(
    "path",
    [
        "/etc/pacman.d/mirrorlist",
        "/etc/pacman.conf",
        "/etc/yum.repos.d/own.repo",
        "/etc/dnf/dnf.conf",
        "/etc/pki/rpm-gpg/RPM-GPG-KEY-own",
        "/etc/zypp/repos.d/own.repo",
        "/etc/apt/sources.list.d/own.sources",
        "/usr/share/keyrings/own.gpg",
    ],
)
def test_what_package_managers_read(path: str) -> None:
    assert [file.path for file in foreign.configuration(recipe("/etc/motd", path, "/srv/page"))] == [path]


@pytest.mark.parametrize("path", ["/etc/motd", "/etc/pacman.dirt", "/etc/pacman.conf.d/x", "/etc", "/srv/etc/apt/x"])
def test_what_they_do_not_read(path: str) -> None:
    assert foreign.configuration(recipe(path)) == ()
