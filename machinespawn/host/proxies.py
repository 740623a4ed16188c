"""Apt proxies near this host: what answers like one on its own addresses and its gateway, in DNS and in mDNS.

Ports and marks are those of apt-cacher-ng, approx, squid-deb-proxy and squid.
Nobody else's address is knocked at.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from machinespawn import shell
from machinespawn.host import apt
from machinespawn.text import _

TIMEOUT = 1.0
"""Seconds that any one question may take."""

_MARKS = {
    3142: re.compile(rb"^HTTP/\S+ 406 |<title>[^<]*apt-cacher", re.I),
    9999: re.compile(rb"<title>[^<]*approx|^server: *approx", re.I | re.M),
    3563: re.compile(rb"^(server|via|x-squid-error|x-cache)[^\n]*squid|^x-squid-error:", re.I | re.M),
    8000: re.compile(rb"^(server|via|x-squid-error|x-cache)[^\n]*squid|^x-squid-error:", re.I | re.M),
}
"""Port -> what the answer to GET / looks like if the proxy of that port gives it."""

Found = tuple[str, str]
"""(URL, where it was found)."""


def nearby() -> Iterator[Found]:
    """Proxies in the order they should be tried; each step is taken only when it is asked for."""
    yield from listening((*own_addresses(), *gateways()))
    yield from announced()
    yield from multicast()


def listening(addresses: tuple[str, ...]) -> tuple[Found, ...]:
    """Those of the addresses that have something like an apt proxy on a port where one is to be expected."""
    places = list(product(dict.fromkeys(addresses), _MARKS))
    with ThreadPoolExecutor(max_workers=16) as threads:
        answers = list(threads.map(lambda place: _answer(*place), places))
    return tuple(
        (f"http://{address}:{port}", _("it listens at {address} port {port}").format(address=address, port=port))
        for (address, port), answer in zip(places, answers, strict=True)
        if _MARKS[port].search(answer)
    )


def _answer(address: str, port: int) -> bytes:
    """The first 8 KiB of what answers GET / there; empty if nothing does in time."""
    deadline = time.monotonic() + TIMEOUT
    answer = b""
    try:
        with socket.create_connection((address, port), timeout=TIMEOUT) as connection:
            connection.sendall(f"GET / HTTP/1.0\r\nHost: {address}:{port}\r\n\r\n".encode())
            while len(answer) < 8192 and (left := deadline - time.monotonic()) > 0:
                connection.settimeout(left)
                if not (chunk := connection.recv(8192)):
                    break
                answer += chunk
    except OSError:
        pass
    return answer


def own_addresses(fib_trie: str | None = None) -> tuple[str, ...]:
    """IPv4 addresses of this host, loopback first, from the kernel's table of local routes."""
    text = _read(Path("/proc/net/fib_trie")) if fib_trie is None else fib_trie
    found = re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", text)
    return tuple(dict.fromkeys(("127.0.0.1", *found)))


def gateways(routes: str | None = None) -> tuple[str, ...]:
    """The next hops of the default routes; in a container that is its host."""
    text = _read(Path("/proc/net/route")) if routes is None else routes
    rows = [line.split() for line in text.splitlines()[1:]]
    hops = [int(row[2], 16) for row in rows if len(row) > 2 and row[1] == "00000000" and row[2] != "00000000"]
    return tuple(dict.fromkeys(socket.inet_ntoa(struct.pack("=I", hop)) for hop in hops))


def announced() -> Iterator[Found]:
    """From SRV records _apt_proxy._tcp of the host's domains."""
    for domain in domains(os.uname().nodename, _read(Path("/etc/resolv.conf"))):
        for host, port in apt.service(f"_apt_proxy._tcp.{domain}"):
            yield f"http://{host}:{port}", _("the DNS of {domain} announces it").format(domain=domain)


def domains(hostname: str, resolv_conf: str) -> tuple[str, ...]:
    """The domains of the host: of its name, and those that its resolver searches."""
    own = hostname.partition(".")[2]
    searched = re.findall(r"^(?:search|domain)\s+(.+)$", resolv_conf, re.M)
    names = [own, *(name.rstrip(".") for line in searched for name in line.split())]
    return tuple(dict.fromkeys(name for name in names if name))


def multicast() -> Iterator[Found]:
    """From mDNS, where avahi-browse is installed."""
    if shutil.which("avahi-browse") is None:
        return
    argv = ["timeout", str(TIMEOUT), "avahi-browse", "--parsable", "--resolve", "--terminate", "_apt_proxy._tcp"]
    printed = shell.run(argv, check=False).stdout
    for fields in (line.split(";") for line in printed.splitlines()):
        if fields[0] == "=" and len(fields) > 8 and fields[2] == "IPv4" and fields[8].isdigit():
            yield f"http://{fields[7]}:{fields[8]}", _("{name} announces it by mDNS").format(name=fields[6])


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # a container may hide it
        return ""
