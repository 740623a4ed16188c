"""What the archives offer now: each suite's signed Release, and the digests of its package indexes.

The digests go into a layer's key. They are asked for again once they are older
than ``refresh``, so that a warm build asks nobody.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from machinespawn.config import Config
from machinespawn.errors import NetworkError, NotFoundError, TrustError
from machinespawn.fetch import signatures, transfer
from machinespawn.files import write_atomic
from machinespawn.progress import step
from machinespawn.recipe.model import AptSource, Suite
from machinespawn.text import _

CONNECT_SECONDS, READ_SECONDS, TRIES = 10, 60, 3


@dataclass(frozen=True)
class Index:
    """One suite of one archive, as its signed Release describes it."""

    suite: str
    url: str
    """Base URL of the archive that had it."""
    components: tuple[str, ...]
    packages: tuple[tuple[str, str], ...]
    """(component, sha256 of its Packages for the architecture)."""
    date: str
    """When it was made, as the Release says."""
    valid_until: str = ""
    """RFC 2822; empty: for ever."""

    def is_expired(self, now: datetime | None = None) -> bool:
        """Whether its Valid-Until has passed; False where it has none. ``now``: aware."""
        until = when(self.valid_until)
        return until is not None and until < (now or datetime.now(UTC))


def when(text: str) -> datetime | None:
    """A date of a Release file, in UTC; None for an empty one. Raises TrustError."""
    if not text:
        return None
    try:
        date = parsedate_to_datetime(text)
    except ValueError as error:
        raise TrustError(
            _("the Release file has a date that is none: {text}").format(text=text),
            _("try another mirror with --mirror URL"),
        ) from error
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)


@dataclass(frozen=True)
class Archive:
    """Where a suite is looked for: URLs in the order they are tried."""

    suite: Suite
    components: tuple[str, ...]
    urls: tuple[str, ...]


def read(
    question: str,
    archives: Callable[[], Sequence[Archive]],
    source: AptSource,
    architecture: str,
    keyring: Path,
    proxy: Callable[[str], str],
    config: Config,
    *,
    refresh: bool,
    allow_expired: bool,
) -> tuple[Index, ...]:
    """The indexes of all suites, from the cache while it is fresh, else from the first mirror that has them.

    ``question`` is everything that decides where is asked for what; the answer
    is cached under it, so that finding mirrors and proxies costs a warm build
    nothing. Raises TrustError for a bad signature or a Release past its
    Valid-Until, NetworkError when no mirror answers.
    """
    cached = config.cache / "indexes" / f"{hashlib.sha256(question.encode()).hexdigest()}.json"
    found = None if refresh else _cached(cached, config)
    if found is None:
        if config.offline:
            raise NetworkError(
                _("the package indexes of {suite} are not in the cache").format(suite=source.suites[0].name),
                _("run once without --offline"),
            )
        with step(_("package indexes of {suites}").format(suites=", ".join(suite.name for suite in source.suites))):
            found = tuple(_fetch(archive, source, architecture, keyring, proxy) for archive in archives())
        _store(cached, found)
    for index in found:
        _check_date(index, source, allow_expired)
    return found


def _cached(path: Path, config: Config) -> tuple[Index, ...] | None:
    try:
        data = json.loads(path.read_text())
        if not config.offline and not 0 <= time.time() - data["asked"] < config.refresh:
            return None
        return tuple(parse(each) for each in data["indexes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def parse(data: dict[str, Any]) -> Index:
    """From JSON, where tuples became lists."""
    return Index(
        **{
            **data,
            "components": tuple(data["components"]),
            "packages": tuple((component, digest) for component, digest in data["packages"]),
        }
    )


def _store(path: Path, found: tuple[Index, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps({"asked": time.time(), "indexes": [dataclasses.asdict(each) for each in found]}))


def _fetch(archive: Archive, source: AptSource, architecture: str, keyring: Path, proxy: Callable[[str], str]) -> Index:
    missing = []
    for url in archive.urls:
        text = _signed(f"{url.rstrip('/')}/dists/{archive.suite.name}", keyring, proxy, source.accept_expired_keys)
        if text is not None:
            return parsed(text, url.rstrip("/"), archive, architecture)
        missing.append(url)
    raise NotFoundError(
        _("no mirror has the suite {suite}: {urls}").format(suite=archive.suite.name, urls=", ".join(missing)),
        _("name one that has it with --mirror, or in /etc/machinespawn.yaml under mirrors"),
    )


def _signed(suite: str, keyring: Path, proxy: Callable[[str], str], accept_expired_keys: bool) -> str | None:
    """The signed text of a suite's Release: InRelease, or on old archives Release with Release.gpg beside it."""
    inrelease, release = f"{suite}/InRelease", f"{suite}/Release"
    way = "" if suite.startswith("file:") else proxy(inrelease)
    inline = _get(inrelease, way)
    if inline is not None:
        signed = signatures.clear_signed(inline, keyring, inrelease, accept_expired_keys=accept_expired_keys)
    else:
        data, signature = _get(release, way), _get(f"{release}.gpg", way)
        if data is None or signature is None:
            return None
        signed = signatures.detached(data, signature, keyring, release, accept_expired_keys=accept_expired_keys)
    return signed.data.decode(errors="surrogateescape")


