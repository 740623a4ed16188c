"""Whose signatures count: keyrings found, unwrapped and merged."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from machinespawn.config import Config
from machinespawn.errors import MissingToolError, TrustError
from machinespawn.files import write_atomic
from machinespawn.host import apt, keyfiles
from machinespawn.text import _


def find(names: tuple[str, ...], config: Config, *, package: str = "") -> tuple[Path, ...]:
    """The files of all the keyrings named; a name with a slash is a path.

    Searched: keyrings/ in the user's recipe directories and in the shipped
    one, then where Debian's packages put them. ``package`` is the Debian
    package that carries them, for the hint of the MissingToolError.
    """
    found = []
    for name in names:
        path = keyfiles.locate(name, config)
        if path is None:
            searched = ", ".join(str(place.parent) for place in keyfiles.places(name, config))
            raise MissingToolError(
                _("there is no keyring {name}; it was looked for in {places}").format(name=name, places=searched),
                _how_to_get(name, package),
            )
        found.append(path)
    return tuple(found)


def _how_to_get(name: str, package: str) -> str:
    command = apt.install_hint(package) if package else ""
    if command:
        return command
    by_hand = _("fetch the keyring from the distribution, compare its fingerprints, and give it with --keyring FILE")
    if not package:
        return by_hand
    return _("apt here has no package {package} that would bring {name}; {by_hand}").format(
        package=package, name=name, by_hand=by_hand
    )


def merged(paths: Iterable[Path], directory: Path) -> Path:
    """One binary keyring of all of paths, in directory, named by its content; armoured ones are unwrapped."""
    data = b"".join(_binary(path) for path in paths)
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / f"keyring-{hashlib.sha256(data).hexdigest()[:16]}.gpg"
    if not target.exists() or target.read_bytes() != data:
        write_atomic(target, data, 0o644)  # apt reads it as the user _apt
    return target


_ARMOUR = re.compile(
    rb"^-----BEGIN PGP PUBLIC KEY BLOCK-----[ \t]*\r?\n"
    rb"(?:[^\r\n]+\r?\n)*[ \t]*\r?\n"  # headers such as Comment:, then an empty line
    rb"(.*?)^-----END PGP PUBLIC KEY BLOCK-----",
    re.M | re.S,
)
_PUBLIC_KEY_PACKETS = frozenset({0x98, 0x99, 0x9A, 0xC6})
"""First byte of a public key packet: the old format with its three length forms, and the new one (RFC 4880, 4.2)."""


def _binary(path: Path) -> bytes:
    data = path.read_bytes()
    if data.lstrip().startswith(b"-----BEGIN"):
        data = b"".join(_dearmoured(block, path) for block in _ARMOUR.findall(data))
    if not data or data[0] not in _PUBLIC_KEY_PACKETS:
        raise TrustError(
            _("{path} is no OpenPGP keyring").format(path=path),
            _("export the keys with: gpg --export KEY… > FILE, and give that with --keyring FILE"),
        )
    return data


def _dearmoured(block: bytes, path: Path) -> bytes:
    """The bytes in an armoured block, whose checksum is the line that begins with '='."""
    lines = [line.strip() for line in block.splitlines() if line.strip()]
    sums = [line[1:] for line in lines if line.startswith(b"=")]
    try:
        data = base64.b64decode(b"".join(line for line in lines if not line.startswith(b"=")), validate=True)
        if any(int.from_bytes(base64.b64decode(wanted), "big") != _crc24(data) for wanted in sums):
            raise ValueError(_("its checksum does not match"))
    except (binascii.Error, ValueError) as error:
        raise TrustError(
            _("{path} is damaged: {error}").format(path=path, error=error), _("fetch the keyring anew")
        ) from error
    return data


def _crc24(data: bytes) -> int:
    """The checksum of ASCII armour (RFC 4880, 6.1)."""
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _bit in range(8):
            crc = (crc << 1) ^ (0x1864CFB if crc & 0x800000 else 0)
    return crc
