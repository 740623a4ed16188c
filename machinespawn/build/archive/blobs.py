"""Where the parts of a container image lie: in a tar that can be read anywhere, or in a directory."""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from machinespawn.build.archive.flow import Span
from machinespawn.build.archive.tar import Damaged, Reader, members, parts
from machinespawn.errors import BuildError
from machinespawn.text import _

MEMBERS_MAX = 100_000
"""An image has some hundred layers at most, each with a few members."""


class Blobs(Protocol):
    """The named parts of an image."""

    @property
    def title(self) -> str:
        """What to call the image in an error."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is such a part."""
        ...

    def opened(self, name: str) -> contextlib.AbstractContextManager[Span]:
        """The bytes of a part. Raises BuildError where it is missing."""
        ...


@dataclass(frozen=True)
class InTar:
    """Members of an uncompressed tar."""

    title: str
    descriptor: int
    index: Mapping[str, tuple[int, int]]
    """Name -> (offset, size)."""

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return name in self.index

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[Span]:
        """The member's data."""
        if name not in self.index:
            raise missing(self.title, name)
        offset, size = self.index[name]
        yield Span(self.descriptor, offset, size, f"{self.title}: {name}")


@dataclass(frozen=True)
class InDirectory:
    """Files of an OCI layout."""

    path: Path

    @property
    def title(self) -> str:
        """The path."""
        return str(self.path)

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.path / name).is_file()

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[Span]:
        """The file's content; not through a link, nor from what would block."""
        try:
            descriptor = os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise missing(self.title, name) from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise missing(self.title, name)
            yield Span(descriptor, 0, status.st_size, f"{self.title}: {name}")
        finally:
            os.close(descriptor)


def missing(title: str, name: str) -> BuildError:
    """The error for a part that is named but not there."""
    return BuildError(
        _("{image} lacks its part {name!r}").format(image=title, name=name[:200]),
        _("make the archive anew: skopeo copy docker://IMAGE oci-archive:FILE"),
    )


def in_tar(title: str, descriptor: int, size: int) -> InTar:
    """The parts of the tar of that size in an open file. Links among them are followed, as docker save writes some."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    index: dict[str, tuple[int, int]] = {}
    links: dict[str, str] = {}
    try:
        for count, member in enumerate(members(Reader(descriptor, size))):
            if count > MEMBERS_MAX:
                raise Damaged(_("more than {count} members are no image").format(count=MEMBERS_MAX))
            name = "/".join(parts(member.name))
            if member.isreg() and not member.issparse():
                index[name] = (member.offset_data, member.size)
            elif member.issym():
                links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
            elif member.islnk():
                links[name] = "/".join(parts(member.linkname))
    except Damaged as error:
        raise BuildError(
            _("{name} is damaged: {why}").format(name=title, why=error),
            _("fetch it again; if its checksum is right, its maker has to know"),
        ) from error
    index.update({name: index[target] for name, target in links.items() if target in index})
    return InTar(title, descriptor, index)


def read(blobs: Blobs, name: str, limit: int) -> bytes:
    """All of a small part."""
    with blobs.opened(name) as span:
        if span.size > limit:
            raise BuildError(
                _("{name} has {size} bytes, which is too much").format(name=span.name, size=span.size),
                _("this is no image that a registry would take"),
            )
        return os.pread(span.descriptor, span.size, span.offset)