def _get(url: str, proxy: str) -> bytes | None:
    """The bytes at url, or None where the server says that there is no such thing."""
    if url.startswith("file:"):
        try:
            return Path(url.removeprefix("file://")).read_bytes()
        except FileNotFoundError:
            return None
    import requests

    for tried in range(1, TRIES + 1):
        try:
            with transfer.session(proxy) as session:
                answer = session.get(url, timeout=(CONNECT_SECONDS, READ_SECONDS))
            if answer.status_code in (404, 410):
                return None
            answer.raise_for_status()
            return answer.content
        except requests.RequestException as error:
            if tried == TRIES:
                raise NetworkError(
                    _("{url} cannot be had: {error}").format(url=url, error=error),
                    _("check the network and the name server, the mirror (--mirror) and the proxy (--proxy)"),
                ) from error
        time.sleep(tried)
    raise AssertionError("unreachable")


def parsed(text: str, url: str, archive: Archive, architecture: str) -> Index:
    """The index that a Release describes. Raises where it is another suite's, or lacks what is wanted."""
    fields, digests = release(text)
    offered = fields.get("Architectures", "").split()
    if offered and architecture not in offered:
        raise NotFoundError(
            _("{suite} at {url} has no packages for {architecture}").format(
                suite=archive.suite.name, url=url, architecture=architecture
            ),
            _("it has: {offered}").format(offered=", ".join(offered)),
        )
    names = {fields.get("Suite", ""), fields.get("Codename", "")}
    if archive.suite.name not in names and archive.suite.name.partition("/")[0] not in names:
        raise TrustError(
            _("{url} answers for {suite} with the Release of {names}").format(
                url=url, suite=archive.suite.name, names=" / ".join(sorted(names))
            ),
            _("the mirror is broken or hostile: name another with --mirror"),
        )
    packages = []
    for component in archive.components:
        found = _packages(digests, f"{component}/binary-{architecture}/Packages")
        if not found:
            raise NotFoundError(
                _("{suite} at {url} has no component {component} for {architecture}").format(
                    suite=archive.suite.name, url=url, component=component, architecture=architecture
                ),
                _("it has: {offered}").format(offered=fields.get("Components", "")),
            )
        packages.append((component, found))
    date, until = fields.get("Date", ""), fields.get("Valid-Until", "")
    for text in (date, until):
        when(text)  # or it is refused
    return Index(archive.suite.name, url, archive.components, tuple(packages), date, until)


def release(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Fields of a Release file, and file name -> sha256 of its SHA256 section."""
    fields: dict[str, str] = {}
    digests: dict[str, str] = {}
    section = ""
    for line in text.splitlines():
        if line.startswith(" "):
            if section == "SHA256":
                digest, _size, name = line.split()
                digests[name] = digest
        else:
            section, _colon, value = line.partition(":")
            fields[section] = value.strip()
    return fields, digests


def _packages(digests: dict[str, str], name: str) -> str:
    found = (digests.get(name + suffix) for suffix in ("", ".xz", ".gz"))
    return next((digest for digest in found if digest), "")


def _check_date(index: Index, source: AptSource, allowed: bool) -> None:
    until = when(index.valid_until)
    if until is None or allowed or source.accept_expired_release or not index.is_expired():
        return
    raise TrustError(
        _("the Release of {suite} at {url} expired on {date}, {days} days ago").format(
            suite=index.suite, url=index.url, date=f"{until:%Y-%m-%d}", days=(datetime.now(UTC) - until).days
        ),
        _(
            "the mirror lags behind or somebody holds it back: name another with --mirror, "
            "or accept the risk with --allow-expired-release"
        ),
    )
