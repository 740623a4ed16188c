"""Packages of a machine that came as an archive: its own package manager installs them, inside it."""

from __future__ import annotations

from pathlib import Path

from machinespawn import shell
from machinespawn.errors import UsageError
from machinespawn.recipe.model import Recipe
from machinespawn.store import inside
from machinespawn.text import _

INSTALLERS = {
    "usr/bin/apt-get": (("apt-get", "update"), ("apt-get", "install", "--yes", "--no-install-recommends", "--")),
    "usr/bin/dnf": (("dnf", "--assumeyes", "--setopt=install_weak_deps=0", "install", "--"),),
    "usr/bin/microdnf": (("microdnf", "--assumeyes", "--setopt=install_weak_deps=0", "install"),),
    "usr/bin/zypper": (("zypper", "--non-interactive", "install", "--no-recommends", "--"),),
    "usr/bin/pacman": (
        ("pacman-key", "--init"),
        ("pacman-key", "--populate"),
        ("pacman", "-Sy", "--noconfirm", "--needed", "--"),
    ),
}
"""Program in the tree -> what to run; the packages follow the last command. Each checks signatures by default."""


def install(recipe: Recipe, tree: Path, log: Path) -> None:
    """Install the recipe's packages into the tree."""
    for program, commands in INSTALLERS.items():
        if inside.exists(tree, program):
            for command in commands[:-1]:
                shell.run(command, shell.Chroot(tree), log=log)
            shell.run([*commands[-1], *recipe.packages], shell.Chroot(tree), log=log)
            return
    raise UsageError(
        _("{recipe} has no package manager known here, so {packages} cannot be installed").format(
            recipe=recipe.name, packages=", ".join(recipe.packages)
        ),
        _("install them with commands: in a recipe of your own that extends it"),
    )
