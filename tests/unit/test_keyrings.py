"""Keyrings found and merged, and signatures judged by a real gpgv over keys made for the purpose."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from machinespawn.config import Config
from machinespawn.errors import MissingToolError, TrustError
from machinespawn.fetch import keyrings
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


def verify(data: bytes, keyring: Path, accept: bool = False) -> keyrings.Signed:
    return keyrings.verify_inrelease(data, keyring, accept_expired_keys=accept)


def test_a_good_signature_gives_the_signed_text_and_its_dates(key, ring):
    signed = verify(key.clearsign(RELEASE), ring)
    assert signed.text == RELEASE
    assert signed.fingerprints == (key.fingerprint,)
    assert signed.date == datetime(2026, 7, 11, 9, tzinfo=UTC)
    assert abs((datetime.now(UTC) - signed.signed_at).total_seconds()) < 3600
    assert signed.is_expired(datetime(2026, 7, 19, tzinfo=UTC))
    assert not signed.is_expired(datetime(2026, 7, 17, tzinfo=UTC))


def test_a_release_without_an_end_never_expires(key, ring):
    signed = verify(key.clearsign("Origin: Lab\nSuite: lab\n"), ring)
    assert signed.date is None
    assert not signed.is_expired()


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
    with pytest.raises(TrustError, match="no signed Release"):
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
    found = keyrings.signatures(status)
    assert [signature.verdict for signature in found] == ["NO_PUBKEY", "GOODSIG"]
    (good,) = keyrings.counted(found, Path("k"), accept_expired_keys=False)
    assert (good.fingerprint, good.made, good.digest) == ("BBBB", 1783760400, 8)


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
        keyrings.counted(keyrings.signatures(f"[GNUPG:] {line}\n"), Path("k"), accept_expired_keys=True)


def test_armoured_and_binary_keyrings_merge_into_one(key, stranger, tmp_path):
    armoured = key.export(tmp_path / "a.asc", armoured=True)
    binary = stranger.export(tmp_path / "b.gpg")
    ring = keyrings.merged([armoured, binary], tmp_path / "made")
    assert ring.read_bytes() == key.export(tmp_path / "a.gpg").read_bytes() + binary.read_bytes()
    assert ring.stat().st_mode & 0o777 == 0o644
    assert verify(key.clearsign(RELEASE), ring).text == verify(stranger.clearsign(RELEASE), ring).text
    assert keyrings.merged([armoured, binary], tmp_path / "made") == ring
    both = tmp_path / "both.asc"
    both.write_bytes(armoured.read_bytes() + stranger.export(tmp_path / "s.asc", armoured=True).read_bytes())
    assert keyrings.merged([both], tmp_path / "made") == ring


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\n=", b"\n=A"),
        lambda data: data.replace(b"PUBLIC KEY", b"MESSAGE"),
        lambda data: b"not a keyring",
        lambda data: b"",
    ],
)
def test_what_is_no_keyring_is_refused(key, tmp_path, change):
    path = key.export(tmp_path / "a.asc", armoured=True)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(TrustError, match=str(path)):
        keyrings.merged([path], tmp_path)


def test_a_flipped_byte_in_armour_is_found(key, tmp_path):
    path = key.export(tmp_path / "a.asc", armoured=True)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = (b"A" if lines[3][:1] != b"A" else b"B") + lines[3][1:]
    path.write_bytes(b"".join(lines))
    with pytest.raises(TrustError, match="checksum"):
        keyrings.merged([path], tmp_path)


def test_the_users_directory_comes_first_and_a_path_is_a_path(tmp_path):
    mine = tmp_path / "recipes/keyrings/debian-archive-keyring.gpg"
    mine.parent.mkdir(parents=True)
    mine.touch()
    config = Config(recipe_path=(tmp_path / "recipes",))
    assert keyrings.find(("debian-archive-keyring.gpg", str(mine)), config) == (mine, mine)


def test_a_missing_keyring_says_what_to_do(tmp_path):
    config = Config(recipe_path=())
    with pytest.raises(MissingToolError) as caught:
        keyrings.find(("nobody-has-this.gpg",), config, package="no-such-package-anywhere")
    assert "nobody-has-this.gpg" in caught.value.message
    assert "/usr/share/keyrings" in caught.value.message
    with pytest.raises(MissingToolError) as caught:
        keyrings.find((str(tmp_path / "x.gpg"),), config)
    assert "--keyring FILE" in caught.value.hint


@pytest.mark.skipif(not shutil.which("apt-get"), reason="no apt on this host")
def test_a_package_is_named_only_if_apt_here_has_it():
    with pytest.raises(MissingToolError) as caught:
        keyrings.find(("nobody-has-this.gpg",), Config(), package="gpgv")
    assert "apt-get install gpgv" in caught.value.hint
