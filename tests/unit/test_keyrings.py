"""Keyrings found, unwrapped and merged."""

import shutil

import pytest

from machinespawn.config import Config
from machinespawn.errors import MissingToolError, TrustError
from machinespawn.fetch import keyrings, signatures
from tests.lab.signing import signer

pytestmark = pytest.mark.skipif(not shutil.which("gpg") or not shutil.which("gpgv"), reason="needs gpg and gpgv")

RELEASE = "Origin: Lab\nSuite: lab\n"


@pytest.fixture(scope="module")
def key():
    with signer() as it:
        yield it


@pytest.fixture(scope="module")
def stranger():
    with signer("Stranger") as it:
        yield it


def test_armoured_and_binary_keyrings_merge_into_one(key, stranger, tmp_path):
    armoured = key.export(tmp_path / "a.asc", armoured=True)
    binary = stranger.export(tmp_path / "b.gpg")
    ring = keyrings.merged([armoured, binary], tmp_path / "made")
    assert ring.read_bytes() == key.export(tmp_path / "a.gpg").read_bytes() + binary.read_bytes()
    assert ring.stat().st_mode & 0o777 == 0o644
    by_key = signatures.clear_signed(key.clearsign(RELEASE), ring, "InRelease")
    by_stranger = signatures.clear_signed(stranger.clearsign(RELEASE), ring, "InRelease")
    assert by_key.data == by_stranger.data == RELEASE.encode()
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
