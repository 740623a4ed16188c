"""debootstrap: the suite itself; the other suites and packages come from apt afterwards.

debootstrap follows the first alternative of each dependency and knows one
suite, so only the variant's own packages are left to it.
"""

from __future__ import annotations

from machinespawn import shell
from machinespawn.build import apt
from machinespawn.build.drivers import VARIANTS, Job
from machinespawn.errors import ProgramError
from machinespawn.store import inside, overlay

NAME = "debootstrap"
SCRIPTS = "/usr/share/debootstrap/scripts"


def version() -> str:
    """As debootstrap says it."""
    return shell.run(["debootstrap", "--version"]).stdout.strip().removeprefix("debootstrap ")


def build(job: Job) -> None:
    """Fill the tree."""
    tree = job.apt.space.root
    archives = tree / "var/cache/apt/archives"
    archives.mkdir(parents=True)
    wanted = VARIANTS[job.variant]
    # apt fetches over one connection and gives up in time; wget's 20 patient tries are per package
    apt.download(job.apt, ("apt", *apt.priorities(job.apt, wanted)))
    limits = job.apt.space.top / "wgetrc"
    limits.write_text("tries = 2\nwaitretry = 1\ntimeout = 20\n")
    with overlay.bound(job.apt.space.archives, archives):
        try:
            shell.run(command(job), env={**job.apt.environment, "WGETRC": str(limits)}, log=job.apt.log)
        except ProgramError as error:
            tail = (inside.read(tree, "debootstrap/debootstrap.log") or "").splitlines()[-shell.TAIL_LINES :]
            raise ProgramError("\n".join([error.message, *tail]), error.hint, error.status, error.output) from error
    extra = apt.priorities(job.apt, ("standard",)) if "standard" in wanted else ()
    apt.install(job.apt, (*job.packages, *extra), upgrade=True)


def command(job: Job) -> list[str]:
    """debootstrap's arguments. The script is always named, so that a suite without one of its own works."""
    index = job.apt.indexes[0]
    variant = {"minbase": ["--variant=minbase"], "buildd": ["--variant=buildd"]}.get(job.variant, [])
    return [
        "debootstrap",
        *variant,
        f"--arch={job.apt.architecture}",
        f"--components={','.join(index.components)}",
        f"--keyring={job.apt.keyring}",
        "--force-check-gpg",
        index.suite,
        str(job.apt.space.root),
        index.url,
        f"{SCRIPTS}/{job.source.script}",
    ]
