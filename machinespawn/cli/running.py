"""run, exec, shell, stop, kill."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING

import click

from machinespawn.cli.answer import give
from machinespawn.cli.build import definitions
from machinespawn.cli.call import Call, CommandAfterName, command, words
from machinespawn.cli.voice import settle
from machinespawn.errors import BusyError, NotRunningError, UsageError
from machinespawn.text import _

if TYPE_CHECKING:
    from machinespawn.config import Config

_USER = click.option("-u", "--user", default="root", metavar="NAME", help=_("Whom it runs as; default: root."))
_TIMEOUT = click.option(
    "--timeout", type=click.FloatRange(min=0), default=90.0, metavar="SECONDS", help=_("How long to wait; default: 90.")
)


@command(
    "run",
    help=_(
        "Boot a machine, or run one command in it.\n\n"
        "On a terminal you are on its console until it is shut down (Ctrl-] three times ends it at once). Without a "
        "terminal, or with --detach, the machine is ready when this returns. With a command the machine is booted if "
        "it does not run, goes on running afterwards, and the exit status is the command's."
    ),
)
@click.argument("name")
@click.argument("command", nargs=-1, metavar="[-- COMMAND…]")
@click.option("-d", "--detach", is_flag=True, help=_("Leave it in the background, on a terminal too."))
@click.option("--rm", "remove", is_flag=True, help=_("Remove the machine afterwards."))
@_TIMEOUT
def run(call: Call, name: str, command: tuple[str, ...], detach: bool, remove: bool, timeout: float) -> int:
    """Boot it; the rest depends on who is there."""
    from machinespawn.machines import lifecycle

    config = call.config()
    call.exec_status = bool(command)
    if command:
        _ensure_running(config, name, timeout)
        with _removed_after(config, name) if remove else contextlib.nullcontext():
            return _answered(call, lambda: lifecycle.command(config, name, command))
    if remove:
        if detach:
            raise UsageError(
                _("--rm --detach: nobody would be there to remove the machine"),
                _("machinespawn run --rm {name} -- COMMAND, or leave --detach away").format(name=name),
            )
        status = _answered(call, lambda: lifecycle.attach(config, name))
        lifecycle.remove(config, name, force=True)
        return status
    if not detach and not call.json and os.isatty(0) and os.isatty(1):
        return lifecycle.attach(config, name)
    return _detached(call, config, name, timeout)


def _detached(call: Call, config: Config, name: str, timeout: float) -> int:
    from machinespawn.machines import status

    booted = _ensure_running(config, name, timeout)

    def tell() -> None:
        print((_("{name} is up") if booted else _("{name} is running already")).format(name=name))
        print(
            _("go on with:  machinespawn shell {name}   exec {name} -- COMMAND   logs {name}   stop {name}").format(
                name=name
            )
        )

    return give(call, status.of(config, name), tell)


def _ensure_running(config: Config, name: str, timeout: float) -> bool:
    """Boot the machine unless it runs; whether that was needed."""
    from machinespawn.machines import lifecycle, status

    status.existing(config, name)
    if status.of(config, name).state == "running":
        return False
    try:
        lifecycle.start(config, name, timeout=timeout)
    except BusyError:
        if status.of(config, name).state != "running":  # else somebody else was faster
            raise
        return False
    return True


@contextlib.contextmanager
def _removed_after(config: Config, name: str) -> Iterator[None]:
    from machinespawn.machines import lifecycle

    try:
        yield
    finally:
        with contextlib.suppress(NotRunningError):
            lifecycle.stop(config, name)
        lifecycle.remove(config, name, force=True)


@command(
    "exec",
    cls=CommandAfterName,
    help=_(
        "Run a command in a machine, with its streams and its exit status: 128 + N if signal N ended it, 127 if there "
        "is no such command, 125 if machinespawn failed. A machine that does not run is not booted for it."
    ),
)
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND…")
@_USER
@click.option("-w", "--workdir", default="/", metavar="DIRECTORY", help=_("Where it runs; default: /."))
@click.option("-e", "--env", "variables", multiple=True, metavar="NAME=VALUE", help=_("A variable for it; repeatable."))
def execute(
    call: Call, name: str, command: tuple[str, ...], user: str, workdir: str, variables: tuple[str, ...]
) -> int:
    """One command."""
    from machinespawn.machines import lifecycle

    config, env = call.config(), dict(definitions(variables, "-e"))
    return _answered(call, lambda: lifecycle.command(config, name, words(command), user=user, cwd=workdir, env=env))


@command("shell", help=_("Open a login shell in a machine; its exit status is the shell's."))
@click.argument("name")
@_USER
def shell(call: Call, name: str, user: str) -> int:
    """The user's own shell."""
    from machinespawn.machines import lifecycle

    return _answered(call, lambda: lifecycle.shell(call.config(), name, user))


@command("stop", help=_("Shut a machine down, and end it if that takes too long."))
@click.argument("name")
@_TIMEOUT
def stop(call: Call, name: str, timeout: float) -> None:
    """Power off, or kill."""
    from machinespawn.machines import lifecycle

    how = lifecycle.stop(call.config(), name, timeout=timeout)
    text = {"poweroff": _("{name} is shut down"), "killed": _("{name} did not shut down in time and was killed")}[how]
    give(call, {"name": name, "how": how}, lambda: print(text.format(name=name)))


@command("kill", help=_("Send a signal to a machine's init, or to all that runs in it. KILL ends the machine."))
@click.argument("name")
@click.option("-s", "--signal", default="KILL", metavar="SIGNAL", help=_("TERM, RTMIN+4, 15, …; default: KILL."))
@click.option("--all", "everybody", is_flag=True, help=_("To every process of it, not to its init alone."))
def kill(call: Call, name: str, signal: str, everybody: bool) -> None:
    """One signal."""
    from machinespawn.machines import lifecycle

    lifecycle.kill(call.config(), name, signal, "all" if everybody else "leader")
    data = {"name": name, "signal": signal}
    give(call, data, lambda: print(_("{signal} is sent to {name}").format(signal=signal, name=name)))


def _answered(call: Call, work: Callable[[], int]) -> int:
    """Let work have our streams; with --json, what it printed and its status are the data. Gives its status."""
    settle(call.voice)
    if not call.json:
        return work()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with _into(out, 1), _into(err, 2):
            status = work()
        printed = [_text(stream) for stream in (out, err)]
    give(call, {"status": status, "stdout": printed[0], "stderr": printed[1]}, lambda: None)
    return status


@contextlib.contextmanager
def _into(file: IO[bytes], descriptor: int) -> Iterator[None]:
    """What is written to the descriptor goes to the file while the block runs."""
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(descriptor)
    os.dup2(file.fileno(), descriptor)
    try:
        yield
    finally:
        os.dup2(before, descriptor)
        os.close(before)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
