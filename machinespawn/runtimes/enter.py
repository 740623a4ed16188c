"""Into a running machine: its namespaces, its control groups, and an environment of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from machinespawn import shell
from machinespawn.errors import NotRunningError
from machinespawn.host import cgroup, process
from machinespawn.host.process import Process
from machinespawn.runtimes import foreground, terminal
from machinespawn.text import _

NAMESPACES = {
    "user": "--user",
    "mnt": "--mount",
    "uts": "--uts",
    "ipc": "--ipc",
    "net": "--net",
    "cgroup": "--cgroup",
}
"""Files in /proc/PID/ns and nsenter's options, except pid: the child that becomes nsenter is in that already.

nsenter --all would not do: it compares with /proc/OUR-PID, and that pid counts
in the machine while /proc is still the host's.
"""


@dataclass(frozen=True)
class Account:
    """Whom a command runs as: numbers and directories as they are in the machine."""

    name: str = "root"
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/root"
    shell: str = "/bin/sh"


@dataclass(frozen=True)
class Command:
    """What to run in a machine, and how."""

    argv: tuple[str, ...]
    account: Account
    cwd: str
    environment: Mapping[str, str]


def target(leader: Process, group: str) -> shell.Inside:
    """The machine for shell.run; ``group`` is its control group's name."""
    return shell.Inside(leader.pid, _groups(group), capabilities(leader.pid))


def run(leader: Process, group: str, command: Command) -> int:
    """Run the command in the machine with our streams, and give its exit status; 127 if there is no such command."""
    groups = _groups(group)
    shift = uid_shift(leader.pid)
    bounded = capabilities(leader.pid)
    argv = _nsenter(leader.pid, command, bounded)
    shell.require(argv[0])
    account = command.account

    def become() -> None:
        if account.uid:
            os.setgroups([shift + group for group in account.groups])
            os.setgid(shift + account.gid)
        shell.replace(argv, env=command.environment, cgroups=groups)

    with process.held(leader) as descriptor:
        if descriptor is None:
            raise _gone()
        return foreground.run(
            become,
            lambda: terminal.of_machine(leader.pid, shift + account.uid, shift + terminal.GROUP_TTY),
            namespace=descriptor,
        )


def _nsenter(leader: int, command: Command, bounded: str) -> list[str]:
    """The way in, except for the pid namespace. Groups are set before: nsenter itself would drop them."""
    spaces = [option for file, option in NAMESPACES.items() if _differs(leader, file)]
    who = ["--preserve-credentials", f"--setuid={command.account.uid}"] if command.account.uid else []
    return [
        *shell.bounding(bounded),
        "nsenter",
        f"--target={leader}",
        *spaces,
        *who,
        f"--wdns={command.cwd}",
        "--",
        *command.argv,
    ]


def _differs(pid: int, namespace: str) -> bool:
    theirs, ours = (os.stat(f"/proc/{each}/ns/{namespace}") for each in (pid, "self"))
    return (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino)


def uid_shift(pid: int) -> int:
    """The host's uid of the machine's root."""
    inside, outside, _count = Path(f"/proc/{pid}/uid_map").read_text().split()[:3]
    return int(outside) if inside == "0" else 0


def capabilities(pid: int) -> str:
    """For setpriv --bounding-set: what the machine itself may do; empty where a user namespace holds it anyway."""
    if _differs(pid, "user"):
        return ""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = int(next(line.split()[1] for line in lines if line.startswith("CapBnd:")), 16)
    return ",".join(["-all", *(f"+cap_{bit}" for bit in range(64) if mask >> bit & 1)])


def _groups(group: str) -> tuple[Path, ...]:
    groups = cgroup.for_commands(group)
    if not groups:
        raise _gone()
    return groups


def _gone() -> NotRunningError:
    return NotRunningError(_("the machine has just stopped"), _("start it again: machinespawn run NAME"))
