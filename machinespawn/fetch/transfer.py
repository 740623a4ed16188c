"""One file over HTTP: resumed where it broke off, retried within bounds, never weaker than it began."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from machinespawn import progress
from machinespawn.errors import NetworkError, NotFoundError, TrustError
from machinespawn.fetch.partial import Version, Wish
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
class Arrived:
    """How a transfer ended."""

    version: Version
    unchanged: bool = False
    """It is still what the caller has: nothing was transferred."""
    resumed: bool = False
    """Part of it was there from another run."""


class _Interrupted(Exception):
    """Worth another try."""


def session(proxy: str) -> Session:
    """How every server is talked to: through the proxy of that URL (empty: none), believed as the host believes."""
    import requests

    opened = requests.Session()
    opened.trust_env = False  # the proxy is found and proved in one place
    opened.verify = str(SYSTEM_CERTIFICATES) if SYSTEM_CERTIFICATES.exists() else True
    opened.proxies = {"http": proxy, "https": proxy} if proxy else {}
    return opened


def transfer(wish: Wish) -> Arrived:
    """Have the file at wish.partial.

    Raises NotFoundError when the server has no such file, NetworkError when it
    cannot be had now, BuildError when the disk is full.
    """
    failures, here = 0, wish.begun()[0]
    resumed = here > 0
    with session(wish.proxy) as opened:
        while True:
            try:
                return _attempt(opened, wish, resumed)
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
    wish.check_room(here, total)
    with contextlib.ExitStack() as stack:
        if not total or total - here > WORTH_TELLING:
            size = quantity(total) if total else _("size unknown")
            stack.enter_context(progress.step(_("download {name} ({size})").format(name=wish.name, size=size)))
        append = stack.enter_context(wish.growing(here))
        told = time.monotonic()
        for chunk in answer.raw.stream(CHUNK, decode_content=False):
            append(chunk)
            here += len(chunk)
            if time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                progress.note(_("{done} of {total}").format(done=quantity(here), total=quantity(total)))
        if here < total:
            raise _Interrupted(_("the connection was cut after {done}").format(done=quantity(here)))
