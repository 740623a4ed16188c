"""Packages of a machine that came as an archive: its own package manager installs them, inside it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from machinespawn import shell
from machinespawn.build.apt import PROXY_VARIABLES
from machinespawn.errors import UsageError
from machinespawn.recipe.model import File, Recipe
from machinespawn.store import inside
from machinespawn.text import _

POLICY = "usr/sbin/policy-rc.d"


@dataclass(frozen=True)
class Installer:
    """One package manager. All of them check signatures unless their configuration says otherwise."""

    program: str
    """Where it is in a tree that has it."""
    commands: tuple[tuple[str, ...], ...]
    """What to run; the packages follow the last one. Their names were checked: none begins with '-'."""
    reads: tuple[str, ...]
    """Its configuration: files, and directories with all that is below."""


INSTALLERS = (
    Installer(
        "usr/bin/apt-get",
        (
            ("apt-get", "-o", "APT::Update::Error-Mode=any", "update"),
            (
                *("apt-get", "-o", "Dpkg::Use-Pty=false"),
                *("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"),
                *("--yes", "--no-install-recommends", "install"),
            ),
        ),
        ("/etc/apt", "/usr/share/keyrings"),
    ),
    # without '--': dnf5 has known it since 5.4.3 only
    Installer(
        "usr/bin/dnf",
        (("dnf", "--assumeyes", "--setopt=install_weak_deps=0", "install"),),
        ("/etc/dnf", "/etc/yum.repos.d", "/etc/yum.conf", "/etc/pki"),
    ),
    Installer(
        "usr/bin/microdnf",
        (("microdnf", "--assumeyes", "--setopt=install_weak_deps=0", "install"),),
        ("/etc/dnf", "/etc/yum.repos.d", "/etc/pki"),
    ),
    Installer(
        "usr/bin/zypper",
        (("zypper", "--non-interactive", "install", "--no-recommends"),),
        ("/etc/zypp", "/etc/pki", "/usr/lib/rpm/gnupg/keys"),
    ),
    # Arch knows no partial upgrade, hence -u; the sandbox is Landlock's, whose
    # system calls systemd-nspawn refuses before version 257
    Installer(
        "usr/bin/pacman",
        (
            ("pacman-key", "--init"),
            ("pacman-key", "--populate"),
            ("pacman", "-Syu", "--noconfirm", "--needed", "--disable-sandbox"),
        ),
        ("/etc/pacman.conf", "/etc/pacman.d"),
    ),
)
"""In the order they are looked for."""


def configuration(recipe: Recipe) -> tuple[File, ...]:
    """Those of the recipe's files that a package manager reads, so that they must be there before the packages."""
    places = tuple(place for installer in INSTALLERS for place in installer.reads)
    return tuple(file for file in recipe.files if any(_below(file.path, place) for place in places))


def _below(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")


def commands(installer: Installer, packages: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """What installs the packages, one after the other."""
    *first, last = installer.commands
    return (*first, (*last, *packages))


def install(recipe: Recipe, tree: Path, log: Path, *, proxy: str) -> None:
    """Install the recipe's packages into the tree. ``proxy`` is a URL or empty."""
    found = next((each for each in INSTALLERS if inside.exists(tree, each.program)), None)
    if found is None:
        raise UsageError(
            _("{recipe} has no package manager known here, so {packages} cannot be installed").format(
                recipe=recipe.name, packages=", ".join(recipe.packages)
            ),
            _("install them with commands: in a recipe of your own that extends it"),
        )
    for file in configuration(recipe):
        # to root for now: the last stage makes the recipe's users, and writes the file once more
        inside.write(tree, file.path, Path(file.source).read_bytes() if file.source else file.content, file.mode)
    environment = dict.fromkeys(PROXY_VARIABLES, proxy) if proxy else {}
    with _no_services(tree):
        for command in commands(found, recipe.packages):
            shell.run(command, shell.Chroot(tree), env=environment, log=log)


@contextlib.contextmanager
def _no_services(tree: Path) -> Iterator[None]:
    """Debian's maintainer scripts start no service: policy-rc.d(8) answers 101, action forbidden."""
    if inside.exists(tree, POLICY) or inside.is_link(tree, POLICY) or not inside.exists(tree, "usr/sbin"):
        yield
        return
    inside.write(tree, POLICY, "#!/bin/sh\nexit 101\n", 0o755)
    try:
        yield
    finally:
        inside.remove(tree, POLICY)
