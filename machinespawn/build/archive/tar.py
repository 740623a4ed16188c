"""Reading a tar once, forwards, from a pipe or a file, with the bounds that tarfile lacks."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from typing import Any, cast

from machinespawn.errors import BuildError
from machinespawn.text import _, quantity

CHUNK = 1 << 20
HEADER_MAX = 1 << 20
"""Bytes of one extended header: tarfile reads it whole, and asks no more of memory than that."""
TRAILER_MAX = 64 << 20
"""Bytes after the end mark; tar pads to a record, 10 KiB if not told otherwise."""


class Damaged(Exception):
    """The bytes are no tar, or end too early. Whoever knows the archive's name tells the user."""


class Reader:
    """The bytes of a tar. It is what tarfile takes for a file, and refuses to go backwards."""

    def __init__(self, descriptor: int, limit: int, algorithm: str = "") -> None:
        """``limit``: how many bytes may come. ``algorithm``: hash that is taken of all of them."""
        self._descriptor = descriptor
        self._limit = limit
        self._hash = hashlib.new(algorithm) if algorithm else None
        self._buffer = b""
        self._at = 0
        self._seen = 0

    def _fill(self) -> bool:
        """Add what comes next to what the buffer still holds; False at the end."""
        more = os.read(self._descriptor, CHUNK)
        self._buffer, self._at = self._buffer[self._at :] + more, 0
        self._seen += len(more)
        if self._hash:
            self._hash.update(more)
        if self._seen > self._limit:
            raise BuildError(
                _("it unpacks to more than {limit}, which is all that is free there").format(
                    limit=quantity(self._limit)
                ),
                _("make room (machinespawn clean-cache), or do not use this archive if it should be small"),
            )
        return bool(more)

    def _held(self) -> int:
        return len(self._buffer) - self._at

    def tell(self) -> int:
        """Where the next byte stands."""
        return self._seen - len(self._buffer) + self._at

    def at_end(self) -> bool:
        """Whether the end mark comes next, or nothing at all."""
        while self._held() < tarfile.BLOCKSIZE and self._fill():
            pass
        return not self._buffer[self._at : self._at + tarfile.BLOCKSIZE].strip(b"\0")

    def read(self, size: int) -> bytes:
        """Up to size bytes of a header; fewer only at the end."""
        if not 0 <= size <= HEADER_MAX:
            raise Damaged(_("a header of {size} bytes").format(size=size))
        while self._held() < size and self._fill():
            pass
        found = self._buffer[self._at : self._at + size]
        self._at += len(found)
        return found

    def seek(self, position: int) -> None:
        """Skip to position, which lies ahead."""
        missing = position - self.tell()
        if missing < 0:
            raise Damaged(_("a member that ends before it begins"))
        while missing > self._held():
            missing -= self._held()
            self._at = len(self._buffer)
            if not self._fill():
                raise Damaged(_("it ends too early"))
        self._at += missing

    def copy(self, size: int, sink: int) -> None:
        """Write the next size bytes to the descriptor sink."""
        if size < 0:
            raise Damaged(_("a member of {size} bytes").format(size=size))
        while size:
            if not self._held() and not self._fill():
                raise Damaged(_("it ends too early"))
            written = os.write(sink, memoryview(self._buffer)[self._at : self._at + size])
            self._at += written
            size -= written

    def drain(self, sink: int) -> None:
        """Write all that is left to the descriptor sink."""
        while self._held() or self._fill():
            self.copy(self._held(), sink)

    def finish(self) -> str:
        """Read what is left, and give the hash of everything; empty where none is taken."""
        end = self.tell()
        while self._fill():
            self._at = len(self._buffer)
            if self._seen - end > TRAILER_MAX:
                raise Damaged(_("it goes on for more than {size} after its end").format(size=quantity(TRAILER_MAX)))
        return self._hash.hexdigest() if self._hash else ""


class _Archive(tarfile.TarFile):
    """tarfile's parser without its walk, which takes a damaged header for the end of the archive."""

    def next(self) -> None:
        """Nothing: members() walks."""


def members(reader: Reader) -> Iterator[tarfile.TarInfo]:
    """The members in their order. Read a member's data, if at all, before you ask for the next one."""
    archive = _Archive(fileobj=cast(Any, reader), encoding="utf-8", errors="surrogateescape")
    while not reader.at_end():
        try:
            member = tarfile.TarInfo.fromtarfile(archive)
        except (tarfile.TarError, ValueError, OverflowError, LookupError, RecursionError, MemoryError) as error:
            raise Damaged(str(error) or type(error).__name__) from error
        yield member
        reader.seek(archive.offset)


def parts(name: str) -> tuple[str, ...]:
    """The components of a member's name, without '.', empty ones and a leading '/'."""
    return tuple(part for part in name.split("/") if part not in ("", "."))
