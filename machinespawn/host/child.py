"""Children forked from this process: they die with it, and what they answer comes back, an error of ours as itself."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from machinespawn import errors
from machinespawn.errors import MachinespawnError
from machinespawn.host import linux


@contextlib.contextmanager
def forked(body: Callable[[int], object]) -> Iterator[Callable[[], tuple[bytes, int]]]:
    """Run body in a child, with a descriptor to write its answer to; the child ends with body, with us or the block.

    Gives what waits for it: its answer, and its exit status (negative: ended by that signal).
    """
    ours = os.getpid()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _run(body, writer, ours)
    os.close(writer)
    with open(reader, "rb") as answers:
        ended = False

        def wait() -> tuple[bytes, int]:
            nonlocal ended
            answer = answers.read()
            _pid, status = os.waitpid(child, 0)
            ended = True
            return answer, os.waitstatus_to_exitcode(status)

        try:
            yield wait
        finally:
            if not ended:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


def _run(body: Callable[[int], object], writer: int, parent: int) -> NoReturn:
    """Never comes back into our caller's code, whatever happens."""
    status = 1
    try:
        linux.die_with_parent(signal.SIGKILL)
        if os.getppid() == parent:  # else it ended before we asked to die with it
            body(writer)
            status = 0
    except Exception as error:  # no traceback: body may have a hostile root, where that would look for our sources
        os.write(2, f"machinespawn: {type(error).__name__}: {error}\n".encode(errors="replace"))
    finally:
        os._exit(status)


def told(error: MachinespawnError) -> dict[str, Any]:
    """An error as it goes through JSON."""
    return {"error": type(error).__name__, "message": error.message, "hint": error.hint}


def error_in(answer: Mapping[str, Any]) -> MachinespawnError | None:
    """The error that was told, if it is one."""
    return errors.classes()[answer["error"]](answer["message"], answer["hint"]) if "error" in answer else None
