"""tarball: machines that come as an archive. Which file, what vouches for it, and into the tree with it."""

from __future__ import annotations

import dataclasses
import re
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

from machinespawn import progress
from machinespawn.architecture import native
from machinespawn.build.archive import unpack as archives
from machinespawn.build.archive.flow import Digest
from machinespawn.build.wanted import Pulled
from machinespawn.config import Config
from machinespawn.errors import MachinespawnError, NetworkError, NotFoundError, TrustError, UsageError
from machinespawn.fetch import checksums, download, keyrings, proxy, signatures, streams
from machinespawn.fetch.download import ProxyOf, Web
from machinespawn.fetch.streams import Item
from machinespawn.recipe.model import TarSource
from machinespawn.text import _

NAME = "tarball"
FORMAT = "1"
"""Raised when the same archive would become another tree."""
SIGNATURE_MAX = 1 << 20


@dataclass(frozen=True)
class Archive:
    """One archive and the digest that it must have; sha256, architecture and strip decide the tree."""

    sha256: str
    """Of the file; of the image's manifest where it is an OCI layout directory."""
    verified_by: str
    """For people: what vouches for the digest; empty: nothing."""
    url: str = ""
    path: str = ""
    """Absolute, instead of a URL."""
    size: int = 0
    """Bytes; 0: not known before it is fetched."""
    architecture: str = ""
    """Debian's name: which image of several is taken."""
    strip: int = 0
    """Leading directories to drop from the names in it."""
    signature: str = ""
    """URL of a detached signature of the archive itself, which is checked before it is unpacked."""
    keyring: str = ""
    """File name of the keyring for that."""


def version() -> str:
    """Of the way archives are unpacked here: part of a layer's key."""
    return FORMAT


def resolve(
    source: TarSource, architecture: str, config: Config, proxy_of: ProxyOf, *, sha256: str = "", verify: bool = True
) -> Archive:
    """Which file the source means today, and its digest.

    ``sha256`` stands in for every checksum. Only what tells the digest is
    downloaded; that is the archive itself where there are no checksums. What
    was asked within ``config.refresh`` seconds is believed as long as the
    archive that it names is in the cache too.
    """
    wanted, began = _hex(sha256), time.time()
    remembered, asked = Web(config, proxy_of), Web(config, proxy_of, began)
    try:
        found = _found(source, remembered, wanted, verify)
    except (TrustError, NotFoundError):
        if config.offline:
            raise
        found = _found(source, asked, wanted, verify)  # what is remembered may not all be of one day
    if not config.offline and not download.held(found.sha256, config):
        try:
            found = _found(source, asked, wanted, verify)
        except NetworkError:
            progress.note(_("{url}: going by the checksums of its last visit").format(url=found.url))
    if found.verified_by.startswith("http://"):
        progress.warn(_("{url} came without TLS and without a signature").format(url=found.verified_by))
    return dataclasses.replace(found, architecture=architecture, strip=source.strip)


def resolve_given(pulled: Pulled, config: Config, proxy_of: ProxyOf) -> Archive:
    """The archive that pull-tar was given: a URL, a file or an OCI layout directory."""
    architecture = pulled.architecture or native()
    if pulled.source.lower().startswith(("http://", "https://", "file://")):
        source = TarSource(url=pulled.source)
        return resolve(source, architecture, config, proxy_of, sha256=pulled.sha256, verify=pulled.verify)
    path = Path(pulled.source).absolute()
    if not path.exists():
        raise NotFoundError(
            _("{source} is no file, and no recipe is called so").format(source=pulled.source),
            _("give a URL, a file, an OCI layout directory, or a name out of: machinespawn recipes list"),
        )
    found = _layout(path, architecture) if path.is_dir() else _file(path, pulled)
    wanted = _hex(pulled.sha256)
    if wanted and wanted != found.sha256:
        raise TrustError(
            _("{path} has sha256 {found}, not {wanted}").format(path=path, found=found.sha256, wanted=wanted),
            _("it is another file than the one that digest was taken of, or it is damaged: fetch it again"),
        )
    return dataclasses.replace(
        found, architecture=architecture, verified_by="--sha256" if wanted else found.verified_by
    )


def unpack(archive: Archive, target: Path, config: Config, proxy_of: ProxyOf | None = None) -> None:
    """Fill the empty directory target with what is in the archive.

    Raises TrustError for an archive that is not the one resolved, or hostile;
    target is half filled then, and nothing outside of it was touched.
    """
    web = Web(config, proxy_of or (lambda url: proxy.find(config, url).url), time.time())
    name = archive.path or checksums.name_of(archive.url)
    source = _fetched(archive, web)
    if archive.signature:
        _check_signature(archive, source, web)
    with progress.step(_("unpack {name}").format(name=name)):
        how = archives.How(Digest("sha256", archive.sha256), archive.architecture, archive.strip)
        try:
            archives.unpack(source, target, how, config.cache / "scratch")
        except FileNotFoundError:
            if archive.path or source.exists():
                raise
            archives.unpack(_fetched(archive, web), target, how, config.cache / "scratch")  # the cache was deleted


