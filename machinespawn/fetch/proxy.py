"""The apt proxy of a build: given, configured or found, and proved before it is used.

A proxy is a fact of the host: it is handed to the tools in their environment
and must never be left in a tree.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from machinespawn import progress
from machinespawn.config import Config
from machinespawn.errors import NetworkError, UsageError
from machinespawn.fetch import transfer
from machinespawn.files import write_atomic
from machinespawn.host import apt, proxies
from machinespawn.text import _

CACHE_SECONDS = 60
CACHE_FILE = "apt-proxy.json"
CONNECT_TIMEOUT, ANSWER_TIMEOUT = 1.0, 5.0
"""Seconds. A proxy may have to fetch what it is asked for first."""

_APT_FILE = "/InRelease"
_BEGINNING = b"-----BEGIN PGP SIGNED MESSAGE-----"


@dataclass(frozen=True)
class Proxy:
    """How to reach the mirrors."""

    url: str = field(repr=False)
    """May hold a password, so print ``shown`` instead. Empty: directly."""
    origin: str
    """Where it was found, or why there is none."""

    @property
    def shown(self) -> str:
        """The URL without a password."""
        return shown(self.url)

    @property
    def environment(self) -> dict[str, str]:
        """What the tools get besides the clean environment that they start with."""
        return {"http_proxy": self.url, "https_proxy": self.url} if self.url else {}


def find(config: Config, probe_url: str) -> Proxy:
    """The proxy for the mirror that has the file at probe_url: the InRelease of a suite, or any other.

    One that was asked for and does not work is a NetworkError; one that was
    found and does not work is warned of and left out.
    """
    if config.proxy == "none":
        return Proxy("", _("proxies are switched off"))
    if config.offline:
        return Proxy("", _("nothing is fetched offline"))
    if config.proxy != "auto":
        return _given(config.proxy, probe_url)
    if _is_loopback(probe_url):
        return Proxy("", _("the mirror is this host"))
    key = _key(probe_url)
    proxy = _remembered(config, key) or _searched(probe_url)
    _remember(config, key, proxy)
    return proxy


def normalised(url: str) -> str:
    """The URL with scheme and without a slash at the end; UsageError for what is no http proxy."""
    whole = (url if "://" in url else f"http://{url}").rstrip("/")
    parts = urlsplit(whole)
    try:
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.path
    except ValueError:  # a port that is no number
        usable = None
    if not usable:
        raise UsageError(
            _("{url} is no proxy that apt, debootstrap and mmdebstrap could all use").format(url=shown(whole)),
            _("write --proxy http://HOST:PORT, --proxy auto or --proxy none"),
        )
    return whole


def shown(url: str) -> str:
    """A URL without the user name and password it may hold."""
    scheme, separator, rest = url.rpartition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"


@dataclass(frozen=True)
class _Answer:
    """status 0: none came, and trouble says why."""

    status: int = 0
    start: bytes = b""
    trouble: str = ""


def failure(proxy_url: str, probe_url: str) -> str:
    """Why the file (an InRelease, or any other) cannot be had through the proxy; empty: it can.

    A file that is not there without the proxy either speaks not against it.
    """
    answer = _answer(probe_url, proxy_url)
    match answer.status:
        case 0:
            return answer.trouble
        case 200 if probe_url.endswith(_APT_FILE) and not answer.start.startswith(_BEGINNING):
            return _("it answers something else than the file that was asked for")
        case 200:
            return ""
        case 404 | 410 if _answer(probe_url, "").status in (answer.status, 0):
            return ""
    return _("it answers with status {status}").format(status=answer.status)


def _answer(url: str, proxy_url: str) -> _Answer:
    """How the URL begins, through the proxy; '' for directly."""
    import requests

    try:
        with (
            transfer.session(proxy_url) as session,
            session.get(url, timeout=(CONNECT_TIMEOUT, ANSWER_TIMEOUT), stream=True) as answer,
        ):
            start = b""
            for chunk in answer.iter_content(256):
                start += chunk
                if len(start) >= len(_BEGINNING):
                    break
            return _Answer(answer.status_code, start)
    except (requests.Timeout, requests.ConnectionError):
        return _Answer(trouble=_("it does not answer, or not in time"))
    except (requests.RequestException, ValueError) as error:
        return _Answer(trouble=_("its answer cannot be understood ({error})").format(error=type(error).__name__))


def _given(url: str, probe_url: str) -> Proxy:
    proxy = Proxy(normalised(url), _("it was given"))
    if reason := failure(proxy.url, probe_url):
        raise NetworkError(
            _("{url} cannot be fetched through the proxy {proxy}: {reason}").format(
                url=shown(probe_url), proxy=proxy.shown, reason=reason
            ),
            _("give another --proxy URL, or --proxy none to go without"),
        )
    return proxy


def _searched(probe_url: str) -> Proxy:
    """The first candidate that works, else direct."""
    for url, origin in _candidates(probe_url):
        if url == "DIRECT":
            return Proxy("", origin)
        try:
            proxy = Proxy(normalised(url), origin)
            reason = failure(proxy.url, probe_url)
        except UsageError as error:
            proxy, reason = Proxy(url, origin), error.message
        if not reason:
            return proxy
        progress.warn(
            _("the proxy {proxy} ({origin}) is not used for {url}: {reason}").format(
                proxy=proxy.shown, origin=origin, url=shown(probe_url), reason=reason
            )
        )
    return Proxy("", _("no proxy was found"))


def _candidates(probe_url: str) -> Iterator[proxies.Found]:
    """What the host says about proxies, the most explicit first; searched only as far as needed."""
    parts = urlsplit(probe_url)
    wanted = urllib.request.getproxies_environment().get(parts.scheme)
    if wanted:
        if urllib.request.proxy_bypass(parts.hostname or ""):
            yield "DIRECT", _("no_proxy in the environment names the mirror")
        yield wanted, _("{name} in the environment").format(name=f"{parts.scheme}_proxy")
    if not probe_url.endswith(_APT_FILE):
        return  # what follows is for apt's archives alone
    if configured := apt.configured_proxy(parts.scheme):
        yield configured, _("apt's configuration names it")
    if detected := apt.detected_proxy(probe_url):
        yield detected, _("apt's Proxy-Auto-Detect names it")
    yield from proxies.nearby()


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _key(probe_url: str) -> str:
    """What a cached answer belongs to: it goes stale when the environment changes."""
    environment = sorted((name, value) for name, value in os.environ.items() if name.lower().endswith("_proxy"))
    return hashlib.sha256(json.dumps([probe_url, environment]).encode()).hexdigest()


def _entries(path: Path) -> dict[str, list[str | float]]:
    """Answers not older than CACHE_SECONDS: key -> [url, origin, time]."""
    now = time.time()
    try:
        data = json.loads(path.read_text())
        return {key: entry for key, entry in data.items() if 0 <= now - float(entry[2]) < CACHE_SECONDS}
    except (OSError, ValueError, TypeError, AttributeError, LookupError):  # gone, or not written by us
        return {}


def _remembered(config: Config, key: str) -> Proxy | None:
    entry = _entries(config.cache / CACHE_FILE).get(key)
    return Proxy(str(entry[0]), str(entry[1])) if entry else None


def _remember(config: Config, key: str, proxy: Proxy) -> None:
    path = config.cache / CACHE_FILE
    entries = _entries(path)
    if key not in entries:
        path.parent.mkdir(parents=True, exist_ok=True)
        entries[key] = [proxy.url, proxy.origin, time.time()]
        write_atomic(path, json.dumps(entries), 0o600)  # it may hold a password
