"""Signatures of what is downloaded: detached ones, and those around the text they sign."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from machinespawn import shell
from machinespawn.errors import TrustError
from machinespawn.fetch import keyrings
from machinespawn.text import _

_BEGIN = b"-----BEGIN PGP SIGNED MESSAGE-----"


@dataclass(frozen=True)
class Signed:
    """What was signed, and by whom."""

    data: bytes
    fingerprints: tuple[str, ...]
    """Of the primary keys."""


def is_clear_signed(data: bytes) -> bool:
    """Whether the text brings its signature along."""
    return data.lstrip().startswith(_BEGIN)


def clear_signed(data: bytes, keyring: Path, name: str, *, accept_expired_keys: bool = False) -> Signed:
    """The signed part of data, as gpgv gives it: nothing that stands around it. Raises TrustError."""
    if data.count(_BEGIN) != 1:
        raise TrustError(
            _("{name} is not one signed message").format(name=name),
            _("look at it: its maker signs it otherwise now, or something else answers in its place"),
        )
    with tempfile.TemporaryDirectory(prefix="machinespawn-gpgv.") as directory:
        signed, text = Path(directory, "signed"), Path(directory, "text")
        signed.write_bytes(data)
        fingerprints = _checked(
            ["--output", str(text), str(signed)], keyring, Path(directory), name, accept_expired_keys
        )
        return Signed(text.read_bytes(), fingerprints)


def detached(data: bytes, signature: bytes, keyring: Path, name: str, *, accept_expired_keys: bool = False) -> Signed:
    """Data once its detached signature (armoured or not) is found good. Raises TrustError."""
    with tempfile.TemporaryDirectory(prefix="machinespawn-gpgv.") as directory:
        file = Path(directory, "data")
        file.write_bytes(data)
        fingerprints = detached_file(file, signature, keyring, name, accept_expired_keys=accept_expired_keys)
        return Signed(data, fingerprints)


def detached_file(
    path: Path, signature: bytes, keyring: Path, name: str, *, accept_expired_keys: bool = False
) -> tuple[str, ...]:
    """Fingerprints of the keys that signed a file. Raises TrustError."""
    with tempfile.TemporaryDirectory(prefix="machinespawn-gpgv.") as directory:
        beside = Path(directory, "signature")
        beside.write_bytes(signature)
        return _checked([str(beside), str(path)], keyring, Path(directory), name, accept_expired_keys)


def _checked(arguments: list[str], keyring: Path, home: Path, name: str, accept_expired_keys: bool) -> tuple[str, ...]:
    binary = keyrings.merged([keyring], home)  # gpgv takes no armour
    argv = ["gpgv", "--homedir", str(home), "--keyring", str(binary), "--status-fd", "1", *arguments]
    printed = shell.run(argv, check=False)
    try:
        good = keyrings.counted(
            keyrings.signatures(printed.stdout), keyring, accept_expired_keys=accept_expired_keys, what=name
        )
    except TrustError as error:
        raise TrustError(
            error.message,
            _("fetch it again later or from another mirror; do not go on with --no-verify unless you know why"),
        ) from error
    return tuple(dict.fromkeys(signature.fingerprint for signature in good))
