"""Trees as archives: a whole one as GNU tar packs it, and a small one that runs programs but boots nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

COMPRESSORS = {"xz": "xz -0 -T0", "zst": "zstd -1"}
PROGRAMS = ("sh", "cat", "sleep")


def packed(tree: Path, compression: str) -> bytes:
    """The tree as root packs one, with tar."""
    argv = ["tar", "--create", "--numeric-owner", "--xattrs", f"--use-compress-program={COMPRESSORS[compression]}"]
    return _output([*argv, f"--directory={tree}", "."])


def small(tree: Path) -> bytes:
    """A plain tar of some programs of the tree and what these need: no init, no package manager."""
    programs = [f"/usr/bin/{name}" for name in PROGRAMS]
    needed = {
        word for word in _output(["chroot", str(tree), "ldd", *programs]).decode().split() if word.startswith("/lib")
    }
    directories = {str(parent) for name in needed for parent in Path(name).parents} - {"/"}
    names = ["/etc", "/usr", "/usr/bin", *sorted(directories), "/etc/os-release", *programs, *sorted(needed)]
    argv = ["chroot", str(tree), "tar", "--create", "--dereference", "--no-recursion", "--directory=/"]
    return _output([*argv, *(name.lstrip("/") for name in names)])


def _output(argv: Sequence[str]) -> bytes:
    return subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout
