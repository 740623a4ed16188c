"""The one place a build works in: a tmpfs at /run/machinespawn/build, in its own mount namespace.

Only processes of the build see it, so its path is the same for every build,
short, and open to apt's unprivileged downloader; whatever happens, nothing of
it is left.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from machinespawn.config import Config
from machinespawn.host import linux

NSPAWN_STATE = Path("/run/systemd/nspawn")


@dataclass(frozen=True)
class Workspace:
    """Paths of a build in progress."""

    top: Path

    @property
    def root(self) -> Path:
        """Where the tree that is being made is mounted."""
        return self.top / "root"

    @property
    def lower(self) -> Path:
        """Where layers are mounted to be read."""
        return self.top / "lower"

    @property
    def sources(self) -> Path:
        """The sources.list of the build."""
        return self.top / "sources.list"

    @property
    def archives(self) -> Path:
        """Where packages are downloaded to; the shared cache is behind it."""
        return self.top / "archives"

    @property
    def lists(self) -> Path:
        """apt's package lists."""
        return self.top / "lists"

    @property
    def temporary(self) -> Path:
        """TMPDIR of the programs of the build."""
        return self.top / "tmp"


@contextlib.contextmanager
def opened(config: Config) -> Iterator[Workspace]:
    """Mount the workspace. Only for use in isolated(): the mount is private there."""
    space = Workspace(config.run / "build")
    space.top.mkdir(parents=True, exist_ok=True, mode=0o755)
    NSPAWN_STATE.mkdir(parents=True, exist_ok=True, mode=0o700)
    # two builds at once, or one that is killed, must not meet in what systemd-nspawn notes there
    linux.mount("tmpfs", NSPAWN_STATE, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=700")
    linux.mount("tmpfs", space.top, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")
    umask = os.umask(0o022)
    try:
        for directory in (space.root, space.lower, space.archives, space.lists, space.temporary):
            directory.mkdir()
        space.temporary.chmod(0o1777)
        yield space
    finally:
        os.umask(umask)
        linux.unmount(space.top)
        linux.unmount(NSPAWN_STATE)
