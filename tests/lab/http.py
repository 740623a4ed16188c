"""Small HTTP servers in threads: web servers with what a test gives them, and forwarding proxies."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Answer = tuple[int, bytes, dict[str, str]]
"""Status, body, headers."""
Reply = Callable[[str, dict[str, str]], "Answer | None"]
"""From path (or whole URL, for a proxy) and headers; None: hang up without a word."""


@dataclass
class Server:
    """A running server and what it was asked."""

    url: str
    requests: list[str] = field(default_factory=list)


@contextlib.contextmanager
def serving(reply: Reply, address: str = "127.0.0.1", port: int = 0) -> Iterator[Server]:
    """A server that answers with reply until the block is left."""
    state = Server("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.requests.append(self.path)
            answer = reply(self.path, dict(self.headers))
            if answer is None:
                self.close_connection = True
                return
            status, body, headers = answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer((address, port), Handler)
    server.daemon_threads = True
    state.url = f"http://{address}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def forward(url: str, headers: dict[str, str]) -> Answer:
    """Get what a proxy was asked for from where it is."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.request("GET", parts.path or "/")
        response = connection.getresponse()
        return response.status, response.read(), {}
    finally:
        connection.close()


def apt_cacher(url: str, headers: dict[str, str]) -> Answer:
    """As apt-cacher-ng: usage with status 406 for a browser, files for apt."""
    return forward(url, headers) if "://" in url else (406, b"<title>Apt-cacher</title>", {})


def squid(url: str, headers: dict[str, str]) -> Answer:
    """As squid: an error with its name for a browser."""
    return forward(url, headers) if "://" in url else (400, b"", {"Server": "squid/5.7", "X-Squid-Error": "x"})
