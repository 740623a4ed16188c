"""Which proxy is taken: everything here answers on loopback, so nothing is found by chance."""

import sys
import time

import pytest

from machinespawn.config import Config
from machinespawn.errors import NetworkError, UsageError
from machinespawn.fetch import proxy
from machinespawn.host import proxies
from tests.lab import http

RELEASE = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nOrigin: Lab\n"


def mirror(path, headers):
    return (200, RELEASE, {}) if path.endswith("/dists/lab/InRelease") else (404, b"", {})


@pytest.fixture
def release():
    with http.serving(mirror) as server:
        yield f"{server.url}/dists/lab/InRelease"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("cache:3142", "http://cache:3142"),
        ("http://cache:3142/", "http://cache:3142"),
        ("https://user:secret@cache", "https://user:secret@cache"),
    ],
)
def test_a_proxy_is_a_url(text, url):
    assert proxy.normalised(text) == url


@pytest.mark.parametrize(
    "text", ["socks5h://user:secret@cache:1", "http://", "http://user:secret@cache:port", "http://c/x"]
)
def test_what_is_no_proxy_is_refused_without_telling_the_password(text):
    with pytest.raises(UsageError) as caught:
        proxy.normalised(text)
    assert "secret" not in caught.value.message


def test_a_password_is_not_shown():
    found = proxy.Proxy("http://user:se@cret@cache:3142", "given")
    assert found.shown == "http://cache:3142"
    assert "se@cret" not in repr(found)


def test_none_is_direct(release):
    assert proxy.find(Config(proxy="none"), release).url == ""


def test_a_mirror_on_this_host_needs_none(release, tmp_path):
    assert proxy.find(Config(cache_dir=tmp_path), release).environment == {}


def test_a_given_proxy_that_works_is_taken(release):
    with http.serving(http.apt_cacher) as cacher:
        found = proxy.find(Config(proxy=cacher.url), release)
        assert found.environment == {"http_proxy": cacher.url, "https_proxy": cacher.url}
        assert cacher.requests == [release]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (lambda path, headers: (200, b"<html>log in</html>", {}), "something else"),
        (lambda path, headers: (403, b"no", {}), "status 403"),
        (lambda path, headers: (404, b"no", {}), "status 404"),
        (lambda path, headers: None, "does not answer"),
    ],
)
def test_a_given_proxy_that_does_not_work_is_an_error(release, reply, reason):
    with http.serving(reply) as server:
        given = server.url.replace("http://", "http://user:secret@")
        with pytest.raises(NetworkError, match=reason) as caught:
            proxy.find(Config(proxy=given), release)
        assert "secret" not in caught.value.message
        assert "--proxy none" in caught.value.hint


def test_a_proxy_nobody_runs_is_an_error(release):
    with http.serving(http.forward) as server:
        gone = server.url
    with pytest.raises(NetworkError, match="does not answer"):
        proxy.find(Config(proxy=gone), release)


def test_directly_means_past_the_environments_proxy_too(release, monkeypatch):
    monkeypatch.delenv("no_proxy", raising=False)
    with http.serving(lambda path, headers: (404, b"no", {})) as server:
        monkeypatch.setenv("http_proxy", server.url)
        with pytest.raises(NetworkError, match="status 404"):
            proxy.find(Config(proxy=server.url), release)


def test_a_file_that_is_nowhere_does_not_speak_against_the_proxy(release):
    with http.serving(http.apt_cacher) as cacher:
        assert proxy.failure(cacher.url, release.replace("lab", "gone")) == ""


def test_any_other_file_may_begin_as_it_likes():
    with http.serving(lambda path, headers: (200, b"{}", {})) as server, http.serving(http.forward) as relay:
        assert proxy.failure(relay.url, f"{server.url}/streams/v1/images.json") == ""


def test_an_answer_is_remembered_for_a_minute(tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    config = Config(cache_dir=tmp_path / "cache")
    url = "http://192.0.2.77/dists/lab/InRelease"
    key = proxy._key(url)
    proxy._remember(config, key, proxy.Proxy("http://user:secret@cache:3142", "somewhere"))
    path = config.cache / proxy.CACHE_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert proxy.find(config, url).url == "http://user:secret@cache:3142"
    assert proxy._remembered(config, proxy._key(url + "x")) is None
    monkeypatch.setenv("http_proxy", "http://other")
    assert proxy._remembered(config, proxy._key(url)) is None
    path.write_text(path.read_text().replace(str(time.time())[:6], str(time.time() - 9_000_000)[:6]))
    assert proxy._remembered(config, key) is None
    path.write_text("{[")
    assert proxy._remembered(config, key) is None


FIB = """\
Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 192.0.2.2
        /32 host LOCAL
     |-- 192.0.2.255
        /32 link BROADCAST
"""
ROUTES = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
eth1	00000000	00000000	0001	0	0	0	00000000	0	0	0
"""


@pytest.mark.skipif(sys.byteorder != "little", reason="the table is written in host order")
def test_the_kernels_tables_are_read():
    assert proxies.own_addresses(FIB) == ("127.0.0.1", "192.0.2.2")
    assert proxies.gateways(ROUTES) == ("192.0.2.1",)
    assert proxies.own_addresses()[0] == "127.0.0.1"


def test_domains_are_the_hosts_and_the_resolvers():
    assert proxies.domains("vm.lab.example", "search a.example b.example.\n#search x\n") == (
        "lab.example",
        "a.example",
        "b.example",
    )
    assert proxies.domains("vm", "nameserver 192.0.2.1\n") == ()
