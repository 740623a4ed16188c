"""The socket on which systemd-nspawn tells who the leader is and when the machine is ready, sd_notify(3)."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from machinespawn.errors import UsageError
from machinespawn.text import _

LARGEST = 16 * 1024


@dataclass(frozen=True)
class Listener:
    """Our end. systemd-nspawn does without it once we are gone."""

    path: Path
    socket: socket.socket

    def messages(self) -> Iterator[dict[str, str]]:
        """What has arrived, each datagram as variables; does not wait."""
        with contextlib.suppress(BlockingIOError):
            while True:
                text = self.socket.recv(LARGEST).decode(errors="replace")
                yield dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self.socket.fileno()


@contextlib.contextmanager
def listening(path: Path) -> Iterator[Listener]:
    """A socket at path, in a directory that only root may enter, for as long as the block takes."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)) as ours:
        try:
            ours.bind(os.fspath(path))
        except OSError as error:
            raise UsageError(
                _("no socket can be made at {path}: {error}").format(path=path, error=error),
                _("socket paths end at 107 characters: use a root with a shorter path"),
            ) from error
        try:
            ours.setblocking(False)
            yield Listener(path, ours)
        finally:
            path.unlink(missing_ok=True)
