"""Proxies found on a whole network: each test has one of its own, with nothing in it but what it starts."""

import ctypes
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from machinespawn import progress
from machinespawn.config import Config
from machinespawn.fetch import proxy
from machinespawn.host import proxies
from tests.lab import http
from tests.lab.namespaces import cover, isolated

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="needs iproute2"),
]

MIRROR, OTHER = "10.77.0.1", "10.77.0.2"
RELEASE = f"http://{MIRROR}:8080/dists/lab/InRelease"


def mirror(path, headers):
    body = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nOrigin: Lab\n"
    return (200, body, {}) if path.endswith("/InRelease") else (404, b"", {})


def find(directory: Path, environment: dict[str, str]) -> tuple[str, list[str]]:
    """(URL of the proxy, warnings) with that environment; to be called on the network of its own."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ.update(environment)
    warnings: list[str] = []
    progress.speak_with(lambda event, text, depth, seconds: warnings.append(text) if event == "warning" else None)
    found = proxy.find(Config(cache_dir=directory), RELEASE)
    return found.url, warnings


def network() -> None:
    for address in (MIRROR, OTHER):
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)


def test_nothing_around_is_direct_without_a_warning(tmp_path):
    def inside():
        network()
        with http.serving(mirror, MIRROR, 8080):
            return find(tmp_path, {})

    assert isolated(inside) == ("", [])


def test_a_cacher_on_an_own_address_is_found_and_remembered(tmp_path):
    def inside():
        network()
        with http.serving(mirror, MIRROR, 8080), http.serving(http.apt_cacher, OTHER, 3142) as cacher:
            first = find(tmp_path, {})
            asked = len(cacher.requests)
            return first, find(tmp_path, {}), asked, len(cacher.requests)

    first, second, asked, asked_again = isolated(inside)
    assert first == second == (f"http://{OTHER}:3142", [])
    assert asked == asked_again == 2


def test_only_what_looks_like_an_apt_proxy_is_a_candidate():
    def listening():
        return [url for url, _origin in proxies.listening(("127.0.0.1",))]

    def inside():
        with (
            http.serving(http.squid, port=8000),
            http.serving(http.apt_cacher, port=3563),
            http.serving(mirror, port=9999),
        ):
            wrong_ports = listening()
        with http.serving(http.apt_cacher, port=3142), http.serving(mirror, port=8000):
            return wrong_ports, listening()

    assert isolated(inside) == (["http://127.0.0.1:8000"], ["http://127.0.0.1:3142"])


def test_the_environment_comes_before_what_listens(tmp_path):
    def inside():
        network()
        with (
            http.serving(mirror, MIRROR, 8080),
            http.serving(http.apt_cacher, "127.0.0.1", 3142),
            http.serving(http.forward, OTHER, 1234),
        ):
            return find(tmp_path, {"http_proxy": f"http://{OTHER}:1234/"})

    assert isolated(inside) == (f"http://{OTHER}:1234", [])


def test_a_dead_proxy_in_the_environment_is_warned_of_and_the_next_is_taken(tmp_path):
    def inside():
        network()
        with http.serving(mirror, MIRROR, 8080), http.serving(http.squid, "127.0.0.1", 8000):
            return find(tmp_path, {"HTTP_PROXY": f"http://user:secret@{OTHER}:1234"})

    url, warnings = isolated(inside)
    assert url == "http://127.0.0.1:8000"
    assert len(warnings) == 1
    assert f"http://{OTHER}:1234" in warnings[0]
    assert "secret" not in warnings[0]


def test_a_cacher_that_cannot_reach_the_mirror_is_left_out(tmp_path):
    def broken(url, headers):
        return (503, b"", {}) if "://" in url else http.apt_cacher(url, headers)

    def inside():
        network()
        with http.serving(mirror, MIRROR, 8080), http.serving(broken, "127.0.0.1", 3142):
            return find(tmp_path, {})

    url, warnings = isolated(inside)
    assert url == ""
    assert "503" in warnings[0]


def test_no_proxy_is_heeded(tmp_path):
    def inside():
        network()
        with http.serving(mirror, MIRROR, 8080), http.serving(http.apt_cacher, "127.0.0.1", 3142):
            return find(tmp_path, {"http_proxy": "http://127.0.0.1:3142", "no_proxy": MIRROR})

    assert isolated(inside) == ("", [])


@pytest.mark.skipif(shutil.which("apt-config") is None, reason="no apt on this host")
def test_apts_own_proxy_is_taken(tmp_path):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/proxy").write_text(f'Acquire::http::Proxy "http://{OTHER}:1234/";\n')

    def inside():
        network()
        cover("/etc/apt/apt.conf.d", str(tmp_path / "conf.d"))
        with http.serving(mirror, MIRROR, 8080), http.serving(http.forward, OTHER, 1234):
            return find(tmp_path, {})

    assert isolated(inside) == (f"http://{OTHER}:1234", [])


@pytest.mark.skipif(not Path("/usr/lib/apt/apt-helper").exists(), reason="no apt on this host")
def test_what_apts_detection_script_prints_is_taken(tmp_path):
    (tmp_path / "conf.d").mkdir()

    def inside():
        network()
        cover("/etc/apt/apt.conf.d", str(tmp_path / "conf.d"))
        with http.serving(mirror, MIRROR, 8080), http.serving(http.forward, OTHER, 1234):
            return find(tmp_path, {})

    with tempfile.TemporaryDirectory() as directory:  # the user _apt, who runs the script, cannot look into tmp_path
        Path(directory).chmod(0o755)
        script = Path(directory, "detect")
        script.write_text(f"#!/bin/sh\necho http://{OTHER}:1234\n")
        script.chmod(0o755)
        (tmp_path / "conf.d/proxy").write_text(f'Acquire::http::Proxy-Auto-Detect "{script}";\n')
        assert isolated(inside) == (f"http://{OTHER}:1234", [])


def dns_name(name: str) -> bytes:
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def answer_srv(server: socket.socket) -> None:
    """A name server that knows one SRV record: cacher.lab.example, port 1234."""
    while True:
        query, client = server.recvfrom(512)
        end = query.index(b"\0", 12) + 5
        known = query[12:end].lower() == dns_name("_apt_proxy._tcp.lab.example") + struct.pack("!HH", 33, 1)
        data = struct.pack("!HHH", 0, 0, 1234) + dns_name("cacher.lab.example")
        record = b"\xc0\x0c" + struct.pack("!HHIH", 33, 1, 60, len(data)) + data
        header = query[:2] + struct.pack("!HHHHH", 0x8580 if known else 0x8583, 1, int(known), 0, 0)
        server.sendto(header + query[12:end] + (record if known else b""), client)


@pytest.mark.skipif(not Path("/usr/lib/apt/apt-helper").exists(), reason="no apt on this host")
def test_dns_may_announce_one(tmp_path):
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\nsearch lab.example\n")
    (tmp_path / "hosts").write_text(f"127.0.0.1 localhost\n{OTHER} cacher.lab.example\n")

    def inside():
        network()
        cover("/etc/resolv.conf", str(tmp_path / "resolv.conf"))
        cover("/etc/hosts", str(tmp_path / "hosts"))
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 53))
        threading.Thread(target=answer_srv, args=(server,), daemon=True).start()
        with http.serving(mirror, MIRROR, 8080), http.serving(http.forward, OTHER, 1234):
            return find(tmp_path, {})

    assert isolated(inside) == ("http://cacher.lab.example:1234", [])


def test_the_gateway_is_asked_too(tmp_path):
    """The gateway is a network namespace of its own behind a pair of virtual cables."""

    def inside():
        run("ip", "link", "add", "inner", "type", "veth", "peer", "name", "outer")
        gateway = subprocess.Popen(["unshare", "--net", "sleep", "60"])
        try:
            while os.readlink(f"/proc/{gateway.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
                time.sleep(0.01)
            run("ip", "link", "set", "outer", "netns", str(gateway.pid))
            beyond = ("nsenter", f"--net=/proc/{gateway.pid}/ns/net")
            run(*beyond, "ip", "link", "set", "lo", "up")
            run(*beyond, "ip", "address", "add", "10.78.0.1/24", "dev", "outer")
            run(*beyond, "ip", "address", "add", f"{MIRROR}/32", "dev", "lo")
            run(*beyond, "ip", "link", "set", "outer", "up")
            run("ip", "address", "add", "10.78.0.2/24", "dev", "inner")
            run("ip", "link", "set", "inner", "up")
            run("ip", "route", "add", "default", "via", "10.78.0.1")
            # a server's threads stay on the network that they were started on
            ours = os.open("/proc/self/ns/net", os.O_RDONLY)
            theirs = os.open(f"/proc/{gateway.pid}/ns/net", os.O_RDONLY)
            enter_network(theirs)
            with http.serving(mirror, MIRROR, 8080), http.serving(http.apt_cacher, "10.78.0.1", 3142):
                enter_network(ours)
                return find(tmp_path, {})
        finally:
            gateway.kill()
            gateway.wait()

    assert isolated(inside) == ("http://10.78.0.1:3142", [])


def run(*argv: str) -> None:
    subprocess.run(argv, check=True)


def enter_network(descriptor: int) -> None:
    assert ctypes.CDLL(None).setns(descriptor, 0x40000000) == 0
