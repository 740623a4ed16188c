"""The host's apt, working on a tree.

apt downloads and checks outside the tree, with our keyring, proxy and caches,
and runs the tree's own dpkg inside it. So nothing of that gets into the tree,
and a release whose own apt is too old, or whose keys have expired, needs no
exception there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from machinespawn import shell
from machinespawn.build import indexes
from machinespawn.build.indexes import Index
from machinespawn.build.workspace import Workspace
from machinespawn.config import Config
from machinespawn.errors import MissingToolError, NetworkError
from machinespawn.progress import step
from machinespawn.store import layers, overlay
from machinespawn.text import _

PROXY_VARIABLES = ("http_proxy", "https_proxy")
EXPIRED_KEYS_WRAPPER = Path("/usr/libexec/mmdebstrap/gpgvnoexpkeysig")


@dataclass(frozen=True)
class Apt:
    """How apt is to work for one build."""

    space: Workspace
    architecture: str
    indexes: tuple[Index, ...]
    keyring: Path
    proxy: str
    check_dates: bool
    """False: a Release past its Valid-Until is accepted."""
    check_keys: bool
    """False: a signature by a key that has expired since is accepted."""
    log: Path

    @property
    def environment(self) -> dict[str, str]:
        """For apt and for what calls apt: our configuration before any other, the proxy, our TMPDIR."""
        proxy = dict.fromkeys(PROXY_VARIABLES, self.proxy) if self.proxy else {}
        return {**proxy, "TMPDIR": str(self.space.temporary)}


def sources(found: Sequence[Index], keyring: str, *, check_dates: bool) -> str:
    """Text of a sources.list; keyring is a path, or empty where the tree's own trust decides."""
    options = [f"signed-by={keyring}"] if keyring else []
    options += [] if check_dates else ["check-valid-until=no"]
    bracket = f"[{' '.join(options)}] " if options else ""
    return "".join(f"deb {bracket}{each.url} {each.suite} {' '.join(each.components)}\n" for each in found)


def options(apt: Apt) -> list[str]:
    """apt configuration lines that hold for every driver."""
    lines = ['Acquire::Languages "none";', 'Acquire::Retries "3";', 'Dpkg::Use-Pty "false";']
    if not apt.check_keys:
        if not EXPIRED_KEYS_WRAPPER.exists():
            raise MissingToolError(
                _("the keys of this release have expired, and apt needs mmdebstrap's gpgvnoexpkeysig to accept them"),
                "apt-get install mmdebstrap",
            )
        lines.append(f'Apt::Key::gpgvcommand "{EXPIRED_KEYS_WRAPPER}";')
    return lines


def _configuration(apt: Apt, tree: Path | None) -> str:
    """A configuration under which apt reads nothing of the host's and little of the tree's."""
    space = apt.space
    lines = [
        f'APT::Architecture "{apt.architecture}";',
        f'APT::Architectures {{ "{apt.architecture}"; }};',
        'APT::Install-Recommends "false";',
        'APT::Get::Assume-Yes "true";',
        f'Dir "{tree or space.temporary}";',
        f'Dir::State::status "{tree / "var/lib/dpkg/status" if tree else "/dev/null"}";',
        f'Dir::State::lists "{space.lists}";',
        f'Dir::Cache::archives "{tree / "var/cache/apt/archives" if tree else space.archives}";',
        'Dir::Cache::pkgcache "";',
        'Dir::Cache::srcpkgcache "";',
        'Dir::Etc::main "/dev/null";',
        'Dir::Etc::parts "/dev/null";',
        f'Dir::Etc::sourcelist "{space.sources}";',
        'Dir::Etc::sourceparts "/dev/null";',
        'Dir::Etc::trusted "/dev/null";',
        'Dir::Etc::trustedparts "/dev/null";',
        'Dir::Bin::methods "/usr/lib/apt/methods";',
        'Dir::Bin::solvers:: "/usr/lib/apt/solvers";',
        *options(apt),
    ]
    if tree:
        lines += [
            f'DPkg::Chroot-Directory "{tree}";',
            'Dir::Bin::dpkg "env";',  # so that nothing of our environment reaches a maintainer script
            "DPkg::Options {"
            + "".join(f' "--unset={name}";' for name in ("TMPDIR", "APT_CONFIG", *PROXY_VARIABLES))
            + ' "dpkg"; "--force-unsafe-io"; "--force-confdef"; "--force-confold"; };',
        ]
    return "\n".join(lines) + "\n"


def _run(apt: Apt, tree: Path | None, arguments: Sequence[str]) -> shell.Result:
    apt.space.sources.write_text(sources(apt.indexes, str(apt.keyring), check_dates=apt.check_dates))
    configuration = apt.space.top / "apt.conf"
    configuration.write_text(_configuration(apt, tree))
    environment = {**apt.environment, "APT_CONFIG": str(configuration)}
    return shell.run(["apt-get", *arguments], env=environment, log=apt.log)


