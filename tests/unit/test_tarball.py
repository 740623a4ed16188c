"""Which archive a source means, and what vouches for it. No archive is unpacked here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from machinespawn.build.drivers import tarball
from machinespawn.build.drivers.tarball import Archive
from machinespawn.build.wanted import Pulled
from machinespawn.config import Config
from machinespawn.errors import BuildError, NetworkError, NotFoundError, TrustError, UsageError
from machinespawn.fetch import download
from machinespawn.recipe.model import TarSource
from tests.lab.fileserver import Files, files
from tests.lab.signing import Signer, signer

DATA = b"an archive, as far as these tests go"
SHA = hashlib.sha256(DATA).hexdigest()
OTHER = "0" * 64


@pytest.fixture
def server() -> Iterator[Files]:
    with files(**{"one.tar": DATA}) as served:
        yield served


@pytest.fixture(scope="module")
def maker() -> Iterator[Signer]:
    with signer("Maker") as made:
        yield made


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(root=tmp_path, recipe_path=(tmp_path / "recipes",))


def direct(_url: str) -> str:
    return ""


def resolved(source: TarSource, config: Config, sha256: str = "", *, verify: bool = True) -> Archive:
    return tarball.resolve(source, "amd64", config, direct, sha256=sha256, verify=verify)


def pulled(source: str | Path, sha256: str = "", *, verify: bool = True) -> Pulled:
    return Pulled(str(source), "bread", sha256=sha256, verify=verify, architecture="amd64")


def keyring(config: Config, key: Signer, *, armoured: bool = False) -> str:
    path = config.recipe_path[0] / "keyrings/maker.gpg"
    path.parent.mkdir(parents=True)
    key.export(path, armoured=armoured)
    return path.name


def test_by_checksum_without_fetching_the_archive(server: Files, config: Config) -> None:
    server.content["/SHA256SUMS"] = f"{OTHER}  two.tar\n{SHA}  one.tar\n".encode()
    found = resolved(TarSource(url=f"{server.url}/one.tar", strip=1), config)
    assert found == Archive(
        SHA, f"{server.url}/SHA256SUMS", f"{server.url}/one.tar", architecture="amd64", strip=1, size=0
    )
    assert "/one.tar" not in server.paths()


def test_a_checksum_named_relative_to_the_archive(server: Files, config: Config) -> None:
    server.content["/sums/all"] = f"SHA256 (one.tar) = {SHA}\n".encode()
    source = TarSource(url=f"{server.url}/one.tar", checksum="sums/all")
    assert resolved(source, config).verified_by == f"{server.url}/sums/all"


def test_no_checksum_is_an_error(server: Files, config: Config) -> None:
    with pytest.raises(TrustError) as raised:
        resolved(TarSource(url=f"{server.url}/one.tar"), config)
    assert "--sha256" in raised.value.hint
    assert "--no-verify" in raised.value.hint


def test_no_verify_takes_what_comes(server: Files, config: Config) -> None:
    found = resolved(TarSource(url=f"{server.url}/one.tar"), config, verify=False)
    assert (found.sha256, found.verified_by) == (SHA, "")


def test_a_given_digest_asks_nobody(config: Config) -> None:
    found = resolved(TarSource(url="http://127.0.0.1:1/one.tar"), config, f"SHA256:{SHA.upper()}")
    assert (found.sha256, found.verified_by) == (SHA, "--sha256")


@pytest.mark.parametrize("text", ["abc", "g" * 64, SHA + "0"])
def test_what_is_no_digest(config: Config, text: str) -> None:
    with pytest.raises(UsageError, match="no sha256"):
        resolved(TarSource(url="http://127.0.0.1:1/one.tar"), config, text)


def test_stale_checksums_are_asked_for_again_unless_their_archive_is_here(server: Files, config: Config) -> None:
    server.content["/one.tar.sha256"] = SHA.encode()
    source = TarSource(url=f"{server.url}/one.tar")
    resolved(source, config)
    server.content["/one.tar.sha256"] = OTHER.encode()
    assert resolved(source, config).sha256 == OTHER


def test_a_warm_build_asks_nobody(server: Files, config: Config) -> None:
    server.content["/one.tar.sha256"] = SHA.encode()
    source = TarSource(url=f"{server.url}/one.tar")
    download.fetch(source.url, config, sha256=SHA)
    resolved(source, config)
    server.asked.clear()
    assert resolved(source, config).sha256 == SHA
    assert server.asked == []


def test_without_network_the_last_visit_counts(server: Files, config: Config) -> None:
    server.content["/one.tar.sha256"] = SHA.encode()
    source = TarSource(url=f"{server.url}/one.tar")
    resolved(source, config)
    server.errors = [400] * 10
    assert resolved(source, config).sha256 == SHA


# --- signatures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("armoured", [False, True])
def test_checksums_signed_beside(server: Files, config: Config, maker: Signer, armoured: bool) -> None:
    sums = f"{SHA}  one.tar\n".encode()
    server.content.update({"/SHA256SUMS": sums, "/SHA256SUMS.asc": maker.sign(sums)})
    ring = keyring(config, maker, armoured=armoured)
    found = resolved(TarSource(url=f"{server.url}/one.tar", signature="SHA256SUMS.asc", keyring=ring), config)
    assert found.sha256 == SHA
    assert maker.fingerprint in found.verified_by


def test_checksums_signed_around(server: Files, config: Config, maker: Signer) -> None:
    server.content["/CHECKSUM"] = maker.clearsign(f"SHA256 (one.tar) = {SHA}\n")
    found = resolved(TarSource(url=f"{server.url}/one.tar", keyring=keyring(config, maker)), config)
    assert found.sha256 == SHA
    assert maker.fingerprint in found.verified_by


def test_only_what_is_signed_is_read(server: Files, config: Config, maker: Signer) -> None:
    """The frame alone does not give away that something stands behind the signature."""
    signed = maker.clearsign(f"SHA256 (other.tar) = {SHA}\n")
    behind = f"SHA256 (one.tar) = {OTHER}\n-----END PGP SIGNATURE-----\n"
    server.content["/CHECKSUM"] = signed + behind.encode()
    with pytest.raises(TrustError, match=r"no sha256 of one\.tar"):
        resolved(TarSource(url=f"{server.url}/one.tar", keyring=keyring(config, maker)), config)


def test_text_in_front_of_what_is_signed_is_refused(server: Files, config: Config, maker: Signer) -> None:
    signed = maker.clearsign(f"SHA256 (other.tar) = {SHA}\n")
    server.content["/CHECKSUM"] = f"SHA256 (one.tar) = {OTHER}\n".encode() + signed
    with pytest.raises(TrustError, match="not one signed message"):
        resolved(TarSource(url=f"{server.url}/one.tar", keyring=keyring(config, maker)), config)


def test_two_signed_messages_are_refused(server: Files, config: Config, maker: Signer) -> None:
    both = maker.clearsign(f"{SHA}  one.tar\n") + maker.clearsign(f"{SHA}  two.tar\n")
    server.content["/CHECKSUM"] = both
    with pytest.raises(TrustError, match="not one signed message"):
        resolved(TarSource(url=f"{server.url}/one.tar", keyring=keyring(config, maker)), config)


def test_a_keyring_without_a_signature_is_refused(server: Files, config: Config, maker: Signer) -> None:
    server.content["/SHA256SUMS"] = f"{SHA}  one.tar\n".encode()
    with pytest.raises(TrustError):
        resolved(TarSource(url=f"{server.url}/one.tar", keyring=keyring(config, maker)), config)


def test_checksums_changed_after_signing(server: Files, config: Config, maker: Signer) -> None:
    signature = maker.sign(f"{SHA}  one.tar\n".encode())
    server.content.update({"/SHA256SUMS": f"{OTHER}  one.tar\n".encode(), "/SHA256SUMS.asc": signature})
    source = TarSource(url=f"{server.url}/one.tar", signature="SHA256SUMS.asc", keyring=keyring(config, maker))
    with pytest.raises(TrustError, match="SHA256SUMS is not to be trusted"):
        resolved(source, config)


def test_signed_by_somebody_else(server: Files, config: Config, maker: Signer) -> None:
    with signer("Somebody else") as other:
        sums = f"{SHA}  one.tar\n".encode()
        server.content.update({"/SHA256SUMS": sums, "/SHA256SUMS.asc": other.sign(sums)})
    source = TarSource(url=f"{server.url}/one.tar", signature="SHA256SUMS.asc", keyring=keyring(config, maker))
    with pytest.raises(TrustError, match="not in"):
        resolved(source, config)


def test_an_archive_signed_itself(server: Files, config: Config, maker: Signer, tmp_path: Path) -> None:
    server.content["/one.tar.sig"] = maker.sign(DATA)
    source = TarSource(url=f"{server.url}/one.tar", signature="one.tar.sig", keyring=keyring(config, maker))
    found = resolved(source, config)
    assert (found.sha256, found.verified_by) == (SHA, f"{server.url}/one.tar.sig")
    with pytest.raises(BuildError, match="no tar archive"):  # so its signature was good
        tarball.unpack(found, tmp_path, config, direct)
    server.content["/one.tar.sig"] = maker.sign(DATA + b"x")
    with pytest.raises(TrustError, match="not to be trusted"):
        tarball.unpack(found, tmp_path, config, direct)


# --- simplestreams ------------------------------------------------------------------------------------------------


def streams(**versions: dict[str, dict[str, object]]) -> bytes:
    products = {
        "debian:trixie:amd64:default": {"versions": {name: {"items": items} for name, items in versions.items()}}
    }
    return json.dumps({"products": products}).encode()


def item(path: str, sha256: str = SHA) -> dict[str, dict[str, object]]:
    return {"root.tar.xz": {"path": path, "sha256": sha256, "size": len(DATA)}, "lxd.tar.xz": {"path": "x"}}


LIST = "/base/streams/v1/images.json"


def product(server: Files, **more: str) -> TarSource:
    return TarSource(streams=f"{server.url}/base", product="debian:trixie:amd64:default", **more)  # type: ignore[arg-type]


def test_the_latest_version_of_a_product(server: Files, config: Config) -> None:
    server.content[LIST] = streams(
        **{"20260801_05:24": item("images/old"), "20260802_05:24": item("images/new"), "20260803_05:24": {}}
    )
    found = resolved(product(server), config)
    assert found == Archive(
        SHA, f"{server.url}/base", f"{server.url}/base/images/new", architecture="amd64", size=len(DATA)
    )


def test_a_product_that_is_not_there(server: Files, config: Config) -> None:
    server.content[LIST] = streams(**{"1": item("images/new")})
    source = TarSource(streams=f"{server.url}/base", product="debian:trixi:amd64:default")
    with pytest.raises(NotFoundError) as raised:
        resolved(source, config)
    assert "debian:trixie:amd64:default" in raised.value.hint


@pytest.mark.parametrize(
    "content",
    [
        b"<html>",
        b"[]",
        b"{}",
        streams(**{"1": item("//evil.example.org/x")}),
        streams(**{"1": item("http://evil.example.org/x")}),
        streams(**{"1": item("images/new", "short")}),
    ],
)
def test_a_list_that_is_none(server: Files, config: Config, content: bytes) -> None:
    server.content[LIST] = content
    with pytest.raises(NetworkError, match="no list of images"):
        resolved(product(server), config)


def test_a_product_whose_signed_checksums_disagree(server: Files, config: Config, maker: Signer) -> None:
    server.content[LIST] = streams(**{"1": item("images/one.tar", OTHER)})
    sums = f"{SHA}  one.tar\n".encode()
    server.content.update({"/base/images/SHA256SUMS": sums, "/base/images/SHA256SUMS.asc": maker.sign(sums)})
    ring = keyring(config, maker)
    source = product(server, checksum="SHA256SUMS", signature="SHA256SUMS.asc", keyring=ring)
    with pytest.raises(TrustError, match="by its list"):
        resolved(source, config)
    server.content[LIST] = streams(**{"1": item("images/one.tar")})
    assert maker.fingerprint in resolved(source, config).verified_by


# --- what pull-tar is given ---------------------------------------------------------------------------------------


def test_a_file_with_its_checksum_beside(tmp_path: Path, config: Config) -> None:
    file = tmp_path / "one.tar"
    file.write_bytes(DATA)
    with pytest.raises(TrustError, match="no checksum vouches"):
        tarball.resolve_given(pulled(file), config, direct)
    (tmp_path / "one.tar.sha256").write_text(f"{SHA}  one.tar\n")
    found = tarball.resolve_given(pulled(file), config, direct)
    assert found == Archive(SHA, str(tmp_path / "one.tar.sha256"), path=str(file), size=len(DATA), architecture="amd64")
    (tmp_path / "one.tar.sha256").write_text(f"{OTHER}  one.tar\n")
    with pytest.raises(TrustError, match=OTHER):
        tarball.resolve_given(pulled(file), config, direct)


def test_a_file_with_a_given_digest(tmp_path: Path, config: Config) -> None:
    file = tmp_path / "one.tar"
    file.write_bytes(DATA)
    assert tarball.resolve_given(pulled(file, SHA), config, direct).verified_by == "--sha256"
    assert tarball.resolve_given(pulled(file, verify=False), config, direct).verified_by == ""
    with pytest.raises(TrustError, match=OTHER):
        tarball.resolve_given(pulled(file, OTHER), config, direct)


def test_a_url(server: Files, config: Config) -> None:
    server.content["/one.tar.sha256"] = SHA.encode()
    found = tarball.resolve_given(pulled(f"{server.url}/one.tar"), config, direct)
    assert (found.sha256, found.url) == (SHA, f"{server.url}/one.tar")


def test_neither_file_nor_layout(tmp_path: Path, config: Config) -> None:
    with pytest.raises(NotFoundError):
        tarball.resolve_given(pulled(tmp_path / "none"), config, direct)
    with pytest.raises(BuildError, match="no OCI layout"):
        tarball.resolve_given(pulled(tmp_path), config, direct)
