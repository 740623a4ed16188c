"""Owner, mode, extended attributes and time of a member, given to what was made of it."""

from __future__ import annotations

import errno
import os
import tarfile

from machinespawn.build.archive.tar import Damaged
from machinespawn.text import _

XATTR = "SCHILY.xattr."
_ACLS = ("system.posix_acl_access", "system.posix_acl_default")


def apply(target: bytes | int, member: tarfile.TarInfo) -> None:
    """Owner, mode, attributes and time, in this order: each may be lost by the one before."""
    link = member.issym()
    os.chown(target, _owner(member.uid), _owner(member.gid), follow_symlinks=not link)
    if not link:
        os.chmod(target, member.mode & 0o7777)
    for name, value in member.pax_headers.items():
        if name.startswith(XATTR) and _wanted(name.removeprefix(XATTR)):
            _set_attribute(target, name.removeprefix(XATTR), raw(value))
    if not member.isdir():
        time = nanoseconds(member)
        if isinstance(target, int):
            os.utime(target, ns=(time, time))
        else:
            os.utime(target, ns=(time, time), follow_symlinks=False)


def _wanted(name: str) -> bool:
    """Not trusted.* and user.overlay.*, which would tell an overlay mount to look elsewhere; no host's labels."""
    if name.startswith("user."):
        return not name.startswith("user.overlay.")
    return name == "security.capability" or name in _ACLS


def _set_attribute(target: bytes | int, name: str, value: bytes) -> None:
    try:
        if isinstance(target, int):
            os.setxattr(target, name, value)
        else:
            os.setxattr(target, name, value, follow_symlinks=False)
    except OSError as error:
        lost_in_silence = name.startswith("user.") and error.errno in (errno.ENOTSUP, errno.EPERM)
        if not lost_in_silence:  # a link or a file system that has none
            raise


def _owner(number: int) -> int:
    if not 0 <= number < 0xFFFFFFFF:  # -1 would mean: leave it
        raise Damaged(_("a member whose owner is {number}").format(number=number))
    return number


def nanoseconds(member: tarfile.TarInfo) -> int:
    """Its time; 0 for one that no file system takes, not-a-number included."""
    return round(member.mtime * 1e9) if 0 <= member.mtime < 1 << 33 else 0


def raw(text: str) -> bytes:
    """As it stood in the archive, whatever the locale."""
    return text.encode("utf-8", "surrogateescape")
