"""Work on hostile input in a child that sees nothing but one tree."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machinespawn.build.archive.tar import Damaged
from machinespawn.errors import BuildError, MachinespawnError
from machinespawn.host import child
from machinespawn.text import _

MEMORY = 1 << 30
"""Bytes the child may have: what it reads is parsed by code that trusts what headers promise."""

Work = Callable[[int], dict[str, int]]
"""Gets the descriptor to read from, gives numbers to report. Everything it uses must be imported before."""


@dataclass(frozen=True)
class Outcome:
    """How the work ended: numbers, an error of ours, or damaged input (what is wrong with it)."""

    numbers: dict[str, int]
    error: MachinespawnError | None = None
    damaged: str = ""


@contextlib.contextmanager
def confined(root: Path, data: int, work: Work, *, keep: tuple[int, ...] = ()) -> Iterator[Callable[[], Outcome]]:
    """Start work(data) in a child whose / is root; the function that is given waits for its end.

    The child has no descriptor but data, those of keep and the standard
    streams, and dies with us and with the block.
    """
    with child.forked(lambda writer: _body(root, data, work, writer, keep)) as wait:
        yield lambda: _outcome(*wait())


def _outcome(answer: bytes, status: int) -> Outcome:
    if not answer:
        text = _("the process that unpacks ended without an answer ({number})").format(number=status)
        return Outcome({}, BuildError(text, _("if something killed it (out of memory: see dmesg), try again")))
    found: dict[str, Any] = json.loads(answer)
    return Outcome(found.get("numbers", {}), child.error_in(found), found.get("damaged", ""))


def _body(root: Path, data: int, work: Work, writer: int, keep: tuple[int, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _close_all_but({0, 1, 2, data, writer, *keep})
    answer = json.dumps(_answer(root, data, work)).encode()
    while answer:
        answer = answer[os.write(writer, answer) :]


def _close_all_but(kept: set[int]) -> None:
    edges = sorted({*kept, resource.getrlimit(resource.RLIMIT_NOFILE)[0]})
    low = 0
    for edge in edges:
        if low < edge:  # an empty range at 0 would close everything (Python 3.11)
            os.closerange(low, edge)
        low = edge + 1


def _answer(root: Path, data: int, work: Work) -> dict[str, Any]:
    try:
        sys.meta_path.clear()  # a module that is not loaded by now would be one out of the archive
        os.chdir(root)
        os.chroot(".")
        os.umask(0o022)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        return {"numbers": work(data)}
    except MachinespawnError as error:
        return child.told(error)
    except Damaged as error:
        return {"damaged": str(error)}
    except OSError as error:
        return child.told(_system_error(error))
    except Exception as error:  # the border of the process: the parent raises it
        text = _("it cannot be unpacked: {error}").format(error=f"{type(error).__name__}: {error}"[:500])
        return child.told(BuildError(text, _("if other tools unpack it, please report this with the archive")))


def _system_error(error: OSError) -> BuildError:
    name = os.fsdecode(error.filename)[:200] if isinstance(error.filename, (str, bytes)) else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BuildError(_("no space is left to unpack to"), _("make room: machinespawn clean-cache"))
    return BuildError(
        _("{name!r} cannot be unpacked: {error}").format(name=name, error=os.strerror(error.errno or 0)),
        _("if the file system there is an ordinary one, the archive is not meant for Linux"),
    )
