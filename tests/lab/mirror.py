"""A small apt mirror on loopback: packages published as suites, signed with a key of its own, served over HTTP.

It can misbehave as mirrors do: stand still until its Release has expired, carry
a wrong signature, hand out other bytes than it promised, go away half-way.
"""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import unquote

from machinespawn.architecture import native
from tests.lab import debs
from tests.lab.debs import Deb
from tests.lab.http import Answer, serving
from tests.lab.signing import Signer, signer


@dataclass(frozen=True)
class Archive:
    """What the Releases of an archive say."""

    origin: str = "Ubuntu"
    codename: str = "jammy"
    version: str = "22.04"
    components: tuple[str, ...] = ("main", "universe")
    """Packages go to the first; the others are there, and empty."""
    architecture: str = field(default_factory=native)
    valid_until: datetime | None = None


def publish(directory: Path, suites: Mapping[str, Sequence[Deb]], archive: Archive, key: Signer) -> None:
    """Lay out the archive below directory: pool/, and dists/SUITE/ with signed Releases."""
    for suite, packages in suites.items():
        first, *others = archive.components
        pool = directory / "pool" / first / suite
        pool.mkdir(parents=True, exist_ok=True)
        for deb in packages:
            target = pool / re.sub(r"_\d+%3a", "_", deb.path.name)  # archives leave the epoch out
            if not target.exists():
                _link(deb.path, target)
        index = _packages(directory, pool, packages) if packages else ""
        for component in (first, *others):
            where = directory / "dists" / suite / component / f"binary-{archive.architecture}"
            where.mkdir(parents=True, exist_ok=True)
            text = (index if component == first else "").encode()
            (where / "Packages").write_bytes(text)
            (where / "Packages.gz").write_bytes(gzip.compress(text, 1, mtime=0))
            (where / "Packages.xz").write_bytes(lzma.compress(text, preset=0))
        release(directory, suite, archive, key)


def _link(source: Path, target: Path) -> None:
    """By hard link where the file system allows it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def _packages(directory: Path, pool: Path, packages: Sequence[Deb]) -> str:
    """The text of Packages; priorities are the archive's, which is what debootstrap goes by."""
    with tempfile.NamedTemporaryFile("w", suffix=".override") as override:
        override.writelines(f"{deb.name}\t{deb.priority}\tmisc\n" for deb in packages)
        override.flush()
        argv = ["apt-ftparchive", "--md5=false", "--sha1=false", "--sha512=false", "packages"]
        where = str(pool.relative_to(directory))
        done = subprocess.run([*argv, where, override.name], cwd=directory, capture_output=True, text=True, check=True)
    return done.stdout


def release(directory: Path, suite: str, archive: Archive, key: Signer) -> None:
    """Write Release, Release.gpg and InRelease of one suite anew."""
    where = directory / "dists" / suite
    for name in ("Release", "Release.gpg", "InRelease"):
        (where / name).unlink(missing_ok=True)
    fields = {
        "Origin": archive.origin,
        "Label": archive.origin,
        "Suite": suite,
        "Codename": archive.codename,
        "Version": archive.version,
        "Architectures": archive.architecture,
        "Components": " ".join(archive.components),
        "Description": f"{archive.origin} {archive.version} for tests",
    }
    options = [f"--option=APT::FTPArchive::Release::{name}={value}" for name, value in fields.items()]
    done = subprocess.run(["apt-ftparchive", *options, "release", str(where)], capture_output=True, check=True)
    text = done.stdout
    if archive.valid_until:
        until = format_datetime(archive.valid_until.astimezone(UTC), usegmt=True).replace("GMT", "UTC")
        text = text.replace(b"\nDate: ", f"\nValid-Until: {until}\nDate: ".encode())
    (where / "Release").write_bytes(text)
    (where / "Release.gpg").write_bytes(key.sign(text))
    (where / "InRelease").write_bytes(key.clearsign(text))


@dataclass
class Mirror:
    """A mirror that is being served."""

    url: str
    directory: Path
    """What is served; a test may change it."""
    keyring: Path
    key: Signer
    archive: Archive
    suites: dict[str, tuple[Deb, ...]]
    requests: list[str]
    """Paths that were asked for, in order."""
    debs_left: int | None = None
    """After so many packages it answers no more requests for packages; None: it goes on."""

    def republish(self, archive: Archive, key: Signer | None = None) -> None:
        """Write all Releases anew: with another date, or signed by another key."""
        for suite in self.suites:
            release(self.directory, suite, archive, key or self.key)

    def snapshot(self, date: str) -> None:
        """Keep what is there now below /DATE/, as snapshot archives do."""
        for name in ("dists", "pool"):
            shutil.copytree(self.directory / name, self.directory / date / name, copy_function=_link_anew)

    def spoil(self, pattern: str) -> None:
        """Change a byte in the files that match the glob pattern, after they were signed."""
        paths = list(self.directory.glob(pattern))
        assert paths, f"the mirror has no {pattern}"
        for path in paths:
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.unlink()  # it may be a link to what others use
            path.write_bytes(data)

    def reply(self, path: str, headers: dict[str, str]) -> Answer | None:
        """The file at path; nothing at all once the mirror has gone."""
        if path.endswith(".deb") and self.debs_left is not None:
            if self.debs_left == 0:
                return None
            self.debs_left -= 1
        file = (self.directory / unquote(path).lstrip("/")).resolve()
        if not file.is_relative_to(self.directory.resolve()) or not file.is_file():
            return 404, b"", {}
        return 200, file.read_bytes(), {"Content-Type": "application/octet-stream"}


def _link_anew(source: str, target: str) -> None:
    _link(Path(source), Path(target))


@contextlib.contextmanager
def mirror(suites: Mapping[str, Sequence[Deb]], archive: Archive, key: Signer) -> Iterator[Mirror]:
    """Publish and serve until the block is left."""
    with tempfile.TemporaryDirectory(prefix="lab-mirror.", dir="/var/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        publish(directory, suites, archive, key)
        keyring = key.export(directory / "lab-keyring.gpg")
        served = {suite: tuple(packages) for suite, packages in suites.items()}
        made = Mirror("", directory, keyring, key, archive, served, [])
        with serving(made.reply) as server:
            made.url, made.requests = server.url, server.requests
            yield made


@contextlib.contextmanager
def ubuntu(codename: str = "jammy", version: str = "22.04", packages: Sequence[str] = debs.BASE) -> Iterator[Mirror]:
    """A mirror in Ubuntu's layout, of Debian's packages.

    The package crumb is in all three suites: version 1 in the release, 2 in
    its updates and 3 in its security updates.
    """
    with signer("Throwaway archive") as key, tempfile.TemporaryDirectory() as name:
        crumbs = [debs.tiny(Path(name), "crumb", str(n), {"/etc/crumb": f"{n}\n"}) for n in (1, 2, 3)]
        first, update, fix = crumbs
        suites = {
            codename: (*debs.debian(packages), first),
            f"{codename}-updates": (update,),
            f"{codename}-security": (fix,),
        }
        with mirror(suites, Archive(codename=codename, version=version), key) as made:
            yield made
