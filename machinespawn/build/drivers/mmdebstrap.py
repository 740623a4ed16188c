"""mmdebstrap: apt resolves, downloads and checks; all suites in one go."""

from __future__ import annotations

import re
from pathlib import Path

from machinespawn import shell
from machinespawn.build import apt
from machinespawn.build.drivers import Job
from machinespawn.store import overlay

NAME = "mmdebstrap"
HOOKS = Path("/usr/share/mmdebstrap/hooks")
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
    with overlay.bound(job.apt.space.archives, archives), overlay.bound(job.apt.space.lists, lists):
        shell.run(command(job), env=job.apt.environment, stdin=sources, log=job.apt.log)


def command(job: Job) -> list[str]:
    """mmdebstrap's arguments; the sources come on standard input."""
    suite = job.apt.indexes[0].suite
    hook = "maybe-jessie-or-older" if suite in ("jessie", "xenial") else "maybe-merged-usr"
    return [
        "mmdebstrap",
        "--mode=root",
        "--format=directory",
        f"--variant={job.variant}",
        f"--architectures={job.apt.architecture}",
        f"--include={','.join(job.packages)}",
        f"--hook-dir={HOOKS / hook}",
        f"--skip={','.join(SKIPPED)}",
        "--dpkgopt=force-unsafe-io",
        *(f"--aptopt={line}" for line in apt.options(job.apt)),
        suite,
        str(job.apt.space.root),
        "-",
    ]
