"""Build times beside the plain tools, interleaved in one run: medians, and ratios pair by pair.

Every round runs each contender once, in turn, so that a machine that slows
down slows all of them down. Cold means a new root: no layer, no download.

    python tests/bench/build.py [ROUNDS] [RECIPE]
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from machinespawn.architecture import native
from machinespawn.build import source
from machinespawn.build.wanted import Wanted
from machinespawn.config import Config
from machinespawn.fetch import keyrings
from machinespawn.recipe import load

MACHINESPAWN = (sys.executable, "-m", "machinespawn")


def timed(work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def quietly(argv: list[str], stdin: str = "") -> None:
    done = subprocess.run(argv, input=stdin, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{argv}: exit status {done.returncode}\n{done.stderr[-2000:]}")


class Contenders:
    """Each run leaves nothing behind; the warm one stands on a root that a first build filled."""

    def __init__(self, recipe: str, directory: Path) -> None:
        self.directory = directory
        self.recipe = recipe
        loaded = load.load(recipe, Config(), variables={}, architecture=native())
        assert loaded.apt is not None
        self.packages = ",".join(loaded.base_packages)
        self.archives = source.archives(loaded, loaded.apt, native(), Wanted(recipe), Config())
        self.script = loaded.apt.script
        files = keyrings.find(loaded.apt.keyrings, Config(), package=loaded.apt.keyring_package)
        self.keyring = keyrings.merged(files, directory / "keyrings")
        directory.chmod(0o755)
        self.ours(directory / "warm", "first")

    def ours(self, root: Path, name: str, *options: str) -> None:
        quietly([*MACHINESPAWN, "--root", str(root), "bootstrap", self.recipe, name, *options])

    def cold(self, driver: str) -> Callable[[], None]:
        def run() -> None:
            root = self.directory / f"cold-{driver}"
            self.ours(root, "bread", "--driver", driver)

        return run

    def warm(self) -> None:
        self.ours(self.directory / "warm", "bread")

    def mmdebstrap(self) -> None:
        lines = "".join(
            f"deb [signed-by={self.keyring}] {each.urls[0]} {each.suite.name} {' '.join(each.components)}\n"
            for each in self.archives
        )
        hook = "--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr"
        target = self.directory / "plain-mmdebstrap"
        argv = ["mmdebstrap", "--mode=root", "--format=directory", "--variant=minbase", hook]
        argv += [f"--include={self.packages}", self.archives[0].suite.name, str(target), "-"]
        quietly(argv, lines)

    def debootstrap(self) -> None:
        target = self.directory / "plain-debootstrap"
        first = self.archives[0]
        argv = ["debootstrap", "--variant=minbase", f"--include={self.packages}", f"--keyring={self.keyring}"]
        argv += ["--force-check-gpg", first.suite.name, str(target), first.urls[0]]
        quietly([*argv, f"/usr/share/debootstrap/scripts/{self.script}"])


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    recipe = sys.argv[2] if len(sys.argv) > 2 else "debian-bookworm"
    scratch = Path(tempfile.mkdtemp(prefix="machinespawn-bench-", dir="/var/tmp"))
    try:
        contenders = Contenders(recipe, scratch)
        table: dict[str, Callable[[], None]] = {
            "machinespawn, cold, mmdebstrap": contenders.cold("mmdebstrap"),
            "plain mmdebstrap": contenders.mmdebstrap,
            "machinespawn, cold, debootstrap": contenders.cold("debootstrap"),
            "plain debootstrap": contenders.debootstrap,
            "machinespawn, warm": contenders.warm,
        }
        seconds: dict[str, list[float]] = {name: [] for name in table}
        for _round in range(rounds):
            for name, run in table.items():
                seconds[name].append(timed(run))
                for left in (
                    *scratch.glob("cold-*"),
                    *scratch.glob("plain-*"),
                    *scratch.glob("warm/**/machines/bread"),
                ):
                    shutil.rmtree(left)
        report(recipe, rounds, seconds)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def report(recipe: str, rounds: int, seconds: dict[str, list[float]]) -> None:
    print(f"{recipe}, {rounds} rounds, {os.cpu_count()} cores; seconds, ratio to plain mmdebstrap")
    print(f"{'':34}{'min':>8}{'median':>8}{'max':>8}{'ratio':>8}")
    base = seconds["plain mmdebstrap"]
    for name, values in seconds.items():
        ratio = statistics.median(mine / theirs for mine, theirs in zip(values, base, strict=True))
        print(f"{name:34}{min(values):8.2f}{statistics.median(values):8.2f}{max(values):8.2f}{ratio:8.2f}")


if __name__ == "__main__":
    main()
