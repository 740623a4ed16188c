"""Files of checksums in the forms that distributions write, and where they are looked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from machinespawn.config import Config
from machinespawn.errors import NetworkError, TrustError
from machinespawn.fetch import checksums
from machinespawn.fetch.download import Web
from tests.lab.fileserver import Files, files

A, B = "a" * 64, "b" * 64
FEDORA = f"""-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA256

# Fedora-Container-Base-Generic-44-1.7.x86_64.oci.tar.xz: 44565444 bytes
SHA256 (Fedora-Container-Base-Generic-44-1.7.x86_64.oci.tar.xz) = {A}
# Fedora-Container-Toolbox-44-1.7.x86_64.oci.tar.xz: 5 bytes
SHA256 (Fedora-Container-Toolbox-44-1.7.x86_64.oci.tar.xz) = {B}
-----BEGIN PGP SIGNATURE-----

iQIzBAEBCAAdFiEExo
-----END PGP SIGNATURE-----
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{A}  one.tar\n{B} *two.tar\n", (("one.tar", A), ("two.tar", B))),
        (f"{A}  ./images/one.tar\n", (("one.tar", A),)),
        (f"SHA256 (one.tar) = {A}\n", (("one.tar", A),)),
        (f"SHA256(one.tar)= {A.upper()}\n", (("one.tar", A),)),
        (f"{A}\n", (("", A),)),
        (f"sha256:{A}", (("", A),)),
        (f"{A}  name with blanks.tar\r\n", (("name with blanks.tar", A),)),
        (f"{'c' * 128}  sha512.tar\n{'d' * 32}  md5.tar\n", ()),
        ("<!doctype html><p>no such page", ()),
        ("", ()),
    ],
)
def test_forms(text: str, found: tuple[tuple[str, str], ...]) -> None:
    assert checksums.parse(text) == found


def test_fedora() -> None:
    names = [name for name, _digest in checksums.parse(FEDORA)]
    assert len(names) == 2
    assert checksums.pick(FEDORA, "Fedora-Container-Toolbox-44-1.7.x86_64.oci.tar.xz", own=False, where="") == B


def test_a_file_about_one_archive_may_call_it_otherwise() -> None:
    text = f"{A}  image-20260801.tar.xz\n"
    assert checksums.pick(text, "image-latest.tar.xz", own=True, where="") == A
    assert checksums.pick(text, "image-latest.tar.xz", own=False, where="") == ""


def test_two_digests_for_one_name_are_no_digest() -> None:
    with pytest.raises(TrustError, match="2 different"):
        checksums.pick(f"{A}  one\n{B}  one\n", "one", own=False, where="sums")
    assert checksums.pick(f"{A}  one\n{A} *one\n", "one", own=False, where="sums") == A


@pytest.fixture
def server() -> Iterator[Files]:
    with files() as served:
        yield served


@pytest.fixture
def web(tmp_path: Path) -> Web:
    return Web(Config(root=tmp_path), lambda _url: "")


PLACES = [(f"/dir/one.tar{suffix}", A) for suffix in checksums.OWN] + [
    (f"/dir/{name}", f"{B}  other.tar\n{A}  one.tar\n") for name in checksums.SHARED
]


@pytest.mark.parametrize(("path", "text"), PLACES, ids=[path for path, _text in PLACES])
def test_found_beside_the_archive(server: Files, web: Web, path: str, text: str) -> None:
    server.content[path] = text.encode()
    archive = f"{server.url}/dir/one.tar?token=x"
    sums = checksums.beside(archive, web)
    assert sums is not None
    assert (sums.url, checksums.digest(sums, sums.data, archive)) == (server.url + path, A)


def test_what_was_found_is_not_looked_for_again(server: Files, web: Web) -> None:
    server.content["/SHA256SUMS"] = f"{A}  one.tar\n".encode()
    for _time in range(2):
        checksums.beside(f"{server.url}/one.tar", web)
    assert server.paths().count("/SHA256SUMS") == 1
    assert len(server.asked) == len(checksums.OWN) + 1


def test_a_page_in_place_of_a_404_and_sums_of_others_are_passed_over(server: Files, web: Web) -> None:
    server.content["/one.tar.sha256"] = b"<html>Sorry, not found</html>"
    server.content["/SHA256SUMS"] = f"{B}  other.tar\n".encode()
    assert checksums.beside(f"{server.url}/one.tar", web) is None


def test_a_server_that_fails_is_not_one_without_checksums(server: Files, web: Web) -> None:
    server.errors = [400]
    with pytest.raises(NetworkError):
        checksums.beside(f"{server.url}/one.tar", web)


def test_named_checksums_must_know_the_archive(server: Files, web: Web) -> None:
    server.content["/CHECKSUM"] = f"{B}  other.tar\n".encode()
    with pytest.raises(TrustError, match=r"no sha256 of one\.tar"):
        checksums.at(f"{server.url}/CHECKSUM", f"{server.url}/one.tar", web)


@pytest.mark.parametrize(
    ("name", "text"),
    [("one.tar.sha256", A), ("SHA256SUMS", f"{A}  one.tar\n"), ("CHECKSUM", f"SHA256 (one.tar) = {A}\n")],
)
def test_beside_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert checksums.beside_file(tmp_path / "one.tar") == (A, tmp_path / name)
    assert checksums.beside_file(tmp_path / "two.tar") is None
