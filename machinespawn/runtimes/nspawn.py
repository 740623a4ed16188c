"""The command line of systemd-nspawn, computed from what is wanted of the machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from machinespawn import shell
from machinespawn.errors import BootError, MissingToolError, UsageError
from machinespawn.recipe.model import MachineSettings
from machinespawn.store import inside
from machinespawn.text import _

INITS = ("usr/lib/systemd/systemd", "lib/systemd/systemd", "sbin/init")
"""What systemd-nspawn --boot looks for, in its order."""

PACKAGE_MANAGERS = {
    "usr/bin/apt-get": "apt-get install systemd-sysv",
    "usr/bin/dnf": "dnf install systemd",
    "usr/bin/zypper": "zypper install systemd",
    "usr/bin/pacman": "pacman -S systemd",
}
IDLE = ("sleep", "2147483647")
"""Waits; every tree with a shell has it, and busybox does not know infinity."""

UNIFIED_ONLY = 258
"""Since this version systemd-nspawn knows cgroup v2 only."""

CGROUP_HIERARCHY = "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY"
SUPERVISOR_VARIABLES = re.compile(r"SYSTEMD_(SECCOMP|LOG_LEVEL|SUPPRESS_SYNC|NSPAWN_[A-Z_]+)")
"""What a recipe may set for systemd-nspawn itself, which runs as root on the host."""


@dataclass(frozen=True)
class Machine:
    """What systemd-nspawn needs to know of a machine."""

    name: str
    tree: Path
    settings: MachineSettings = MachineSettings()
    architecture: str = ""
    """Debian's name; empty: not known."""


def boot(machine: Machine, *, console: str, resolv_conf: str, drop: Sequence[str] = ()) -> list[str]:
    """Boot the machine. ``console`` is interactive or read-only; ``drop`` names capabilities it must not have."""
    return [
        *_common(machine, resolv_conf, drop),
        "--boot",
        "--notify-ready=yes",
        f"--console={console}",
        *(f"--setenv={name}={value}" for name, value in machine.settings.environment),
        "--",
        *machine.settings.parameters,
    ]


def idle(machine: Machine, *, resolv_conf: str, drop: Sequence[str] = ()) -> list[str]:
    """Hold the machine's namespaces open without booting it, for commands to be run in it."""
    return [*_common(machine, resolv_conf, drop), "--as-pid2", "--console=read-only", "--", *IDLE]


def _common(machine: Machine, resolv_conf: str, drop: Sequence[str]) -> list[str]:
    """What is always so: our own settings (none of .nspawn files), the host's network, nothing written to the host."""
    users = ["pick", "--private-users-ownership=map"] if machine.settings.private_users else ["no"]
    return [
        "systemd-nspawn",
        "--quiet",
        "--settings=no",
        "--register=no",
        "--keep-unit",
        f"--machine={machine.name}",
        f"--directory={machine.tree}",
        f"--private-users={users[0]}",
        *users[1:],
        f"--resolv-conf={resolv_conf}",
        "--timezone=off",
        "--link-journal=no",
        *([f"--drop-capability={','.join(drop)}"] if drop else []),
    ]


def environment(settings: MachineSettings) -> dict[str, str]:
    """The environment of systemd-nspawn itself. Raises UsageError for variables that are not its own."""
    for name, _value in settings.supervisor_environment:
        if not SUPERVISOR_VARIABLES.fullmatch(name):
            raise UsageError(
                _("{name} cannot be set for systemd-nspawn").format(name=name),
                _("supervisor_environment takes SYSTEMD_SECCOMP and SYSTEMD_NSPAWN_*; 'environment' is for the init"),
            )
    return {CGROUP_HIERARCHY: "1" if settings.unified_cgroup else "0", **dict(settings.supervisor_environment)}


def check_host(settings: MachineSettings) -> None:
    """Raise MissingToolError if this host's systemd-nspawn cannot run such a guest."""
    shell.require("systemd-nspawn")
    if not settings.unified_cgroup and (version := host_version()) >= UNIFIED_ONLY:
        raise MissingToolError(
            _("systemd-nspawn {version} has no cgroup v1, which guests with a systemd before 230 need").format(
                version=version
            ),
            _("run this machine on a host with systemd 257 or older, or choose a newer release"),
        )


def host_version() -> int:
    """The version of systemd-nspawn here; 0 if it cannot be told."""
    printed = shell.run(["systemd-nspawn", "--version"]).stdout
    match = re.match(r"systemd (\d+)", printed)
    return int(match[1]) if match else 0


def check_init(machine: Machine) -> None:
    """Raise BootError, with the way to get one, if the tree has no init."""
    if any(inside.exists(machine.tree, path) for path in INITS):
        return
    install = next((line for path, line in PACKAGE_MANAGERS.items() if inside.exists(machine.tree, path)), "")
    raise BootError(
        _("machine {name} has no init to boot: none of {paths}").format(
            name=machine.name, paths=", ".join(f"/{path}" for path in INITS)
        ),
        _("machinespawn exec {name} -- {install}").format(name=machine.name, install=install)
        if install
        else _("it can be used without: machinespawn exec {name} -- COMMAND").format(name=machine.name),
    )


def resolv_conf(tree: Path) -> str:
    """The --resolv-conf mode that gives the tree the host's DNS.

    A file is covered by the host's while the machine runs. A link (mostly to
    the stub of a systemd-resolved that has no links to ask in the host's
    network) cannot be covered, and what is missing would come to belong to
    nobody: then the host's is copied in.
    """
    path = "etc/resolv.conf"
    return "bind-host" if inside.exists(tree, path) and not inside.is_link(tree, path) else "replace-host"
