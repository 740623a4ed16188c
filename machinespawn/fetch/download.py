"""Files from the network, kept by their digest, each fetched once.

    downloads/sha256/HEX      the file, under the digest of its content
    downloads/urls/KEY.json   what a URL gave last: digest, ETag, Last-Modified, when
    downloads/partial/KEY     what is on its way

All of it may be deleted at any moment: what is missing is fetched again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from machinespawn import progress
from machinespawn.config import Config
from machinespawn.errors import BuildError, BusyError, NetworkError, NotFoundError, TrustError
from machinespawn.fetch.partial import Version, Wish
from machinespawn.fetch.transfer import Arrived, transfer
from machinespawn.files import locked, write_atomic
from machinespawn.text import _, quantity

ProxyOf = Callable[[str], str]
"""URL of a file -> URL of the proxy to fetch it through; empty: none."""

TRIES = 3
"""How often a cache that is deleted under us is begun anew."""


@dataclass(frozen=True)
class Known:
    """What a URL gave when it was last asked."""

    url: str
    sha256: str
    version: Version
    asked: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class Web:
    """How small files are asked for: checksums, signatures, lists."""

    config: Config
    proxy_of: ProxyOf
    since: float = 0
    """As in fetch()."""

    def read(self, url: str, limit: int) -> bytes:
        """The content at url."""
        return fetch(url, self.config, proxy=self.proxy_of, since=self.since, limit=limit).read_bytes()

    def cached(self, url: str) -> bytes | None:
        """The content at url if nobody needs to be asked for it."""
        path = cached(url, self.config, since=self.since)
        return path.read_bytes() if path else None


def directory(config: Config) -> Path:
    """Where all downloads lie."""
    return config.cache / "downloads"


def fetch(
    url: str,
    config: Config,
    *,
    sha256: str = "",
    proxy: ProxyOf = lambda _url: "",
    name: str = "",
    since: float = 0,
    limit: int = 0,
) -> Path:
    """The file at url, from the cache where it is there; read it at once.

    With ``sha256`` only that content will do, and once it is there nobody is
    asked. Without, the server is asked whether it changed, unless it was
    within ``config.refresh`` seconds or, where ``since`` is given, since then
    (seconds since 1970). ``name`` is what to call the file, ``limit`` the most
    bytes to take. Raises NotFoundError, NetworkError, TrustError (another
    digest; the file is not kept) or BuildError (disk full). A file: URL is
    never copied: the file itself is given.
    """
    if local := _local(url):
        return _checked(local, url, sha256, limit)
    kept = cached(url, config, sha256=sha256, since=since)
    if kept:
        return kept
    if config.offline:
        raise NetworkError(
            _("{url} is not in the cache").format(url=url), _("run it once without --offline; it is kept then")
        )
    began = time.time()
    called = name or os.path.basename(urlsplit(url).path) or url
    with _alone(url, called, config):
        known = _known(url, config)
        if known and not sha256 and known.asked >= began and (kept := _intact(known.sha256, config)):
            return kept  # whoever held the lock fetched it for us
        if sha256 and (kept := _intact(sha256, config)):
            return kept
        for _try in range(TRIES):
            with contextlib.suppress(FileNotFoundError):  # somebody deletes the cache
                return _fetch(url, config, sha256, proxy(url), called, limit)
    raise BuildError(
        _("{directory} is deleted again and again").format(directory=directory(config)),
        _("look who does that, and let it be while something is built"),
    )


def cached(url: str, config: Config, *, sha256: str = "", since: float = 0) -> Path | None:
    """The file at url if nobody needs to be asked for it, else None. Arguments as in fetch()."""
    if local := _local(url):
        return local if local.is_file() else None
    if sha256:
        return _intact(sha256, config)
    known = _known(url, config)
    if known is None:
        return None
    now = time.time()
    recent = (since or now - config.refresh) <= known.asked <= now
    return _intact(known.sha256, config) if recent or config.offline else None


def _local(url: str) -> Path | None:
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" and not parts.netloc else None


def _checked(path: Path, url: str, sha256: str, limit: int) -> Path:
    if not path.is_file():
        raise NotFoundError(_("there is no file {path}").format(path=path), _("check the URL {url}").format(url=url))
    if limit and path.stat().st_size > limit:
        raise NetworkError(
            _("{url} has more than {limit}").format(url=url, limit=quantity(limit)),
            _("it is not what it should be: check the URL"),
        )
    if sha256 and digest_of(path) != sha256:
        raise _mismatch(url, sha256, digest_of(path))
    return path


def held(sha256: str, config: Config) -> bool:
    """Whether there is a file of that content; a look at its name alone."""
    return _path(sha256, config).exists()


def digest_of(path: Path) -> str:
    """sha256 of a file's content, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _alone(url: str, name: str, config: Config) -> Iterator[None]:
    """Be the only one who fetches url. The lock is no part of the cache: that may be deleted."""
    path = config.locks / f"download-{_key(url)}"
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(path, wait=False))
        except BusyError:
            progress.note(_("{name} is being fetched by another process: waiting for it").format(name=name))
            stack.enter_context(locked(path))
        yield


def _fetch(url: str, config: Config, sha256: str, proxy: str, name: str, limit: int) -> Path:
    """Ask the server, and keep what it gives."""
    known = _known(url, config) if not sha256 else None
    have = _intact(known.sha256, config) if known else None
    partial = directory(config) / "partial" / _key(url)
    partial.parent.mkdir(parents=True, exist_ok=True)
    version = known.version if known and have else Version()
    wish = Wish(url, partial, name, version, provable=bool(sha256), limit=limit, proxy=proxy)
    arrived = transfer(wish)
    if arrived.unchanged and known and have:
        _remember(Known(url, known.sha256, known.version, time.time()), config)
        return have
    found = digest_of(partial)
    if sha256 and found != sha256 and arrived.resumed:
        wish.drop()  # what was there may have been another version's beginning
        arrived = transfer(wish)
        found = digest_of(partial)
    if sha256 and found != sha256:
        wish.drop()
        raise _mismatch(url, sha256, found)
    return _sealed(wish, found, arrived, config)


def _sealed(wish: Wish, sha256: str, arrived: Arrived, config: Config) -> Path:
    path = _path(sha256, config)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.chmod(wish.partial, 0o644)
    os.rename(wish.partial, path)
    wish.drop()
    _remember(Known(wish.url, sha256, arrived.version, time.time()), config)
    return path


def _mismatch(url: str, sha256: str, found: str) -> TrustError:
    return TrustError(
        _("{url} has sha256 {found}, not {sha256}").format(url=url, found=found, sha256=sha256),
        _("it was changed on the way, or replaced since the checksum was written; it was not kept"),
    )


def _key(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:32]


def _path(sha256: str, config: Config) -> Path:
    return directory(config) / "sha256" / sha256


def _intact(sha256: str, config: Config) -> Path | None:
    """The file of that content; one that is damaged is thrown away."""
    path = _path(sha256, config)
    try:
        if digest_of(path) == sha256:
            return path
        path.unlink()
    except FileNotFoundError:
        pass
    return None


def _known(url: str, config: Config) -> Known | None:
    try:
        data = json.loads((directory(config) / "urls" / f"{_key(url)}.json").read_text())
        return Known(**{**data, "version": Version(**data["version"]), "asked": float(data["asked"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(known: Known, config: Config) -> None:
    path = directory(config) / "urls" / f"{_key(known.url)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(asdict(known)))
