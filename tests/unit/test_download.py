"""Downloads over loopback: what is asked, what is kept, and what a bad line or a bad server does."""

from __future__ import annotations

import contextvars
import hashlib
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from machinespawn import progress
from machinespawn.config import Config
from machinespawn.errors import BuildError, MachinespawnError, NetworkError, NotFoundError, TrustError
from machinespawn.fetch import download, partial, transfer
from tests.lab.fileserver import Files, files

BIG = os.urandom(3 << 20)
SHA = hashlib.sha256(BIG).hexdigest()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(root=tmp_path)


@pytest.fixture
def server() -> Iterator[Files]:
    with files(big=BIG) as served:
        yield served


def left(config: Config) -> list[str]:
    """Everything in the cache that is content or on its way to it."""
    found = [*download.directory(config).glob("sha256/*"), *download.directory(config).glob("partial/*")]
    return sorted(path.name for path in found)


def test_kept_by_its_digest(config: Config, server: Files) -> None:
    path = download.fetch(f"{server.url}/big", config)
    assert path == config.cache / "downloads/sha256" / SHA
    assert path.read_bytes() == BIG
    assert left(config) == [SHA]


def test_within_refresh_nobody_is_asked_again(config: Config, server: Files) -> None:
    for _time in range(2):
        download.fetch(f"{server.url}/big", config)
    assert server.paths() == ["/big"]


def test_after_refresh_the_server_is_asked_and_says_unchanged(tmp_path: Path, server: Files) -> None:
    config = Config(root=tmp_path, refresh=0)
    for _time in range(2):
        assert download.fetch(f"{server.url}/big", config).read_bytes() == BIG
    assert len(server.asked) == 2
    assert server.sent == len(BIG)


def test_after_refresh_a_changed_file_is_fetched(tmp_path: Path, server: Files) -> None:
    config = Config(root=tmp_path, refresh=0)
    download.fetch(f"{server.url}/big", config)
    server.content["/big"] = b"new"
    assert download.fetch(f"{server.url}/big", config).read_bytes() == b"new"


def test_known_content_is_asked_of_nobody_whatever_the_url(config: Config, server: Files) -> None:
    download.fetch(f"{server.url}/big", config)
    path = download.fetch("http://127.0.0.1:1/elsewhere", config, sha256=SHA)
    assert path.read_bytes() == BIG


def test_damaged_content_is_fetched_again(config: Config, server: Files) -> None:
    path = download.fetch(f"{server.url}/big", config, sha256=SHA)
    path.write_bytes(BIG[:-1] + b"x")
    assert download.fetch(f"{server.url}/big", config, sha256=SHA).read_bytes() == BIG


def test_another_digest_is_an_error_and_nothing_is_kept(config: Config, server: Files) -> None:
    with pytest.raises(TrustError, match=SHA):
        download.fetch(f"{server.url}/big", config, sha256="0" * 64)
    assert left(config) == []


def test_a_cut_connection_is_resumed(config: Config, server: Files) -> None:
    server.cuts = [1_500_000, 1_200_000]
    assert download.fetch(f"{server.url}/big", config).read_bytes() == BIG
    assert [headers.get("Range") for _path, headers in server.asked] == [None, "bytes=1500000-", "bytes=2700000-"]
    assert server.sent == len(BIG)


def test_the_next_run_resumes_what_one_gave_up(config: Config, server: Files) -> None:
    server.cuts = [2_000_000, 0, 0, 0, 0]
    with pytest.raises(NetworkError) as raised:
        download.fetch(f"{server.url}/big", config)
    assert "2.0 MB" in raised.value.hint
    assert len(server.asked) == 1 + transfer.TRIES
    server.asked.clear()
    assert download.fetch(f"{server.url}/big", config).read_bytes() == BIG
    assert [headers.get("Range") for _path, headers in server.asked] == ["bytes=2000000-"]


def begun(config: Config, server: Files, data: bytes, etag: str = "") -> None:
    """Leave a part behind, as a killed process does."""
    url = f"{server.url}/big"
    wish = partial.Wish(url, config.cache / "downloads/partial" / hashlib.sha256(url.encode()).hexdigest()[:32], "big")
    wish.begin(partial.Version(etag))
    wish.partial.write_bytes(data)


def test_a_part_of_another_version_is_not_continued(config: Config, server: Files) -> None:
    begun(config, server, b"x" * 100, '"another"')
    assert download.fetch(f"{server.url}/big", config).read_bytes() == BIG
    assert server.asked[0][1]["If-Range"] == '"another"'


def test_a_part_without_version_is_continued_only_if_the_digest_is_known(config: Config, server: Files) -> None:
    server.versions = False
    begun(config, server, BIG[:100])
    assert download.fetch(f"{server.url}/big", config).read_bytes() == BIG
    begun(config, server, BIG[:100])
    shutil.rmtree(download.directory(config) / "sha256")
    assert download.fetch(f"{server.url}/big", config, sha256=SHA).read_bytes() == BIG
    assert [headers.get("Range") for _path, headers in server.asked] == [None, "bytes=100-"]


def test_a_wrong_part_is_found_out_by_the_digest_and_thrown_away(config: Config, server: Files) -> None:
    server.versions = False
    begun(config, server, b"x" * 100)
    assert download.fetch(f"{server.url}/big", config, sha256=SHA).read_bytes() == BIG


def test_a_complete_part_needs_no_more_bytes(config: Config, server: Files) -> None:
    begun(config, server, BIG, f'"{hashlib.md5(BIG).hexdigest()}"')
    assert download.fetch(f"{server.url}/big", config).read_bytes() == BIG
    assert server.sent == 0


