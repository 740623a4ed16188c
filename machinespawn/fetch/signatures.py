"""Signatures of what is downloaded, detached or around the text they sign: gpgv checks them, its words are judged here.

A key that has expired counts only where that is accepted, for what nobody
signs any more. A revoked key, an expired signature or one over MD5 or SHA-1
never counts, and a bad one refuses the whole.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from machinespawn import shell
from machinespawn.errors import TrustError
from machinespawn.fetch import keyrings
from machinespawn.text import _

_BEGIN, _END = b"-----BEGIN PGP SIGNED MESSAGE-----", b"-----END PGP SIGNATURE-----"
_WEAK_DIGESTS = frozenset({1, 2, 3})
"""MD5, SHA-1, RIPEMD-160 (RFC 4880, 9.4)."""


@dataclass(frozen=True)
class Signed:
    """What was signed, and by whom."""

    data: bytes
    """The signed content alone: nothing outside the signature is in it."""
    fingerprints: tuple[str, ...]
    """Of the primary keys whose signatures are good."""


@dataclass(frozen=True)
class Signature:
    """One signature as gpgv saw it."""

    verdict: str
    """GOODSIG, EXPKEYSIG, EXPSIG, REVKEYSIG, BADSIG, NO_PUBKEY, or ERRSIG for what gpgv cannot check."""
    key: str
    """Long key id."""
    fingerprint: str = ""
    """Of the primary key; empty unless the signature is cryptographically valid."""
    digest: int = 0
    """Number of the hash algorithm in OpenPGP."""


def clear_signed(data: bytes, keyring: Path, name: str, *, accept_expired_keys: bool = False) -> Signed:
    """What the clear-signed data says, if a key of the keyring signed it; else TrustError. ``name``: for messages."""
    _check_frame(data, name)
    with tempfile.TemporaryDirectory(prefix="machinespawn-gpgv.") as directory:
        signed, text = Path(directory, "signed"), Path(directory, "text")
        signed.write_bytes(data)
        arguments = ["--output", str(text), str(signed)]
        fingerprints = _checked(arguments, keyring, Path(directory), name, accept_expired_keys)
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


def _check_frame(data: bytes, name: str) -> None:
    """Refuse anything but one signed message: what stands beside it would be read by careless eyes."""
    lines = [line.rstrip() for line in data.strip().splitlines()]
    if lines[:1] != [_BEGIN] or lines[-1:] != [_END] or lines.count(_BEGIN) != 1:
        start = data[:60].decode("ascii", "replace")
        raise TrustError(
            _("{name} is not one signed message: it begins with {start!r}").format(name=name, start=start),
            _("look at what the server answers: a login page or an error page comes from a proxy"),
        )


def _checked(arguments: list[str], keyring: Path, home: Path, name: str, accept_expired_keys: bool) -> tuple[str, ...]:
    binary = keyrings.merged([keyring], home)  # gpgv takes no armour
    argv = ["gpgv", "--homedir", str(home), "--keyring", str(binary), "--status-fd", "1", *arguments]
    printed = shell.run(argv, check=False)
    found = signatures(printed.stdout)
    if not found:
        raise TrustError(
            _("gpgv found no signature of {name} to check: {output}").format(name=name, output=printed.stderr.strip()),
            _("look at what the server answers, and whether gpgv can read {keyring}").format(keyring=keyring),
        )
    good = counted(found, keyring, name, accept_expired_keys=accept_expired_keys)
    return tuple(dict.fromkeys(signature.fingerprint for signature in good))


def signatures(status: str) -> tuple[Signature, ...]:
    """From gpgv's status lines (doc/DETAILS in GnuPG)."""
    found: list[Signature] = []
    for line in status.splitlines():
        word, *fields = line.removeprefix("[GNUPG:] ").split(" ")
        match word:
            case "GOODSIG" | "EXPKEYSIG" | "EXPSIG" | "REVKEYSIG" | "BADSIG" | "ERRSIG":
                found.append(Signature(word, fields[0]))
            case "NO_PUBKEY" if found:
                found[-1] = Signature(word, fields[0])
            case "VALIDSIG" if found and len(fields) >= 10:
                verdict = found.pop()
                found.append(Signature(verdict.verdict, verdict.key, fields[9], int(fields[7])))
    return tuple(found)


def counted(
    found: tuple[Signature, ...], keyring: Path, name: str, *, accept_expired_keys: bool
) -> tuple[Signature, ...]:
    """The signatures that count, at least one; else a TrustError that says why none does."""
    verdicts = ("GOODSIG", "EXPKEYSIG") if accept_expired_keys else ("GOODSIG",)
    good = [
        signature
        for signature in found
        if signature.verdict in verdicts and signature.fingerprint and signature.digest not in _WEAK_DIGESTS
    ]
    if good and not any(signature.verdict == "BADSIG" for signature in found):
        return tuple(good)
    reasons = "; ".join(_reason(signature, keyring) for signature in found)
    raise TrustError(_("{name} is not to be trusted: {reasons}").format(name=name, reasons=reasons), _hint(found))


def _reason(signature: Signature, keyring: Path) -> str:
    match signature.verdict:
        case "BADSIG":
            text = _("key {key} did not sign this content: it was changed on the way")
        case "NO_PUBKEY":
            text = _("it is signed with key {key}, which is not in {keyring}")
        case "EXPKEYSIG":
            text = _("key {key} has expired")
        case "EXPSIG":
            text = _("the signature of key {key} has expired")
        case "REVKEYSIG":
            text = _("key {key} was revoked by its owner")
        case _ if signature.digest in _WEAK_DIGESTS:
            text = _("the signature of key {key} uses a hash that can be forged")
        case _:
            text = _("the signature of key {key} is not valid")
    return text.format(key=signature.key, keyring=keyring)


def _hint(found: tuple[Signature, ...]) -> str:
    verdicts = {signature.verdict for signature in found}
    if "BADSIG" in verdicts:
        return _("try again later, from another mirror, and without a proxy: --proxy none")
    if "NO_PUBKEY" in verdicts:
        return _("name the keyring that holds the key, in the recipe or with --keyring FILE; or update its package")
    return _("bring the keyring's package up to date, or name a current one in the recipe or with --keyring FILE")
