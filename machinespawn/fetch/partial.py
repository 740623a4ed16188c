"""A file on its way: how much of it is here and of which version, and how it grows within its limits."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from machinespawn.errors import BuildError, NetworkError
from machinespawn.files import write_atomic
from machinespawn.text import _, quantity


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

    def check_room(self, here: int, total: int) -> None:
        """Refuse, before it begins, what is too large or has no room: ``total`` bytes, of which ``here`` are there."""
        self._check_size(total)
        status = os.statvfs(self.partial.parent)
        if total - here > status.f_bavail * status.f_frsize:
            raise self._full()

    @contextlib.contextmanager
    def growing(self, here: int) -> Iterator[Callable[[bytes], None]]:
        """What appends to the first ``here`` bytes of the partial file.

        Raises NetworkError past the limit and BuildError on a full disk; nothing is kept then.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(self.partial, flags, 0o600), "wb", buffering=0) as file:
            file.truncate(here)
            file.seek(here)

            def append(chunk: bytes) -> None:
                self._check_size(file.tell() + len(chunk))
                self._write(file.fileno(), chunk)

            yield append

    def _check_size(self, size: int) -> None:
        if self.limit and size > self.limit:
            self.drop()
            raise NetworkError(
                _("{url} has more than {limit}").format(url=self.url, limit=quantity(self.limit)),
                _("it is not what it should be: check the URL"),
            )

    def _write(self, descriptor: int, chunk: bytes) -> None:
        try:
            view = memoryview(chunk)
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self.drop()  # a full disk hurts everybody
                raise self._full() from error
            raise

    def _full(self) -> BuildError:
        return BuildError(
            _("there is no room for {name} on the file system of {directory}").format(
                name=self.name, directory=self.partial.parent
            ),
            _("make room: machinespawn clean-cache; or name another cache_dir in /etc/machinespawn.yaml"),
        )
