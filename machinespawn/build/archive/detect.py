"""What an archive is, told by its first bytes and never by its name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from machinespawn.errors import BuildError
from machinespawn.text import _

HEAD = 512
"""How many bytes from the start tell what a file is."""


@dataclass(frozen=True)
class Decompressor:
    """A filter, and the exit statuses with which it did its work."""

    argv: tuple[str, ...]
    ok: tuple[int, ...] = (0,)


_COMPRESSIONS = (
    (re.compile(rb"\x1f\x8b"), Decompressor(("gzip", "-dcq"), ok=(0, 2))),  # 2: garbage after the end; nobody reads on
    (re.compile(rb"\xfd7zXZ\0"), Decompressor(("xz", "-dcq", "-T0"))),
    (re.compile(rb"(\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18)"), Decompressor(("zstd", "-dcq"))),
)
"""First bytes -> what unpacks it. The second form of zstd is a skippable frame (RFC 8878, 3.1.2)."""

_OTHERS = (
    (re.compile(rb"BZh"), "a bzip2 file"),
    (re.compile(rb"PK\x03\x04"), "a zip file"),
    (re.compile(rb"hsqs"), "a squashfs image"),
    (re.compile(rb"QFI\xfb"), "a qcow2 disk image"),
    (re.compile(rb"!<arch>\n"), "a Debian package or another ar archive"),
    (re.compile(rb"\x04\x22\x4d\x18"), "an lz4 file"),
    (re.compile(rb"\s*<(!doctype|html|\?xml)", re.I), "a web page"),
)

_IMAGE_MEMBER = re.compile(
    r"(oci-layout|index\.json|manifest\.json|repositories|blobs(/.*)?|(sha256:)?[0-9a-f]{64}(\.json|\.tar(\.gz)?|/.*)?)"
)
"""Every member of a docker-archive or an OCI archive is called so, whichever tool wrote it."""


def decompressor(head: bytes) -> Decompressor | None:
    """What unpacks a file that begins with head; None where it is not compressed."""
    return next((program for magic, program in _COMPRESSIONS if magic.match(head)), None)


def other(head: bytes) -> str:
    """What a file that is no archive of ours seems to be; empty: no idea."""
    return next((what for magic, what in _OTHERS if magic.match(head)), "")


def not_an_archive(head: bytes, name: str) -> BuildError:
    """The error for a file that is no tar."""
    what = other(head)
    return BuildError(
        _("{name} is no tar archive: it is {what}").format(name=name, what=what)
        if what
        else _("{name} is no tar archive").format(name=name),
        _("a tar, a docker-archive, an OCI archive or an OCI layout is wanted; gzip, xz and zstd are understood"),
    )


def is_image_member(name: str) -> bool:
    """Whether an archive that has a member of that name may be a container image."""
    return _IMAGE_MEMBER.fullmatch(name) is not None
