"""One file over HTTP: resumed where it broke off, retried within bounds, never weaker than it began."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from machinespawn import progress
from machinespawn.errors import BuildError, NetworkError, NotFoundError, TrustError
from machinespawn.files import write_atomic
from machinespawn.text import _, quantity

if TYPE_CHECKING:
    from requests import Response, Session

CONNECT_SECONDS, READ_SECONDS = 10, 60
TRIES = 4
"""Failures in a row without ENOUGH bytes in between."""
ENOUGH = 1 << 20
PAUSES = (0.5, 1, 2)
"""Seconds before each further try."""
REDIRECTS = 10
CHUNK = 1 << 18
TELL_SECONDS = 10
WORTH_TELLING = 1_000_000
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
"""Where a company's own authority is known, unlike in the certificates that come with Python's packages."""


@dataclass(frozen=True)
class Version:
    """What tells one state of a URL's content from another (RFC 9110, 8.8)."""

    etag: str = ""
    modified: str = ""

    @property
    def exact(self) -> str:
        """What If-Range takes: a weak ETag does not promise the same bytes."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


@dataclass(frozen=True)
class Arrived:
    """How a transfer ended."""

    version: Version
    unchanged: bool = False
    """It is still what the caller has: nothing was transferred."""
    resumed: bool = False
    """Part of it was there from another run."""


@dataclass(frozen=True)
class Wish:
    """One file to be had."""

    url: str
    partial: Path
    """Where it grows; kept when the connection breaks, so that the next run goes on from there."""
    name: str
    known: Version = Version()
    """Of the copy that the caller has; empty: it has none."""
    provable: bool = False
    """Its digest is known, so that a part without a version may be resumed."""
    limit: int = 0
    """Most bytes that are taken; 0: what the disk takes."""
    proxy: str = ""

    @property
    def _version_file(self) -> Path:
        return self.partial.with_name(self.partial.name + ".json")

    def begun(self) -> tuple[int, Version]:
        """How many bytes are there, and of which version."""
        try:
            size = self.partial.lstat().st_size
            return size, Version(**json.loads(self._version_file.read_text()))
        except (OSError, ValueError, TypeError):
            return 0, Version()

    def begin(self, version: Version) -> None:
        """Start over."""
        self.drop()
        self.partial.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._version_file, json.dumps(asdict(version)), 0o600)

    def drop(self) -> None:
        """Forget what is there."""
        self.partial.unlink(missing_ok=True)
        self._version_file.unlink(missing_ok=True)


class _Interrupted(Exception):
    """Worth another try."""


def transfer(wish: Wish) -> Arrived:
    """Have the file at wish.partial.

    Raises NotFoundError when the server has no such file, NetworkError when it
    cannot be had now, BuildError when the disk is full.
    """
    import requests

    failures, here = 0, wish.begun()[0]
    resumed = here > 0
    with requests.Session() as session:
        session.trust_env = False  # the proxy is found and proved in one place
        session.verify = str(SYSTEM_CERTIFICATES) if SYSTEM_CERTIFICATES.exists() else True
        session.proxies = {"http": wish.proxy, "https": wish.proxy} if wish.proxy else {}
        while True:
            try:
                return _attempt(session, wish, resumed)
            except _Interrupted as error:
                grown, here = wish.begun()[0] - here, wish.begun()[0]
                failures = 0 if grown >= ENOUGH else failures + 1
                if failures == TRIES:
                    raise _gave_up(wish, error, here) from error
                progress.note(_("{error}; trying again").format(error=error))
                time.sleep(PAUSES[max(failures - 1, 0)])


def _gave_up(wish: Wish, error: Exception, here: int) -> NetworkError:
    return NetworkError(
        _("{url} cannot be had: {error}").format(url=wish.url, error=error),
        _("run it again: it goes on after the {size} that are here").format(size=quantity(here))
        if here
        else _("check the network, the name server and the proxy (--proxy)"),
    )


def _attempt(session: Session, wish: Wish, resumed: bool) -> Arrived:
    here, version = wish.begun()
    headers = {"Accept-Encoding": "identity", "User-Agent": "machinespawn"}
    if here and (version.exact or wish.provable):
        headers["Range"] = f"bytes={here}-"
        if version.exact:
            headers["If-Range"] = version.exact
    elif wish.known.etag:
        headers["If-None-Match"] = wish.known.etag
    elif wish.known.modified:
        headers["If-Modified-Since"] = wish.known.modified
    with _asked(session, wish.url, headers) as answer:
        now = Version(answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", ""))
        match answer.status_code:
            case 304 if wish.known != Version():
                return Arrived(wish.known, unchanged=True)
            case 200:
                wish.begin(now)
                here, resumed = 0, False
            case 206 if "Range" in headers and now in (version, Version()) and _first(answer) == here:
                now = version
            case 416 if "Range" in headers and answer.headers.get("Content-Range") == f"bytes */{here}":
                return Arrived(version, resumed=resumed)  # it ended between the last byte and the rename
            case 206 | 416:
                wish.drop()
                raise _Interrupted(_("the server gave another part than it was asked for"))
            case _:
                raise _refused(wish.url, answer)
        _receive(answer, wish, here)
    return Arrived(now, resumed=resumed)


@contextlib.contextmanager
def _asked(session: Session, url: str, headers: dict[str, str]) -> Iterator[Response]:
    """The answer to GET, redirects followed. A body that breaks off raises _Interrupted, here or in the block."""
    import requests
    import urllib3

    try:
        for _hop in range(REDIRECTS):
            with session.get(
                url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS), allow_redirects=False
            ) as answer:
                if not answer.is_redirect:
                    yield answer
                    return
                url = redirected(url, answer.headers["Location"])
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
    ) as error:
        raise NetworkError(
            _("{url} cannot be fetched: {error}").format(url=url, error=error),
            _("write http://HOST/… or https://HOST/…"),
        ) from error
    except requests.exceptions.SSLError as error:
        raise TrustError(
            _("{url}: the server cannot prove who it is: {error}").format(url=url, error=error),
            _("check the clock (date) and the authorities: apt-get install ca-certificates"),
        ) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _Interrupted(str(error)) from error
    raise NetworkError(
        _("{url} redirects more than {count} times").format(url=url, count=REDIRECTS), _("the server is misconfigured")
    )


def redirected(url: str, location: str) -> str:
    """Where a redirect leads; TrustError where that is weaker than what was asked."""
    target = urljoin(url, location)
    before, after = urlsplit(url).scheme.lower(), urlsplit(target).scheme.lower()
    if after not in ("http", "https") or (before == "https" and after != "https"):
        raise TrustError(
            _("{url} redirects to {target}, which nobody vouches for").format(url=url, target=target),
            _("if that is what you want, give that URL itself, with --sha256"),
        )
    return target


def _refused(url: str, answer: Response) -> Exception:
    status = f"{answer.status_code} {answer.reason}"
    if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
        return _Interrupted(_("the server answers {status}").format(status=status))
    if answer.status_code in (401, 403, 404, 410):
        return NotFoundError(
            _("{url} is not there: the server answers {status}").format(url=url, status=status),
            _("check the URL; a newer file may have taken its place"),
        )
    return NetworkError(
        _("{url} cannot be had: the server answers {status}").format(url=url, status=status), _("try another mirror")
    )


def _first(answer: Response) -> int:
    """Where the part begins that the server gives; -1 where it does not say."""
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(found[1]) if found else -1


def _receive(answer: Response, wish: Wish, here: int) -> None:
    """Add the body to the partial file, which has ``here`` bytes."""
    length = answer.headers.get("Content-Length", "")
    total = here + int(length) if length.isdigit() else 0
    _check_room(wish, here, total)
    with contextlib.ExitStack() as stack:
        if not total or total - here > WORTH_TELLING:
            size = quantity(total) if total else _("size unknown")
            stack.enter_context(progress.step(_("download {name} ({size})").format(name=wish.name, size=size)))
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = stack.enter_context(open(os.open(wish.partial, flags, 0o600), "wb", buffering=0))
        file.truncate(here)
        file.seek(here)
        told = time.monotonic()
        for chunk in answer.raw.stream(CHUNK, decode_content=False):
            here += len(chunk)
            _check_size(wish, here)
            _write(file.fileno(), chunk, wish)
            if time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                progress.note(_("{done} of {total}").format(done=quantity(here), total=quantity(total)))
        if here < total:
            raise _Interrupted(_("the connection was cut after {done}").format(done=quantity(here)))


def _check_size(wish: Wish, size: int) -> None:
    if wish.limit and size > wish.limit:
        wish.drop()
        raise NetworkError(
            _("{url} has more than {limit}").format(url=wish.url, limit=quantity(wish.limit)),
            _("it is not what it should be: check the URL"),
        )


def _check_room(wish: Wish, here: int, total: int) -> None:
    _check_size(wish, total)
    status = os.statvfs(wish.partial.parent)
    if total - here > status.f_bavail * status.f_frsize:
        raise _full(wish)


def _write(descriptor: int, chunk: bytes, wish: Wish) -> None:
    try:
        view = memoryview(chunk)
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            wish.drop()  # a full disk hurts everybody
            raise _full(wish) from error
        raise


def _full(wish: Wish) -> BuildError:
    return BuildError(
        _("there is no room for {name} on the file system of {directory}").format(
            name=wish.name, directory=wish.partial.parent
        ),
        _("make room: machinespawn clean-cache; or name another cache_dir in /etc/machinespawn.yaml"),
    )
