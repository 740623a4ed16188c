"""Files of checksums: found beside what they are for, read in the forms that distributions write."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from machinespawn.errors import NotFoundError, TrustError
from machinespawn.fetch.download import Web
from machinespawn.text import _

FILE_MAX = 4 << 20
"""Bytes of a file of checksums."""
OWN = (".sha256", ".sha256sum", ".SHA256SUM", ".SHA256", ".CHECKSUM")
"""What is added to an archive's name for a file about it alone."""
SHARED = ("SHA256SUMS", "sha256sums.txt", "sha256sum.txt", "SHA256SUM", "CHECKSUM")
"""Names of files about all archives of a directory."""

_GNU = re.compile(r"\\?([0-9a-fA-F]{64})[ \t]+\*?(\S.*)")
_BSD = re.compile(r"\\?SHA256 ?\((.+)\) ?= ?([0-9a-fA-F]{64})")
_BARE = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")


@dataclass(frozen=True)
class Sums:
    """A file of checksums: where it is and what it holds."""

    url: str
    data: bytes
    own: bool
    """It is about one archive alone, whatever name stands in it: that of the archive that 'latest' means today."""


def parse(text: str) -> tuple[tuple[str, str], ...]:
    """(file name, sha256) of each line that holds one; the name is empty for a bare digest."""
    found = []
    for line in text.splitlines():
        stripped = line.strip()
        if match := _GNU.fullmatch(stripped):
            found.append((os.path.basename(match[2]), match[1].lower()))
        elif match := _BSD.fullmatch(stripped):
            found.append((os.path.basename(match[1]), match[2].lower()))
        elif match := _BARE.fullmatch(stripped):
            found.append(("", match[1].lower()))
    return tuple(found)


def pick(text: str, name: str, *, own: bool, where: str) -> str:
    """The sha256 of the file called name; empty where there is none. ``own``: as in Sums."""
    entries = parse(text)
    digests = {digest for entry, digest in entries if entry == name}
    if not digests and own and len(entries) == 1:
        digests = {entries[0][1]}
    if len(digests) > 1:
        raise TrustError(
            _("{where} has {count} different checksums for {name}").format(where=where, count=len(digests), name=name),
            _("find out which one is right, and give it with --sha256"),
        )
    return next(iter(digests), "")


def name_of(url: str) -> str:
    """The file name in a URL."""
    return unquote(os.path.basename(urlsplit(url).path))


def at(url: str, archive: str, web: Web) -> Sums:
    """The file of checksums at url, which is to know the archive at that URL. Raises TrustError where it does not."""
    sums = Sums(url, web.read(url, FILE_MAX), own=name_of(url).startswith(name_of(archive)))
    digest(sums, sums.data, archive)
    return sums


def digest(sums: Sums, data: bytes, archive: str) -> str:
    """The sha256 of the archive, going by data: the file's content, or what of it is signed."""
    name = name_of(archive)
    found = pick(data.decode(errors="replace"), name, own=sums.own, where=sums.url)
    if not found:
        raise TrustError(
            _("{url} has no sha256 of {name}").format(url=sums.url, name=name),
            _("give the digest with --sha256, or correct the recipe's checksum: URL"),
        )
    return found


def beside(archive: str, web: Web) -> Sums | None:
    """The first file of checksums next to the archive's URL that knows it; None where there is none."""
    places = _places(archive)
    for place, own in places:
        data = web.cached(place)
        if data is not None and _knows(sums := Sums(place, data, own), archive):
            return sums
    for place, own in () if web.config.offline else places:
        try:
            sums = Sums(place, web.read(place, FILE_MAX), own)
        except NotFoundError:
            continue
        if _knows(sums, archive):
            return sums
    return None


def _knows(sums: Sums, archive: str) -> bool:
    return bool(pick(sums.data.decode(errors="replace"), name_of(archive), own=sums.own, where=sums.url))


def _places(url: str) -> Sequence[tuple[str, bool]]:
    scheme, host, path, _query, _fragment = urlsplit(url)
    directory = path.rpartition("/")[0]
    own = [(urlunsplit((scheme, host, path + suffix, "", "")), True) for suffix in OWN]
    shared = [(urlunsplit((scheme, host, f"{directory}/{name}", "", "")), False) for name in SHARED]
    return own + shared


def beside_file(path: Path) -> tuple[str, Path] | None:
    """The sha256 of a local file, and the file of checksums next to it that has it; None where there is none."""
    places = [(path.with_name(path.name + suffix), True) for suffix in OWN]
    places += [(path.with_name(name), False) for name in SHARED]
    for place, own in places:
        try:
            with open(place, "rb") as file:
                text = file.read(FILE_MAX).decode(errors="replace")
        except (FileNotFoundError, IsADirectoryError):
            continue
        if digest := pick(text, path.name, own=own, where=str(place)):
            return digest, place
    return None
