"""Pseudo terminals: of the host's or of a machine's own devpts."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import struct
import termios
from dataclasses import dataclass

from machinespawn.errors import MachinespawnError
from machinespawn.host import linux
from machinespawn.text import _

STREAMS = (0, 1, 2)
TIOCSPTLCK, TIOCGPTPEER = 0x40045431, 0x5441
PTMX = os.makedev(5, 2)
GROUP_TTY = 5


@dataclass(frozen=True)
class Pty:
    """Both ends of a pseudo terminal."""

    master: int
    slave: int


def ours() -> tuple[int, ...]:
    """Those of our standard streams that are a terminal."""
    return tuple(stream for stream in STREAMS if os.isatty(stream))


def of_host() -> Pty:
    """A pseudo terminal of the host's."""
    return Pty(*os.openpty())


def of_machine(leader: int, owner: int, group: int) -> Pty:
    """A pseudo terminal that the machine knows by name; owner and group are the host's numbers.

    The machine's /dev is the machine's to arrange: no link in it is followed
    out of it, and what is opened must be a ptmx.
    """
    root = os.open(f"/proc/{leader}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        node = linux.open_in_root(root, "dev/pts/ptmx", os.O_PATH)
        try:
            status = os.fstat(node)
            if not stat.S_ISCHR(status.st_mode) or status.st_rdev != PTMX:
                raise MachinespawnError(
                    _("/dev/pts/ptmx of the machine is not what it should be"), _("use 'machinespawn exec' instead")
                )
            master = os.open(f"/proc/self/fd/{node}", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        finally:
            os.close(node)
    finally:
        os.close(root)
    fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
    slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    os.fchown(slave, owner, group)
    os.fchmod(slave, 0o620)
    return Pty(master, slave)


def copy_size(terminal: int, pty: Pty) -> None:
    """Give the pty the size of the terminal."""
    with contextlib.suppress(termios.error):
        termios.tcsetwinsize(pty.master, termios.tcgetwinsize(terminal))


def in_front(terminal: int) -> bool:
    """Whether we are the terminal's foreground job: others may neither read it nor change its mode."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False


def pass_through(slave: int) -> None:
    """Let the program's bytes through unchanged: they end on a terminal that is not raw itself."""
    attributes = termios.tcgetattr(slave)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