def _fetched(archive: Archive, web: Web) -> Path:
    if archive.path:
        return Path(archive.path)
    return download.fetch(archive.url, web.config, sha256=archive.sha256, proxy=web.proxy_of)


def _check_signature(archive: Archive, source: Path, web: Web) -> None:
    keyring = keyrings.find((archive.keyring,), web.config)[0]
    signatures.detached_file(source, web.read(archive.signature, SIGNATURE_MAX), keyring, archive.url)


def _found(source: TarSource, web: Web, sha256: str, verify: bool) -> Archive:
    item = streams.latest(source.streams, source.product, web) if source.streams else Item(source.url, "", 0, "")
    if sha256:
        return Archive(sha256, "--sha256", item.url, size=item.size)
    if not verify:
        return Archive(item.sha256 or _digest_of_all(item.url, web), "", item.url, size=item.size)
    if source.keyring:
        return _signed(source, item, web)
    if item.sha256:
        return Archive(item.sha256, source.streams, item.url, size=item.size)
    sums = _sums(source, item.url, web)
    if sums is None:
        raise _nothing_vouches(item.url, offline=web.config.offline)
    return Archive(checksums.digest(sums, sums.data, item.url), sums.url, item.url)


def _signed(source: TarSource, item: Item, web: Web) -> Archive:
    """With a keyring, a good signature is asked for: of the archive, around the checksums, or of them."""
    signature = urljoin(item.url, source.signature) if source.signature else ""
    sums = _sums(source, item.url, web)
    if signature and signature.rpartition(".")[0] == item.url:
        digest = checksums.digest(sums, sums.data, item.url) if sums else _digest_of_all(item.url, web)
        found = Archive(digest, signature, item.url, signature=signature, keyring=source.keyring)
    else:
        if sums is None:
            raise _nothing_vouches(item.url, offline=web.config.offline)
        keyring = keyrings.find((source.keyring,), web.config)[0]
        if signature:
            signed = signatures.detached(sums.data, web.read(signature, SIGNATURE_MAX), keyring, sums.url)
        else:
            signed = signatures.clear_signed(sums.data, keyring, sums.url)
        by = _("{url}, signed by {keys}").format(url=sums.url, keys=", ".join(signed.fingerprints))
        found = Archive(checksums.digest(sums, signed.data, item.url), by, item.url)
    if item.sha256 and item.sha256 != found.sha256:
        raise TrustError(
            _("{url} should have sha256 {listed} by its list, but {found} by {by}").format(
                url=item.url, listed=item.sha256, found=found.sha256, by=found.verified_by
            ),
            _("the server is being updated, or it is not honest: try again later"),
        )
    return dataclasses.replace(found, size=item.size)


def _sums(source: TarSource, url: str, web: Web) -> checksums.Sums | None:
    if source.checksum:
        return checksums.at(urljoin(url, source.checksum), url, web)
    return checksums.beside(url, web)


def _digest_of_all(url: str, web: Web) -> str:
    """For want of checksums: of what the server gives."""
    return download.digest_of(download.fetch(url, web.config, proxy=web.proxy_of, since=web.since or time.time()))


def _layout(path: Path, architecture: str) -> Archive:
    digest = archives.manifest(path, architecture)
    return Archive(digest.value, _("the digests of the layout itself"), path=str(path))


def _file(path: Path, pulled: Pulled) -> Archive:
    digest = download.digest_of(path)
    found = Archive(digest, "", path=str(path), size=path.stat().st_size)
    if pulled.sha256 or not pulled.verify:
        return found
    beside = checksums.beside_file(path)
    if beside is None:
        raise _nothing_vouches(str(path))
    wanted, place = beside
    if wanted != digest:
        raise TrustError(
            _("{path} has sha256 {found}, not {wanted} as in {place}").format(
                path=path, found=digest, wanted=wanted, place=place
            ),
            _("it was damaged or replaced: fetch it again"),
        )
    return dataclasses.replace(found, verified_by=str(place))


def _nothing_vouches(name: str, *, offline: bool = False) -> MachinespawnError:
    if offline:
        return NetworkError(
            _("no checksum of {name} is in the cache").format(name=name), _("run it once without --offline")
        )
    return TrustError(
        _("no checksum vouches for {name}").format(name=name),
        _("find its sha256 on its maker's page and give it with --sha256, or take it as it is with --no-verify"),
    )


def _hex(text: str) -> str:
    """A digest as it was typed, in lower case and without sha256: in front."""
    found = text.strip().lower().removeprefix("sha256:")
    if found and not re.fullmatch(r"[0-9a-f]{64}", found):
        raise UsageError(
            _("{text!r} is no sha256").format(text=text), _("it has 64 hex digits, as sha256sum FILE prints them")
        )
    return found
