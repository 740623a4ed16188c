"""Signatures judged by a real gpgv over keys made for the purpose."""

import shutil
from pathlib import Path

import pytest

from machinespawn.errors import TrustError
from machinespawn.fetch import keyrings, signatures
from tests.lab.signing import signer

pytestmark = pytest.mark.skipif(not shutil.which("gpg") or not shutil.which("gpgv"), reason="needs gpg and gpgv")

RELEASE = """\
Origin: Lab
Suite: lab
Date: Sat, 11 Jul 2026 09:00:00 UTC
Valid-Until: Sat, 18 Jul 2026 09:00:00 UTC
SHA256:
 00 12 main/binary-amd64/Packages
"""


@pytest.fixture(scope="module")
def key():
    with signer() as it:
        yield it


@pytest.fixture(scope="module")
def stranger():
    with signer("Stranger") as it:
        yield it


@pytest.fixture
def ring(key, tmp_path):
    return keyrings.merged([key.export(tmp_path / "lab.gpg")], tmp_path / "made")


def verify(data: bytes, keyring: Path, accept: bool = False) -> signatures.Signed:
    return signatures.clear_signed(data, keyring, "InRelease", accept_expired_keys=accept)


def test_a_good_signature_gives_the_signed_text(key, ring):
    signed = verify(key.clearsign(RELEASE), ring)
    assert signed.data == RELEASE.encode()
    assert signed.fingerprints == (key.fingerprint,)


def test_changed_text_is_refused(key, ring):
    with pytest.raises(TrustError, match="changed on the way"):
        verify(key.clearsign(RELEASE).replace(b"Suite: lab", b"Suite: lub"), ring)


def test_an_unknown_key_is_named_with_the_keyring(stranger, ring):
    with pytest.raises(TrustError) as caught:
        verify(stranger.clearsign(RELEASE), ring)
    assert stranger.fingerprint[-16:] in caught.value.message
    assert str(ring) in caught.value.message
    assert "--keyring" in caught.value.hint


@pytest.mark.parametrize(
    "twist",
    [
        lambda data: b"Origin: Evil\n" + data,
        lambda data: data + b"Origin: Evil\n",
        lambda data: data + data,
        lambda data: b"<html>log in here</html>",
        lambda data: b"",
    ],
)
def test_anything_beside_the_signed_message_is_refused(key, ring, twist):
    with pytest.raises(TrustError, match="InRelease is not one signed message"):
        verify(twist(key.clearsign(RELEASE)), ring)


def test_an_expired_key_counts_only_where_that_is_accepted(tmp_path):
    with signer("Old", created="20150101T000000", expires="1y") as old:
        data = old.clearsign(RELEASE, at="20150601T000000")
        ring = keyrings.merged([old.export(tmp_path / "old.gpg")], tmp_path)
        with pytest.raises(TrustError, match="has expired"):
            verify(data, ring)
        assert verify(data, ring, accept=True).fingerprints == (old.fingerprint,)


def test_a_revoked_key_never_counts(tmp_path):
    with signer("Gone") as gone:
        data = gone.clearsign(RELEASE)
        gone.revoke()
        ring = keyrings.merged([gone.export(tmp_path / "gone.gpg")], tmp_path)
        with pytest.raises(TrustError, match="revoked"):
            verify(data, ring, accept=True)


def test_one_known_key_among_several_signatures_is_enough():
    status = """\
[GNUPG:] NEWSIG
[GNUPG:] ERRSIG 1111111111111111 1 8 01 1700000000 9 -
[GNUPG:] NO_PUBKEY 1111111111111111
[GNUPG:] NEWSIG
[GNUPG:] GOODSIG 2222222222222222 Somebody <x@example.org>
[GNUPG:] VALIDSIG AAAA 2026-07-11 1783760400 0 4 0 1 8 01 BBBB
"""
    found = signatures.signatures(status)
    assert [signature.verdict for signature in found] == ["NO_PUBKEY", "GOODSIG"]
    (good,) = signatures.counted(found, Path("k"), "it", accept_expired_keys=False)
    assert (good.fingerprint, good.digest) == ("BBBB", 8)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "GOODSIG 2222222222222222 x\n[GNUPG:] VALIDSIG A 2026-07-11 1783760400 0 4 0 1 2 01 B",
            "hash that can be forged",
        ),
        ("GOODSIG 2222222222222222 x", "not valid"),
        (
            "EXPSIG 2222222222222222 x\n[GNUPG:] VALIDSIG A 2026-07-11 1783760400 0 4 0 1 8 01 B",
            "signature .* has expired",
        ),
        ("ERRSIG 2222222222222222 1 8 01 1700000000 4 -", "not valid"),
        (
            "GOODSIG 2222222222222222 x\n[GNUPG:] VALIDSIG A 2026-07-11 1783760400 0 4 0 1 8 01 B\n"
            "[GNUPG:] BADSIG 3333333333333333 y",
            "3333333333333333 did not sign",
        ),
    ],
)
def test_what_does_not_count_is_refused_with_the_reason(line, reason):
    with pytest.raises(TrustError, match=reason):
        signatures.counted(signatures.signatures(f"[GNUPG:] {line}\n"), Path("k"), "it", accept_expired_keys=True)


def test_a_detached_signature_is_of_this_data_alone(key, stranger, tmp_path):
    armoured = key.export(tmp_path / "lab.asc", armoured=True)
    signature = key.sign(b"data")
    assert signatures.detached(b"data", signature, armoured, "it") == signatures.Signed(b"data", (key.fingerprint,))
    with pytest.raises(TrustError, match="changed on the way"):
        signatures.detached(b"Data", signature, armoured, "it")
    with pytest.raises(TrustError, match=f"which is not in {armoured}"):
        signatures.detached(b"data", stranger.sign(b"data"), armoured, "it")


@pytest.mark.parametrize("junk", [b"", b"<html>log in here</html>"])
def test_what_is_no_signature_is_refused(ring, junk):
    with pytest.raises(TrustError, match="no signature of it to check"):
        signatures.detached(b"data", junk, ring, "it")