def test_a_server_that_knows_no_ranges(config: Config, server: Files) -> None:
    server.ranges, server.cuts = False, [2_000_000]
    assert download.fetch(f"{server.url}/big", config).read_bytes() == BIG


def test_a_server_that_stumbles_once(config: Config, server: Files) -> None:
    server.errors = [503]
    assert download.fetch(f"{server.url}/big", config).read_bytes() == BIG


@pytest.mark.parametrize("status", [403, 404, 410])
def test_what_is_not_there(config: Config, server: Files, status: int) -> None:
    server.errors = [status]
    with pytest.raises(NotFoundError, match=str(status)):
        download.fetch(f"{server.url}/none", config)
    assert len(server.asked) == 1


def test_nobody_listens(config: Config) -> None:
    with pytest.raises(NetworkError) as raised:
        download.fetch("http://127.0.0.1:1/file", config)
    assert raised.value.hint


def test_redirects_are_followed(config: Config, server: Files) -> None:
    server.redirects = {"/latest": "/next", "/next": f"{server.url}/big"}
    assert download.fetch(f"{server.url}/latest", config).read_bytes() == BIG


def test_redirects_that_never_end(config: Config, server: Files) -> None:
    server.redirects = {"/round": "/round"}
    with pytest.raises(NetworkError, match="redirects"):
        download.fetch(f"{server.url}/round", config)


@pytest.mark.parametrize("target", ["http://example.org/file", "file:///etc/shadow", "ftp://example.org/file"])
def test_no_redirect_away_from_tls(target: str) -> None:
    with pytest.raises(TrustError):
        transfer.redirected("https://example.org/file", target)


@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        ("https://example.org/a/b", "c", "https://example.org/a/c"),
        ("http://example.org/a", "https://example.net/b", "https://example.net/b"),
        ("http://example.org/a", "//example.net/b", "http://example.net/b"),
    ],
)
def test_redirects_that_are_no_weaker(url: str, location: str, target: str) -> None:
    assert transfer.redirected(url, location) == target


def test_bytes_are_kept_as_they_come(config: Config, server: Files) -> None:
    server.extra = {"Content-Encoding": "gzip"}
    assert download.fetch(f"{server.url}/big", config).read_bytes() == BIG
    assert server.asked[0][1]["Accept-Encoding"] == "identity"


def test_offline_only_what_is_here(tmp_path: Path, server: Files) -> None:
    offline = Config(root=tmp_path, offline=True, refresh=0)
    with pytest.raises(NetworkError, match="not in the cache"):
        download.fetch(f"{server.url}/big", offline)
    download.fetch(f"{server.url}/big", Config(root=tmp_path))
    assert download.fetch(f"{server.url}/big", offline).read_bytes() == BIG
    assert len(server.asked) == 1


def test_many_at_once_share_one_download(config: Config, server: Files) -> None:
    ready, results = threading.Barrier(4), []

    def fetch() -> None:
        ready.wait()
        results.append(download.fetch(f"{server.url}/big", config).read_bytes() == BIG)

    threads = [threading.Thread(target=fetch) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4
    assert server.paths() == ["/big"]


def test_a_cache_that_is_deleted_meanwhile(config: Config, server: Files) -> None:
    deleted: list[str] = []

    class Deleting(dict[str, bytes]):
        def __getitem__(self, path: str) -> bytes:
            if not deleted:
                deleted.append(path)
                shutil.rmtree(config.cache)
            return super().__getitem__(path)

    server.content = Deleting(server.content)
    assert download.fetch(f"{server.url}/big", config).read_bytes() == BIG
    assert deleted


def test_a_cache_that_is_deleted_before_it_is_sealed(config: Config, server: Files) -> None:
    deleted: list[str] = []

    def voice(event: str, text: str, depth: int, seconds: float) -> None:
        if event == "done" and not deleted:
            deleted.append(text)
            shutil.rmtree(config.cache)

    context = contextvars.copy_context()
    context.run(progress.speak_with, voice)
    path = context.run(download.fetch, f"{server.url}/big", config)
    assert path.read_bytes() == BIG
    assert deleted == ["download big (3.1 MB)"]


def test_more_than_may_come(config: Config, server: Files) -> None:
    with pytest.raises(NetworkError, match="more than"):
        download.fetch(f"{server.url}/big", config, limit=1000)
    assert left(config) == []


def test_more_than_the_disk_takes(config: Config, server: Files) -> None:
    server.extra = {"Content-Length": str(1 << 60), "Connection": "close"}
    with pytest.raises(BuildError, match="no room") as raised:
        download.fetch(f"{server.url}/big", config)
    assert "clean-cache" in raised.value.hint


@pytest.mark.parametrize("url", ["gopher://127.0.0.1/x", "http://", "nonsense"])
def test_what_is_no_url(config: Config, url: str) -> None:
    with pytest.raises(MachinespawnError) as raised:
        download.fetch(url, config)
    assert raised.value.hint


def test_through_a_proxy(config: Config, server: Files) -> None:
    server.content["http://far.example.org/file"] = b"by proxy"
    path = download.fetch("http://far.example.org/file", config, proxy=lambda _url: server.url)
    assert path.read_bytes() == b"by proxy"


def test_a_server_that_cannot_prove_who_it_is(config: Config, tmp_path: Path) -> None:
    pem = tmp_path / "self-signed.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*argv, *names, "-keyout", pem, "-out", tmp_path / "cert"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", pem)
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as served:
        served.socket = context.wrap_socket(served.socket, server_side=True)
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            with pytest.raises(TrustError, match="prove who it is"):
                download.fetch(f"https://127.0.0.1:{served.server_port}/file", config)
        finally:
            served.shutdown()
            thread.join()
