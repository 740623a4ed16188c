"""What a machine logged: its journal, read from its tree whether it runs, has stopped or has crashed; or its console.

The host's journalctl reads the files, and nothing of the machine's is run for
it. The directory is opened here, following no link out of the tree, and handed
over as a descriptor.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from machinespawn import shell
from machinespawn.config import Config
from machinespawn.errors import NotFoundError, TrustError
from machinespawn.machines import status
from machinespawn.runtimes import console as consoles
from machinespawn.runtimes import state
from machinespawn.store import inside
from machinespawn.text import _

PERSISTENT, VOLATILE = "var/log/journal", "run/log/journal"
POLL = 0.2
"""Seconds between two looks at a console that is followed."""


def logs(
    config: Config,
    name: str,
    *,
    lines: int | None = None,
    follow: bool = False,
    since: str = "",
    unit: str = "",
    console: bool = False,
    as_json: bool = False,
) -> Iterator[str]:
    """Lines that the machine logged, oldest first, as they come; the last ``lines`` of them.

    The journal, or the console of the last boot if there is no journal or
    ``console`` asks for it. ``since`` is a time as journalctl takes it;
    ``as_json`` gives journalctl's JSON, an object per line. ``follow`` goes on
    until the caller stops, or the machine does. Raises NotFoundError at once
    if there is nothing.
    """
    machine = status.existing(config, name)
    log = consoles.path(config, name)
    root, path = _journal(config, name, machine.tree)
    if path and not console:
        return _read_journal(root, path, _options(lines, follow, since, unit, as_json))
    if log.exists() and not since and not unit and not as_json:
        return _read_console(config, name, log, lines, follow)
    raise NotFoundError(
        _("machine {name} has no journal").format(name=name),
        _("machinespawn logs --console {name}").format(name=name)
        if log.exists()
        else _("it has not been booted yet: machinespawn run {name}").format(name=name),
    )


def _journal(config: Config, name: str, tree: Path) -> tuple[Path, str]:
    """Where the journal is: a root, and a directory in it that is empty if there is none."""
    if _has_journal(tree, PERSISTENT):
        return tree, PERSISTENT
    run = state.running(config, name)
    if run and run.leader:
        root = Path(f"/proc/{run.leader.pid}/root")
        with contextlib.suppress(OSError):
            if _has_journal(root, VOLATILE):
                return root, VOLATILE
    return tree, ""


def _has_journal(root: Path, path: str) -> bool:
    """Whether a journal is there. Raises TrustError for one that is a link: journalctl would follow it to the host."""
    found = [
        os.path.join(path, directory, name)
        for directory in ("", *inside.names(root, path))
        for name in inside.names(root, os.path.join(path, directory))
        if name.endswith((".journal", ".journal~"))
    ]
    for file in found:
        if inside.is_link(root, file):
            raise TrustError(
                _("/{file} of the machine is a link, and its journal is not read").format(file=file),
                _("read it in the machine: machinespawn exec NAME -- journalctl"),
            )
    return bool(found)


def _options(lines: int | None, follow: bool, since: str, unit: str, as_json: bool) -> list[str]:
    return [
        "--no-pager",
        "--quiet",
        "--no-hostname",
        f"--output={'json' if as_json else 'short-iso'}",
        *([f"--lines={lines}"] if lines is not None else []),
        *(["--follow"] if follow else []),
        *([f"--since={since}"] if since else []),
        *([f"--unit={unit}"] if unit else []),
    ]


def _read_journal(root: Path, path: str, options: list[str]) -> Iterator[str]:
    with inside.directory(root, path) as descriptor, open(os.devnull, "rb") as nothing:
        argv = ["journalctl", f"--directory=/proc/{os.getpid()}/fd/{descriptor}", *options]
        with shell.stream(argv, nothing) as output:
            for line in output:
                yield consoles.readable(line.decode(errors="replace")).rstrip("\n")


def _read_console(config: Config, name: str, log: Path, lines: int | None, follow: bool) -> Iterator[str]:
    with log.open("rb") as stream:
        text = consoles.readable(stream.read().decode(errors="replace"))
        yield from text.splitlines()[-lines if lines else 0 :] if lines != 0 else []
        while follow and state.running(config, name):
            time.sleep(POLL)
            yield from consoles.readable(stream.read().decode(errors="replace")).splitlines()
