"""mmdebstrap: apt resolves, downloads and checks; all suites in one go."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from machinespawn import shell
from machinespawn.build import apt
from machinespawn.build.drivers import Job
from machinespawn.store import overlay

NAME = "mmdebstrap"
HOOKS = "/usr/share/mmdebstrap/hooks"
OLD_INIT = ("jessie", "xenial")
"""Releases whose init-system-helpers is older than 1.34: there init was essential, which the hook makes up for."""
SKIPPED = (
    "check/empty",  # the two directories that are mounted below are there already
    "check/signed-by",
    "update",  # the lists are shared
    "essential/unlink",  # so are the packages
    "cleanup/apt",
    "output/dev",
)


def version() -> str:
    """As mmdebstrap says it: 1.3.5; read from the script, for Perl takes 0.25 s to say it."""
    head = Path(shell.require(NAME)).read_bytes()[:4096].decode(errors="replace")
    match = re.search(r"^our \$VERSION = '([\d.~+a-z]+)';$", head, re.MULTILINE)
    return match[1] if match else shell.run([NAME, "--version"]).stdout.strip().removeprefix("mmdebstrap ")


def build(job: Job) -> None:
    """Fill the tree."""
    tree = job.apt.space.root
    archives, lists = tree / "var/cache/apt/archives", tree / "var/lib/apt/lists"
    for directory in (archives, lists):
        directory.mkdir(parents=True)
    sources = apt.sources(job.apt.indexes, str(job.apt.keyring), check_dates=job.apt.check_dates)
    hooks = _hooks(job)
    with overlay.bound(job.apt.space.archives, archives), overlay.bound(job.apt.space.lists, lists):
        shell.run(command(job, hooks), env=job.apt.environment, stdin=sources, log=job.apt.log)


def _hooks(job: Job) -> list[str]:
    """What mmdebstrap's maybe-merged-usr finds out too, but only after another update of the lists."""
    merged = ["merged-usr"] if apt.offers(job.apt, "usr-is-merged") else []
    return merged + (["maybe-jessie-or-older"] if job.apt.indexes[0].suite in OLD_INIT else [])


def command(job: Job, hooks: Sequence[str]) -> list[str]:
    """mmdebstrap's arguments; the sources come on standard input."""
    return [
        "mmdebstrap",
        "--mode=root",
        "--format=directory",
        f"--variant={job.variant}",
        f"--architectures={job.apt.architecture}",
        f"--include={','.join(job.packages)}",
        *(f"--hook-dir={HOOKS}/{name}" for name in hooks),
        f"--skip={','.join(SKIPPED)}",
        "--dpkgopt=force-unsafe-io",
        *(f"--aptopt={line}" for line in apt.options(job.apt)),
        job.apt.indexes[0].suite,
        str(job.apt.space.root),
        "-",
    ]
