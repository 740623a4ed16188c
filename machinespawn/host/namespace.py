"""Work in mount, pid and ipc namespaces of its own, which die with us however we die.

A build mounts, and starts programs that start programs. Run here, all of it is
the kernel's to clear away: when the parent ends, SIGKILL included, the child
that is PID 1 of the namespaces ends with it, with it every process in there,
and with the last of them the mounts.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from machinespawn.errors import MachinespawnError
from machinespawn.host import child, linux
from machinespawn.text import _


def isolated(work: Callable[[], Any], *, network: bool = True) -> Any:
    """Run work in the namespaces and give what it gives, which must go through JSON.

    Without ``network`` there is none in there, for nobody: not even loopback is up.

    An error of ours is raised again here; anything else that work raises is
    printed by the child as a traceback and raised as MachinespawnError.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    more = 0 if network else linux.CLONE_NEWNET
    with child.forked(lambda writer: _first_child(work, writer, more)) as wait:
        answer, status = wait()
    if not answer:
        raise MachinespawnError(
            _("the build process ended without an answer ({how})").format(how=_how(status)),
            _("if something killed it (out of memory: see dmesg), run the command again: sealed layers are kept"),
        )
    found: dict[str, Any] = json.loads(answer)
    if error := child.error_in(found):
        raise error
    return found["value"]


def _how(status: int) -> str:
    if status < 0:
        return _("signal {number}").format(number=-status)
    return _("exit status {code}").format(code=status)


def _first_child(work: Callable[[], Any], writer: int, more: int) -> NoReturn:
    """Make the namespaces. Only a child of this process is inside the new pid namespace."""
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWIPC | more)
    mine, yours = socket.socketpair()
    init = os.fork()
    if init == 0:
        mine.close()
        _init(work, writer, yours)
    os.close(writer)
    yours.close()
    mine.recv(1)  # it has asked to die with us
    mine.send(b"g")
    try:
        _pid, status = os.waitpid(init, 0)
    except KeyboardInterrupt:
        _pid, status = os.waitpid(init, 0)
    os._exit(max(os.waitstatus_to_exitcode(status), 0))


def _init(work: Callable[[], Any], writer: int, parent: socket.socket) -> NoReturn:
    """PID 1 of the namespaces: private mounts, a /proc of its own, then the work."""
    linux.die_with_parent(signal.SIGKILL)
    parent.send(b"r")
    if not parent.recv(1):  # it ended before we asked to die with it
        os._exit(1)
    status = 0
    try:
        linux.mount("none", Path("/"), flags=linux.MS_REC | linux.MS_PRIVATE)
        linux.mount("proc", Path("/proc"), "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        answer: dict[str, Any] = {"value": work()}
    except MachinespawnError as error:
        answer = child.told(error)
    except KeyboardInterrupt:
        answer, status = {}, 130
    except BaseException:
        import traceback

        traceback.print_exc()
        answer = {
            "error": "MachinespawnError",
            "message": _("a fault in machinespawn itself; the traceback is above"),
            "hint": _("please report it with the traceback and the command"),
        }
    if answer:
        with open(writer, "wb") as stream:
            stream.write(json.dumps(answer).encode())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
