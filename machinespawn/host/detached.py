"""Mounts that are attached nowhere: nobody sees them, and they go with their descriptor.

fsopen(2), fsmount(2), open_tree(2) and mount_setattr(2), Linux 5.2 and 5.12;
their numbers are the same on every architecture.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_OPEN_TREE, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 430, 431, 432, 442
_FSCONFIG_CMD_CREATE = 6
_OPEN_TREE_CLONE = 1
_AT_EMPTY_PATH = 0x1000
_AT_FDCWD = -100
_MOUNT_ATTR_IDMAP = 0x00100000

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttr(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd"))


def filesystem(kind: str) -> int:
    """A descriptor of the root directory of a new mount of that kind, such as binfmt_misc. Raises OSError."""
    context = _call(_FSOPEN, kind.encode(), 1)
    try:
        _call(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        mount = _call(_FSMOUNT, context, 1, 0)
    finally:
        os.close(context)
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount)  # the mount's own is O_PATH
    finally:
        os.close(mount)


def knows(kind: str) -> bool:
    """Whether the kernel has that file system; it loads the module if it can."""
    try:
        os.close(_call(_FSOPEN, kind.encode(), 1))
    except OSError:
        return False
    return True


def idmapped(directory: Path, user_namespace: int) -> int:
    """A descriptor of a clone of the mount at directory, its owners mapped as in that user namespace.

    Raises OSError: EINVAL where the file system cannot be id-mapped, ENOSYS on older kernels.
    """
    clone = _call(_OPEN_TREE, _AT_FDCWD, os.fsencode(directory), _OPEN_TREE_CLONE | os.O_CLOEXEC)
    try:
        wanted = _MountAttr(attr_set=_MOUNT_ATTR_IDMAP, userns_fd=user_namespace)
        _call(_MOUNT_SETATTR, clone, b"", _AT_EMPTY_PATH, ctypes.byref(wanted), ctypes.sizeof(wanted))
    except BaseException:
        os.close(clone)
        raise
    return clone


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
