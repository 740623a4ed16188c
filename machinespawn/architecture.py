"""The architecture we stand on, by the name that recipes use."""

from __future__ import annotations

import os
import sys

_DEBIAN_NAMES = {
    "x86_64": "amd64",
    "i386": "i386",
    "i486": "i386",
    "i586": "i386",
    "i686": "i386",
    "aarch64": "arm64",
    "armv8l": "armhf",
    "armv7l": "armhf",
    "armv6l": "armel",
    "armv5tel": "armel",
    "ppc64le": "ppc64el",
    "riscv64": "riscv64",
    "s390x": "s390x",
    "loongarch64": "loong64",
}
"""What uname says -> Debian's name."""


def native() -> str:
    """Debian's name of this host's architecture."""
    machine = os.uname().machine
    if machine in ("mips", "mips64") and sys.byteorder == "little":
        return f"{machine}el"
    return _DEBIAN_NAMES.get(machine, machine)