def download(apt: Apt, packages: Sequence[str]) -> None:
    """Have packages, and what they need, at space.archives: in the version of the first suite."""
    first = dataclasses.replace(apt, indexes=apt.indexes[:1])
    _run(first, None, ["install", "--download-only", *packages])


def install(apt: Apt, packages: Sequence[str], *, upgrade: bool = False) -> None:
    """Install packages into the tree at space.root; with upgrade, first bring all of it to the suites' level."""
    tree = apt.space.root
    with overlay.furnished(tree), _downloads(tree, apt.space.archives), _no_services(tree):
        if upgrade:
            _run(apt, tree, ["dist-upgrade"])
        if packages:
            _run(apt, tree, ["install", *packages])


def priorities(apt: Apt, wanted: Sequence[str]) -> tuple[str, ...]:
    """Names of the packages of these priorities in the first suite."""
    found: set[str] = set()
    for paragraph in _index(apt).split("\n\n"):
        priority = re.search(r"^Priority: (.+)$", paragraph, re.MULTILINE)
        name = re.search(r"^Package: (.+)$", paragraph, re.MULTILINE)
        if priority and name and priority[1] in wanted:
            found.add(name[1])
    return tuple(sorted(found))


def offers(apt: Apt, package: str) -> bool:
    """Whether the first suite has the package."""
    return f"\nPackage: {package}\n" in "\n" + _index(apt)


def _index(apt: Apt) -> str:
    """The first suite's Packages, all components."""
    release = f"Release: {apt.indexes[0].suite}"
    listed = _run(apt, None, ["indextargets", "--format", "$(FILENAME)", "Identifier: Packages", release])
    files = listed.stdout.split()
    return "\n".join(shell.run(["/usr/lib/apt/apt-helper", "cat-file", file]).stdout for file in files)


@contextlib.contextmanager
def _downloads(tree: Path, archives: Path) -> Iterator[None]:
    """The shared packages, where the tree's dpkg sees them too."""
    (tree / "var/cache/apt/archives").mkdir(parents=True, exist_ok=True)
    with overlay.bound(archives, tree / "var/cache/apt/archives"):
        yield


@contextlib.contextmanager
def _no_services(tree: Path) -> Iterator[None]:
    """Maintainer scripts start no service: policy-rc.d(8) answers 101, action forbidden."""
    policy = tree / "usr/sbin/policy-rc.d"
    descriptor = os.open(policy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o755)
    with open(descriptor, "w") as stream:
        stream.write("#!/bin/sh\nexit 101\n")
    try:
        yield
    finally:
        policy.unlink()


@contextlib.contextmanager
def shared_archives(config: Config, space: Workspace, *, use_cache: bool) -> Iterator[None]:
    """Downloaded packages at space.archives: every one that any build has had, by hard link.

    A build works on links of its own, so that apt's lock on its archives never
    makes two builds meet; what is new is linked back when the build goes well.
    """
    pool = config.cache / "archives"
    pool.mkdir(parents=True, exist_ok=True)
    with layers.staging(pool, "build", config) as private:
        private.chmod(0o755)
        for deb in _debs(pool) if use_cache else ():
            with contextlib.suppress(FileNotFoundError):
                os.link(pool / deb, private / deb)
        with overlay.bound(private, space.archives):
            yield
        for deb in _debs(private):
            with contextlib.suppress(FileExistsError):
                os.link(private / deb, pool / deb)


def _debs(directory: Path) -> list[str]:
    return [entry.name for entry in os.scandir(directory) if entry.name.endswith(".deb") and entry.is_file()]


@contextlib.contextmanager
def shared_lists(config: Config, apt: Apt) -> Iterator[bool]:
    """The package lists of apt.indexes at space.lists, downloaded once for all builds.

    Gives False where the archive has moved on since the indexes were read: the
    caller reads them again.
    """
    name = hashlib.sha256(f"{apt.architecture}\n{apt.indexes!r}".encode()).hexdigest()
    final = config.cache / "lists" / name
    if not final.exists():
        with layers.staging(final.parent, "update", config) as staged:
            staged.chmod(0o755)
            with step(_("package lists")), overlay.bound(staged, apt.space.lists):
                _run(apt, None, ["update", "--error-on=any"])
                if not _same(apt):
                    yield False
                    return
            with contextlib.suppress(OSError):  # another build was first
                staged.rename(final)
            if not final.exists():
                raise NetworkError(_("the package lists in {path} vanished").format(path=final))
    with overlay.bound(final, apt.space.lists):
        yield True


def _same(apt: Apt) -> bool:
    """Whether the Releases that apt has just fetched are those that the indexes were read from."""
    dates = set()
    for file in apt.space.lists.iterdir():
        if file.name.endswith(("_InRelease", "_Release")):
            fields, _digests = indexes.release(file.read_text())
            dates.add(fields.get("Date", ""))
    return {index.date for index in apt.indexes} <= dates
