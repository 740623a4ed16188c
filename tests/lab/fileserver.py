"""A web server of files as real ones behave: Range, If-Range, ETag, 304; and as they misbehave."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.lab.http import Answer, serving


@dataclass
class Files:
    """What is served: path -> content. A test changes it as it goes."""

    content: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    """Each takes one answer with a body: that many bytes are sent, then the connection is closed."""
    errors: list[int] = field(default_factory=list)
    """Each takes one answer: its status."""
    ranges: bool = True
    versions: bool = True
    """Whether ETag is sent and asked for."""
    extra: dict[str, str] = field(default_factory=dict)
    """Headers to add."""
    url: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent: int = 0
    """Bytes of bodies."""

    def paths(self) -> list[str]:
        return [path for path, _headers in self.asked]

    def reply(self, path: str, headers: dict[str, str]) -> Answer:
        self.asked.append((path, headers))
        if self.errors:
            return self.errors.pop(0), b"", {}
        if path in self.redirects:
            return 302, b"", {"Location": self.redirects[path]}
        if path not in self.content:
            return 404, b"<html>no such file</html>", {}
        status, body, fields = self._answer(self.content[path], headers)
        fields = {"Content-Length": str(len(body)), **fields, **self.extra}
        if body and self.cuts:
            body = body[: self.cuts.pop(0)]
            fields["Connection"] = "close"
        self.sent += len(body)
        return status, body, fields

    def _answer(self, body: bytes, headers: dict[str, str]) -> Answer:
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        fields = {"ETag": tag} if self.versions else {}
        if self.versions and headers.get("If-None-Match") == tag:
            return 304, b"", fields
        wanted = re.fullmatch(r"bytes=(\d+)-", headers.get("Range", ""))
        if wanted and self.ranges and headers.get("If-Range", tag) == tag:
            first = int(wanted[1])
            if first >= len(body):
                return 416, b"", {"Content-Range": f"bytes */{len(body)}"}
            return 206, body[first:], {**fields, "Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}"}
        return 200, body, fields


@contextlib.contextmanager
def files(**content: bytes) -> Iterator[Files]:
    """Serve files on loopback until the block is left; keywords name the first ones."""
    served = Files({f"/{name}": data for name, data in content.items()})
    with serving(served.reply) as server:
        served.url = server.url
        yield served
