"""Commands in a machine: run in its namespaces and control groups whether it has booted or not."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from machinespawn.config import Config
from machinespawn.errors import UsageError
from machinespawn.host.process import Process
from machinespawn.machines import account, status
from machinespawn.runtimes import boot, enter, state
from machinespawn.runtimes.enter import Account, Command
from machinespawn.runtimes.nspawn import Machine
from machinespawn.text import _

if TYPE_CHECKING:
    from machinespawn.shell import Result


def command(
    config: Config,
    name: str,
    argv: Sequence[str],
    *,
    user: str = "root",
    cwd: str = "/",
    env: Mapping[str, str] | None = None,
) -> int:
    """Run a command in the machine with our streams and signals; gives its exit status.

    That is 128 + N where signal N ended it, and 127 where there is no such
    command. A machine that does not run is not booted for it.
    """
    machine = status.existing(config, name)
    if not argv:
        raise UsageError(_("no command is given"), _("machinespawn exec {name} -- COMMAND").format(name=name))
    who = account.find(machine.tree, user)
    wanted = Command(tuple(argv), who, _directory(cwd), account.environment(machine.tree, who, env or {}))
    with _leader(config, machine) as leader:
        return enter.run(leader, state.group(config, name), wanted)


def execute(
    config: Config,
    name: str,
    argv: Sequence[str],
    *,
    user: str = "root",
    cwd: str = "/",
    env: Mapping[str, str] | None = None,
) -> NoReturn:
    """Become a command in the machine: as command(), but this process ends with it, as after an exec.

    Raises before the command starts, or does not return.
    """
    code = command(config, name, argv, user=user, cwd=cwd, env=env)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def shell(config: Config, name: str, user: str = "root") -> int:
    """A login shell in the machine, on a terminal of the machine's own; gives its exit status.

    Without a terminal on standard input the shell reads its commands from there.
    """
    machine = status.existing(config, name)
    who = account.find(machine.tree, user)
    wanted = Command(
        (_login_shell(machine, who), "-l"),
        who,
        account.home(machine.tree, who),
        account.environment(machine.tree, who, {}),
    )
    with _leader(config, machine) as leader:
        return enter.run(leader, state.group(config, name), wanted)


def capture(
    config: Config,
    name: str,
    argv: Sequence[str],
    *,
    check: bool = True,
    stdin: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
) -> Result:
    """Run a command as root in a running machine and give what it printed.

    Raises NotRunningError, and ProgramError when it fails unless check=False.
    """
    from machinespawn import shell as programs

    where = enter.target(status.leader_of(config, name), state.group(config, name))
    return programs.run(argv, where, env=env, stdin=stdin, check=check)


def wait_until_booted(config: Config, name: str, timeout: float = 90.0) -> str:
    """Wait until the machine's systemd has nothing left to start, and give what it says then: running, degraded.

    After timeout seconds it is what it says at that moment, nothing if it does
    not answer. Raises NotRunningError.
    """
    deadline = time.monotonic() + timeout
    while True:
        status.leader_of(config, name)
        health = status.health(config, name)
        if health not in ("", "offline", "initializing", "starting") or time.monotonic() >= deadline:
            return health
        time.sleep(0.1)


@contextlib.contextmanager
def _leader(config: Config, machine: Machine) -> Iterator[Process]:
    """The process whose namespaces the command runs in; a machine that does not run is nobody else's meanwhile."""
    if state.running(config, machine.name):
        yield status.leader_of(config, machine.name)
        return
    with state.lock(config, machine.name), state.tree_kept(config, machine.name):
        if not state.running(config, machine.name):
            state.reclaim(config, machine.name)
            with boot.idle(config, machine) as leader:
                yield leader
            return
    yield status.leader_of(config, machine.name)


def _login_shell(machine: Machine, who: Account) -> str:
    from machinespawn.store import inside

    return who.shell if inside.exists(machine.tree, who.shell) else "/bin/sh"


def _directory(path: str) -> str:
    if not path.startswith("/"):
        raise UsageError(
            _("{path!r} is no directory in a machine").format(path=path), _("give an absolute path, such as /root")
        )
    return path
