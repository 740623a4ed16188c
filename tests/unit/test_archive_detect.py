"""What a file is goes by its content."""

from __future__ import annotations

import pytest

from machinespawn.build.archive import detect
from tests.lab import tars


@pytest.mark.parametrize(("how", "program"), [("plain", ""), ("gzip", "gzip"), ("xz", "xz"), ("zstd", "zstd")])
def test_compression(how: str, program: str) -> None:
    found = detect.decompressor(tars.compressed(tars.tar(tars.Entry("etc/hostname", b"x")), how))
    assert (found.argv[0] if found else "") == program


def test_zstd_that_begins_with_a_skippable_frame() -> None:
    found = detect.decompressor(b"\x50\x2a\x4d\x18\x04\0\0\0")
    assert found is not None
    assert found.argv[0] == "zstd"


@pytest.mark.parametrize(
    ("head", "what"),
    [(b"BZh91AY", "bzip2"), (b"PK\x03\x04", "zip"), (b"\n<!DOCTYPE html>", "web page"), (b"QFI\xfb", "qcow2")],
)
def test_what_else_it_may_be_is_said(head: bytes, what: str) -> None:
    assert what in detect.not_an_archive(head, "file").message


HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "name",
    [
        "oci-layout",
        "index.json",
        "manifest.json",
        "repositories",
        "blobs",
        f"blobs/sha256/{HEX}",
        f"{HEX}.json",
        f"{HEX}.tar",
        f"{HEX}.tar.gz",
        f"{HEX}/layer.tar",
        f"sha256:{HEX}",
    ],
)
def test_members_of_images(name: str) -> None:
    assert detect.is_image_member(name)


@pytest.mark.parametrize("name", ["bin", "etc/passwd", "dev/console", "root.x86_64/etc", "index.html", "blobs2"])
def test_members_of_root_file_systems(name: str) -> None:
    assert not detect.is_image_member(name)
