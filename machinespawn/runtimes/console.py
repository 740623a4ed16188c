"""What a machine wrote to its console: one log per boot, the one before kept."""

from __future__ import annotations

import os
import re
from pathlib import Path

from machinespawn.config import Config

TAIL_LINES = 25
TAIL_BYTES = 64 * 1024

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x1b\x07]*(?:\x1b\\|\x07)?|[ -/]*[0-~])|\r")


def path(config: Config, name: str) -> Path:
    """The log of the last boot, or of this one."""
    return config.logs / f"{name}.log"


def previous(config: Config, name: str) -> Path:
    """The log of the boot before."""
    return config.logs / f"{name}.log.1"


def rotate(config: Config, name: str) -> Path:
    """Start a new log, for root's eyes only, and give its path."""
    log = path(config, name)
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if log.exists():
        os.replace(log, previous(config, name))
    os.close(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    return log


def remove(config: Config, name: str) -> None:
    """Remove the machine's logs."""
    for log in (path(config, name), previous(config, name)):
        log.unlink(missing_ok=True)


def readable(text: str) -> str:
    """Without what would act on a terminal: the machine may print anything."""
    return "".join(each for each in _ESCAPES.sub("", text) if each.isprintable() or each in "\n\t")


def tail(log: Path) -> str:
    """The end of a log, for an error; empty if there is none."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - TAIL_BYTES))
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(readable(text).strip().splitlines()[-TAIL_LINES:])
