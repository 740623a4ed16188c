"""Whose signatures count: keyrings found, merged, and InRelease files checked against them."""

from __future__ import annotations

import base64
import binascii
import email.utils
import hashlib
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from machinespawn import shell
from machinespawn.config import Config
from machinespawn.errors import MissingToolError, TrustError
from machinespawn.files import write_atomic
from machinespawn.host import apt, keyfiles
from machinespawn.text import _


@dataclass(frozen=True)
class Signed:
    """What a signature vouches for. Times are aware, in UTC."""

    text: str
    """The signed text alone, as gpgv gives it: nothing outside the signature is in it."""
    fingerprints: tuple[str, ...]
    """Of the primary keys whose signatures are good."""
    signed_at: datetime
    date: datetime | None
    """The Release's own Date."""
    valid_until: datetime | None

    def is_expired(self, now: datetime | None = None) -> bool:
        """Whether its Valid-Until has passed; False where it has none."""
        return self.valid_until is not None and self.valid_until < (now or datetime.now(UTC))


@dataclass(frozen=True)
class Signature:
    """One signature as gpgv saw it."""

    verdict: str
    """GOODSIG, EXPKEYSIG, EXPSIG, REVKEYSIG, BADSIG, NO_PUBKEY, or ERRSIG for what gpgv cannot check."""
    key: str
    """Long key id."""
    fingerprint: str = ""
    """Of the primary key; empty unless the signature is cryptographically valid."""
    made: int = 0
    """Seconds since 1970."""
    digest: int = 0
    """Number of the hash algorithm in OpenPGP."""


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


_WEAK_DIGESTS = frozenset({1, 2, 3})
"""MD5, SHA-1, RIPEMD-160 (RFC 4880, 9.4)."""


def verify_inrelease(data: bytes, keyring: Path, *, accept_expired_keys: bool) -> Signed:
    """What the clear-signed data says, if a key of the keyring signed it; else TrustError.

    A key that has expired counts only where that is accepted, for suites that
    nobody signs any more. A revoked key, an expired signature or one over MD5
    or SHA-1 never counts, and a bad one refuses the whole.
    """
    _check_frame(data, keyring)
    with tempfile.TemporaryDirectory(prefix="machinespawn-gpgv.") as name:
        signed, text = Path(name, "signed"), Path(name, "text")
        signed.write_bytes(data)
        argv = ["gpgv", "--homedir", name, "--keyring", str(keyring.absolute()), "--status-fd", "1"]
        printed = shell.run([*argv, "--output", str(text), str(signed)], check=False)
        found = signatures(printed.stdout)
        if not found:
            raise TrustError(
                _("gpgv found no signature to check: {output}").format(output=printed.stderr.strip()),
                _("look whether {keyring} is a keyring that gpgv can read").format(keyring=keyring),
            )
        good = counted(found, keyring, accept_expired_keys=accept_expired_keys)
        content = text.read_bytes().decode(errors="surrogateescape")
    return Signed(
        text=content,
        fingerprints=tuple(dict.fromkeys(signature.fingerprint for signature in good)),
        signed_at=datetime.fromtimestamp(max(signature.made for signature in good), UTC),
        date=_date(content, "Date"),
        valid_until=_date(content, "Valid-Until"),
    )


_BEGIN, _END = b"-----BEGIN PGP SIGNED MESSAGE-----", b"-----END PGP SIGNATURE-----"


def _check_frame(data: bytes, keyring: Path) -> None:
    """Refuse anything but one signed message: what stands beside it would be read by careless eyes."""
    lines = [line.rstrip() for line in data.strip().splitlines()]
    if lines[:1] != [_BEGIN] or lines[-1:] != [_END] or lines.count(_BEGIN) != 1:
        raise TrustError(
            _("this is no signed Release file: it begins with {start!r}").format(
                start=data[:60].decode("ascii", "replace")
            ),
            _(
                "look at what the mirror answers; a login page or an error page comes from a proxy. Keyring: {keyring}"
            ).format(keyring=keyring),
        )


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
                found.append(Signature(verdict.verdict, verdict.key, fields[9], _seconds(fields[2]), int(fields[7])))
    return tuple(found)


def _seconds(stamp: str) -> int:
    """A time in gpgv's status: seconds since 1970, or ISO 8601 where gpgv was built so."""
    return (
        int(stamp)
        if stamp.isdigit()
        else int(datetime.strptime(stamp, "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp())
    )


def counted(
    found: tuple[Signature, ...], keyring: Path, *, accept_expired_keys: bool, what: str = ""
) -> tuple[Signature, ...]:
    """The signatures that count, at least one; else a TrustError that says why none does.

    ``what``: what was signed, if it is no Release file.
    """
    verdicts = ("GOODSIG", "EXPKEYSIG") if accept_expired_keys else ("GOODSIG",)
    good = [
        signature
        for signature in found
        if signature.verdict in verdicts and signature.fingerprint and signature.digest not in _WEAK_DIGESTS
    ]
    if good and not any(signature.verdict == "BADSIG" for signature in found):
        return tuple(good)
    reasons = [_reason(signature, keyring) for signature in found]
    raise TrustError(
        _("{what} is not to be trusted: {reasons}").format(
            what=what or _("the Release file"), reasons="; ".join(reasons)
        ),
        _hint(found),
    )


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
        return _("try another mirror with --mirror URL, and without a proxy: --proxy none")
    if "NO_PUBKEY" in verdicts:
        return _("give the keyring that holds the key: --keyring FILE; or bring the keyring's package up to date")
    return _("bring the package of the keyring up to date, or use the archive's current keyring: --keyring FILE")


def _date(text: str, field: str) -> datetime | None:
    match = re.search(rf"^{field}: *(.+?)\s*$", text, re.M)
    if match is None:
        return None
    try:
        date = email.utils.parsedate_to_datetime(match[1])
    except ValueError as error:
        raise TrustError(
            _("the Release file has a {field} that is no date: {text}").format(field=field, text=match[1]),
            _("try another mirror with --mirror URL"),
        ) from error
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
