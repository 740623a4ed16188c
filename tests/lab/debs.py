"""Packages for a small mirror: Debian's own, with what they depend on, kept between runs; and tiny ones made here."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from machinespawn.architecture import native
from machinespawn.config import load
from machinespawn.files import locked, write_atomic
from machinespawn.host import apt

RELEASE = "bookworm"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
BASE = ("apt", "systemd", "systemd-sysv", "dbus", "libpam-systemd", "iproute2", "nano", "usr-is-merged")
"""What the recipes of Ubuntu start from, one more to add, and what mmdebstrap looks for."""

Paragraph = Mapping[str, str]


@dataclass(frozen=True)
class Deb:
    """A package file and the priority that its archive gives it."""

    path: Path
    name: str
    priority: str


def debian(packages: Sequence[str] = BASE) -> tuple[Deb, ...]:
    """The packages, all of priority required, and what they depend on, from the host's own Debian mirror.

    They lie below tests/ in the cache: a second run asks nobody.
    """
    key = hashlib.sha256(json.dumps([RELEASE, native(), sorted(packages)]).encode()).hexdigest()[:16]
    directory = load({})[0].cache / "tests" / "debs"
    listing = directory / f"{key}.json"
    with locked(directory / "lock"):
        if not listing.exists():
            _download(directory, listing, packages)
        rows = json.loads(listing.read_text())
    return tuple(Deb(directory / file, name, priority) for file, name, priority in rows)


def _download(directory: Path, listing: Path, packages: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="lab-apt.", dir="/var/tmp") as name:
        options = _own_apt(Path(name))
        _apt(directory, [*options, "update"])
        index = _apt(directory, [*options, "indextargets", "--format", "$(FILENAME)", "Identifier: Packages"])
        text = subprocess.run(
            ["/usr/lib/apt/apt-helper", "cat-file", index.strip()], capture_output=True, text=True, check=True
        ).stdout
        known = {paragraph["Package"]: paragraph for paragraph in _paragraphs(text)}
        wanted = closure(known, packages)
        missing = [each for each in wanted if not (directory / _file(known[each])).exists()]
        for some in (missing[start : start + 200] for start in range(0, len(missing), 200)):
            _apt(directory, [*options, "download", *(f"{each}={known[each]['Version']}" for each in some)])
    rows = [[_file(known[each]), each, known[each]["Priority"]] for each in wanted]
    assert all((directory / file).exists() for file, _name, _priority in rows)
    write_atomic(listing, json.dumps(rows))


def _own_apt(directory: Path) -> list[str]:
    """apt with sources and lists of its own, so that the host's state is neither needed nor changed."""
    (directory / "lists/partial").mkdir(parents=True)
    mirror = apt.mirrors("debian").main or "http://ftp.debian.org/debian"
    (directory / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} {RELEASE} main\n")
    settings = {
        "APT::Architecture": native(),
        "APT::Architectures": native(),
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Dir::Etc::sourcelist": str(directory / "sources.list"),
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::Lists": str(directory / "lists"),
        "Dir::State::status": "/dev/null",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
    }
    return [argument for name, value in settings.items() for argument in ("-o", f"{name}={value}")]


def _apt(directory: Path, arguments: Iterable[str]) -> str:
    done = subprocess.run(["apt-get", "-q", *arguments], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _file(paragraph: Paragraph) -> str:
    """The name that apt-get download gives it."""
    version = paragraph["Version"].replace(":", "%3a")
    return f"{paragraph['Package']}_{version}_{paragraph['Architecture']}.deb"


def _paragraphs(text: str) -> Iterator[Paragraph]:
    for paragraph in text.split("\n\n"):
        fields = dict(re.findall(r"^([\w-]+): (.*)$", paragraph, re.M))
        if fields:
            yield fields


def closure(known: Mapping[str, Paragraph], packages: Iterable[str]) -> list[str]:
    """Names of the packages, of all that are required, and of what these need.

    Of alternatives the first one that is there counts, as it does for debootstrap.
    """
    provided: dict[str, str] = {}
    for name, paragraph in known.items():
        for virtual in re.sub(r"\([^)]*\)", "", paragraph.get("Provides", "")).split(","):
            provided.setdefault(virtual.strip(), name)
    pending = [*packages, *(name for name, each in known.items() if each.get("Priority") == "required")]
    found: set[str] = set()
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found.add(name)
        for group in ", ".join(known[name].get(field, "") for field in ("Depends", "Pre-Depends")).split(","):
            names = [re.split(r"[\s(:]", part.strip(), maxsplit=1)[0] for part in group.split("|")]
            choice = next((each for each in names if each in known), provided.get(names[0], ""))
            if choice and names[0]:
                pending.append(choice)
    return sorted(found)


def tiny(directory: Path, name: str, version: str, files: Mapping[str, str]) -> Deb:
    """A package of a few text files, compressed with zstd as Ubuntu's are."""
    with tempfile.TemporaryDirectory() as top:
        tree = Path(top, "tree")
        for path, content in {
            "DEBIAN/control": f"Package: {name}\nVersion: {version}\nArchitecture: all\nPriority: optional\n"
            f"Section: misc\nMaintainer: Lab <lab@example.org>\nDescription: {name} for tests\n",
            **files,
        }.items():
            (tree / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            (tree / path.lstrip("/")).write_text(content)
        tree.chmod(0o755)
        for parent, names, _files in os.walk(tree):
            for each in names:
                Path(parent, each).chmod(0o755)
        made = directory / f"{name}_{version}_all.deb"
        argv = ["dpkg-deb", "--root-owner-group", "-Zzstd", "--build", str(tree), str(made)]
        subprocess.run(argv, capture_output=True, check=True)
    return Deb(made, name, "optional")
