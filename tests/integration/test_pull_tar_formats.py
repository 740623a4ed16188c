"""Every form of an archive in every compression, and layers on top of one another."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from machinespawn.build.archive.flow import Digest
from machinespawn.build.archive.unpack import How, manifest, unpack
from machinespawn.errors import BuildError, NotFoundError, TrustError
from tests.lab import tars
from tests.lab.tars import COMPRESSIONS, Entry, Layout, directory, hardlink, symlink

LOWER = tars.tar(
    directory("./"), directory("etc", 0o750, gid=4), Entry("etc/os-release", b"ID=lab\n"), symlink("lib", "usr/lib")
)
UPPER = tars.tar(Entry("etc/hostname", b"bread\n", uid=3), hardlink("etc/alias", "etc/os-release"))
FORMS = {
    "tar": lambda how: tars.tar(
        directory("etc", 0o750, gid=4),
        Entry("etc/os-release", b"ID=lab\n"),
        symlink("lib", "usr/lib"),
        Entry("etc/hostname", b"bread\n", uid=3),
        hardlink("etc/alias", "etc/os-release"),
    ),
    "docker": lambda how: tars.packed(tars.docker(LOWER, UPPER, how=how)),
    "oci": lambda how: tars.packed(tars.oci(LOWER, UPPER, how=how)),
}


def unpacked(tmp_path: Path, data: bytes, architecture: str = "amd64", strip: int = 0, sha256: str = "") -> Path:
    file, tree = tmp_path / "archive", tmp_path / "tree"
    file.write_bytes(data)
    tree.mkdir()
    digest = Digest("sha256", sha256 or tars.sha256(data))
    unpack(file, tree, How(digest, architecture, strip), tmp_path / "scratch")
    return tree


def check(tree: Path) -> None:
    assert sorted(os.listdir(tree)) == ["etc", "lib"]
    assert sorted(os.listdir(tree / "etc")) == ["alias", "hostname", "os-release"]
    assert (tree / "etc/alias").samefile(tree / "etc/os-release")
    assert (tree / "etc/hostname").read_text() == "bread\n"
    assert (tree / "etc/hostname").stat().st_uid == 3
    assert (tree / "etc").stat().st_mode & 0o7777 == 0o750
    assert (tree / "etc").stat().st_gid == 4
    assert (tree / "lib").readlink() == Path("usr/lib")
    assert tree.stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("outer", COMPRESSIONS)
@pytest.mark.parametrize("inner", COMPRESSIONS)
@pytest.mark.parametrize("form", FORMS)
def test_form_and_compression(tmp_path: Path, form: str, inner: str, outer: str) -> None:
    check(unpacked(tmp_path, tars.compressed(FORMS[form](inner), outer)))


@pytest.mark.parametrize("inner", COMPRESSIONS)
def test_layout_directory(tmp_path: Path, inner: str) -> None:
    layout = tars.spread(tars.oci(LOWER, UPPER, how=inner), tmp_path / "layout")
    (tmp_path / "tree").mkdir()
    digest = manifest(layout, "amd64")
    unpack(layout, tmp_path / "tree", How(digest, "amd64"), tmp_path / "scratch")
    check(tmp_path / "tree")


def test_both_forms_in_one_are_read_as_the_one_with_digests(tmp_path: Path) -> None:
    both = {**tars.docker(tars.tar(Entry("wrong"))), **tars.oci(LOWER, UPPER)}
    check(unpacked(tmp_path, tars.packed(both)))


def test_docker_save_links_layers_that_are_the_same(tmp_path: Path) -> None:
    files = tars.docker(LOWER, UPPER)
    first = f"{tars.sha256(LOWER)}.tar"
    moved = {f"{'a' * 64}/layer.tar": files.pop(first), **files}
    data = tars.packed(moved, symlink(first, f"{'a' * 64}/layer.tar"))
    check(unpacked(tmp_path, data))


def test_a_root_file_system_that_looks_like_an_image_at_first(tmp_path: Path) -> None:
    tree = unpacked(tmp_path, tars.compressed(tars.tar(Entry("manifest", b""), Entry("blobs/x"), Entry("etc/x")), "xz"))
    assert sorted(os.listdir(tree)) == ["blobs", "etc", "manifest"]


def test_leading_directories_are_dropped(tmp_path: Path) -> None:
    members = [directory("root.x86_64"), Entry("root.x86_64/etc/x", b"x"), Entry("pkglist.txt"), Entry("version")]
    linked = hardlink("root.x86_64/etc/y", "root.x86_64/etc/x")
    tree = unpacked(tmp_path, tars.compressed(tars.tar(*members, linked), "zstd"), strip=1)
    assert os.listdir(tree) == ["etc"]
    assert (tree / "etc/y").samefile(tree / "etc/x")


@pytest.mark.parametrize("format", ["gnu", "posix"])
def test_sparse_files_as_gnu_tar_writes_them(tmp_path: Path, format: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "disk", "wb") as file:
        for offset in (0, 5 << 20, 9 << 20):
            file.seek(offset)
            file.write(os.urandom(10_000))
        file.truncate(20 << 20)
    (source / "after").write_bytes(b"after it")
    argv = ["tar", "--sparse", f"--format={format}", "-C", str(source), "-cf", "-", "disk", "after"]
    data = subprocess.run(argv, capture_output=True, check=True).stdout
    assert len(data) < 1 << 20
    tree = unpacked(tmp_path, data)
    assert (tree / "disk").read_bytes() == (source / "disk").read_bytes()
    assert (tree / "disk").stat().st_blocks * 512 < 1 << 20
    assert (tree / "after").read_bytes() == b"after it"


def test_the_same_tree_as_gnu_tar_makes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "usr/bin").mkdir(parents=True)
    (source / "usr/bin/tool").write_bytes(os.urandom(70_000))
    (source / "usr/bin/tool").chmod(0o4755)
    (source / "ca\udce9").write_bytes(b"latin-1")
    (source / ("n" * 200)).symlink_to("t" * 200)
    os.link(source / "usr/bin/tool", source / "usr/bin/again")
    os.chown(source / "usr", 1000, 123456)
    os.utime(source / "usr/bin", (1, 1_234_567))
    data = subprocess.run(["tar", "-C", str(source), "-cf", "-", "."], capture_output=True, check=True).stdout
    assert described(unpacked(tmp_path, data)) == described(source)


def described(tree: Path) -> list[tuple[object, ...]]:
    """All that tells one tree from another; inodes as the first name that has them."""
    found: list[tuple[object, ...]] = []
    first: dict[int, str] = {}
    for path in sorted(tree.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        name = str(path.relative_to(tree))
        same = first.setdefault(status.st_ino, name)
        found.append((name, status.st_mode, status.st_uid, status.st_gid, int(status.st_mtime), same, content))
    return found


# --- layers -------------------------------------------------------------------------------------------------------


def layered(tmp_path: Path, *layers: list[Entry]) -> dict[str, bytes | None]:
    """Path -> content (None: a directory) of the image that these layers make."""
    tree = unpacked(tmp_path, tars.packed(tars.oci(*(tars.tar(*layer) for layer in layers))))
    return {
        str(path.relative_to(tree)): path.read_bytes() if path.is_file() else None for path in sorted(tree.rglob("*"))
    }


BASE = [directory("etc"), Entry("etc/a", b"1"), directory("srv"), Entry("srv/x", b"1"), Entry("srv/sub/y", b"1")]


def test_a_whiteout_hides_a_file_and_a_tree(tmp_path: Path) -> None:
    assert layered(tmp_path, BASE, [Entry("etc/.wh.a"), Entry(".wh.srv")]) == {"etc": None}


def test_a_whiteout_of_what_is_not_there(tmp_path: Path) -> None:
    assert layered(tmp_path, [directory("etc")], [Entry("etc/.wh.none"), Entry("new/.wh.none")]) == {
        "etc": None,
        "new": None,
    }


@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_an_opaque_directory_has_only_its_own_layer(tmp_path: Path, first: bool) -> None:
    opaque, own = Entry("srv/.wh..wh..opq"), [directory("srv"), Entry("srv/new", b"2"), Entry("srv/sub/new", b"2")]
    found = layered(tmp_path, BASE, [opaque, *own] if first else [*own, opaque])
    assert found == {
        "etc": None,
        "etc/a": b"1",
        "srv": None,
        "srv/new": b"2",
        "srv/sub": None,
        "srv/sub/new": b"2",
    }


@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_a_whiteout_spares_what_its_own_layer_has(tmp_path: Path, first: bool) -> None:
    hide, own = Entry(".wh.srv"), [directory("srv"), Entry("srv/new", b"2")]
    found = layered(tmp_path, BASE, [hide, *own] if first else [*own, hide])
    assert found == {"etc": None, "etc/a": b"1", "srv": None, "srv/new": b"2"}


def test_an_opaque_top(tmp_path: Path) -> None:
    assert layered(tmp_path, BASE, [Entry("new", b"2"), Entry(".wh..wh..opq")]) == {"new": b"2"}


def test_whiteouts_through_a_link_find_what_the_layer_has(tmp_path: Path) -> None:
    base = [symlink("lib", "usr/lib"), Entry("usr/lib/old", b"1")]
    found = layered(tmp_path, base, [Entry("lib/new", b"2"), Entry("usr/lib/.wh..wh..opq")])
    assert found == {"lib": None, "usr": None, "usr/lib": None, "usr/lib/new": b"2"}


def test_kinds_change_between_layers(tmp_path: Path) -> None:
    base = [Entry("a", b"1"), directory("b"), Entry("b/x", b"1"), symlink("c", "b"), Entry("d", b"1")]
    upper = [directory("a"), Entry("b", b"2"), directory("c"), Entry("d", type=tarfile.CHRTYPE)]
    assert layered(tmp_path, base, upper) == {"a": None, "b": b"2", "c": None}


def test_books_of_aufs_are_no_files(tmp_path: Path) -> None:
    upper = [directory(".wh..wh.plnk"), Entry(".wh..wh.plnk/1.2", b"x"), Entry(".wh..wh.aufs")]
    assert layered(tmp_path, [directory("etc")], upper) == {"etc": None}


# --- which image --------------------------------------------------------------------------------------------------


def several(*architectures: tuple[str, str]) -> Layout:
    """One image for each (architecture, variant), each with a file that says so."""
    layout = Layout()
    for architecture, variant in architectures:
        layer = tars.tar(Entry(f"is-{architecture}{variant}"))
        platform = {"os": "linux", "architecture": architecture, **({"variant": variant} if variant else {})}
        layout.manifests.append(layout.image([layer], architecture, platform=platform))
    return layout


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("amd64", "amd64"),
        ("arm64", "arm64v8"),
        ("armhf", "armv7"),
        ("armel", "armv5"),
        ("i386", "386"),
        ("ppc64el", "ppc64le"),
    ],
)
@pytest.mark.parametrize("nested", [False, True], ids=["index", "index in an index"])
def test_the_image_of_the_architecture(tmp_path: Path, wanted: str, found: str, nested: bool) -> None:
    layout = several(
        ("amd64", ""), ("amd64", "v3"), ("arm64", "v8"), ("arm", "v7"), ("arm", "v5"), ("386", ""), ("ppc64le", "")
    )
    if nested:
        layout.manifests = [layout.document({"manifests": layout.manifests}, "index.v1+json")]
    tree = unpacked(tmp_path, tars.packed(layout.finished()), wanted)
    assert os.listdir(tree) == [f"is-{found}"]


@pytest.mark.parametrize("make", [tars.oci, tars.docker])
def test_no_image_of_the_architecture(tmp_path: Path, make: Callable[..., dict[str, bytes]]) -> None:
    with pytest.raises(NotFoundError) as raised:
        unpacked(tmp_path, tars.packed(make(LOWER, architecture="arm64")))
    assert "arm64" in raised.value.hint


def test_attestations_are_no_images(tmp_path: Path) -> None:
    layout = several(("amd64", ""))
    unknown = {"os": "unknown", "architecture": "unknown"}
    layout.manifests.append(layout.image([tars.tar(Entry("wrong"))], "unknown", platform=unknown))
    assert os.listdir(unpacked(tmp_path, tars.packed(layout.finished()))) == ["is-amd64"]


def test_two_images_of_the_architecture(tmp_path: Path) -> None:
    layout = Layout()
    for name in ("one", "two"):
        annotations = {"org.opencontainers.image.ref.name": name}
        layout.manifests.append(layout.image([tars.tar(Entry(name))], annotations=annotations))
    with pytest.raises(BuildError, match="one, two"):
        unpacked(tmp_path, tars.packed(layout.finished()))


# --- what is not right --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", COMPRESSIONS)
def test_another_archive_than_the_one_wanted(tmp_path: Path, form: str, how: str) -> None:
    with pytest.raises(TrustError, match="0000"):
        unpacked(tmp_path, tars.compressed(FORMS[form]("plain"), how), sha256="0" * 64)


@pytest.mark.parametrize("how", COMPRESSIONS)
def test_cut_short(tmp_path: Path, how: str) -> None:
    data = tars.compressed(tars.tar(Entry("etc/x", os.urandom(100_000))), how)
    with pytest.raises(BuildError, match="damaged"):
        unpacked(tmp_path, data[: len(data) // 2])


@pytest.mark.parametrize("how", ["gzip", "xz", "zstd"])
def test_a_bit_is_wrong_and_the_checksum_was_made_after(tmp_path: Path, how: str) -> None:
    data = bytearray(tars.compressed(tars.tar(Entry("etc/x", os.urandom(100_000))), how))
    data[len(data) // 2] ^= 1
    with pytest.raises(BuildError, match="damaged"):
        unpacked(tmp_path, bytes(data))


@pytest.mark.parametrize("which", ["manifest", "config", "layer"])
@pytest.mark.parametrize("same_size", [True, False])
def test_a_blob_that_is_not_what_its_digest_says(tmp_path: Path, which: str, same_size: bool) -> None:
    files = tars.oci(LOWER)
    marks = {"manifest": b'"layers": [{', "config": b"rootfs"}
    blobs = [name for name in files if name.startswith("blobs/")]
    documents = {kind: next(name for name in blobs if mark in files[name]) for kind, mark in marks.items()}
    name = documents.get(which) or next(name for name in blobs if name not in documents.values())
    files[name] = files[name][:-1] + b" " if same_size else files[name] + b" "
    with pytest.raises(TrustError):
        unpacked(tmp_path, tars.packed(files))


@pytest.mark.parametrize("which", ["manifest", "layer"])
def test_a_blob_that_has_not_the_size_that_is_said(tmp_path: Path, which: str) -> None:
    layout = Layout()
    layout.manifests.append(layout.image([LOWER]))
    if which == "layer":
        name = "blobs/" + layout.manifests[0]["digest"].replace(":", "/")
        manifest = json.loads(layout.files.pop(name))
        manifest["layers"][0]["size"] += 1
        layout.manifests = [layout.document(manifest, "manifest.v1+json")]
    else:
        layout.manifests[0]["size"] += 1
    with pytest.raises(TrustError):
        unpacked(tmp_path, tars.packed(layout.finished()))


@pytest.mark.parametrize("inner", COMPRESSIONS)
def test_a_docker_layer_that_is_not_what_the_config_says(tmp_path: Path, inner: str) -> None:
    files = tars.docker(LOWER)
    files[f"{tars.sha256(LOWER)}.tar"] = tars.compressed(tars.tar(Entry("etc/evil")), inner)
    with pytest.raises(TrustError, match="its image says"):
        unpacked(tmp_path, tars.packed(files))


def test_a_docker_config_that_is_not_what_its_name_says(tmp_path: Path) -> None:
    files = tars.docker(LOWER)
    name = next(name for name in files if name.endswith(".json") and name != "manifest.json")
    files[name] += b" "
    with pytest.raises(TrustError, match="digest"):
        unpacked(tmp_path, tars.packed(files))


def test_a_blob_is_missing(tmp_path: Path) -> None:
    files = tars.docker(LOWER)
    del files[f"{tars.sha256(LOWER)}.tar"]
    with pytest.raises(BuildError, match="lacks"):
        unpacked(tmp_path, tars.packed(files))


@pytest.mark.parametrize(
    "digest", ["sha256:../../../../etc/passwd", "sha256:" + "a" * 63, "md5:" + "a" * 32, "", None, 5, "blobs/x"]
)
def test_digests_that_are_paths(tmp_path: Path, digest: object) -> None:
    files = {**tars.oci(LOWER), "index.json": json.dumps({"manifests": [{"digest": digest, "size": 1}]}).encode()}
    with pytest.raises(TrustError, match="no digest"):
        unpacked(tmp_path, tars.packed(files))


@pytest.mark.parametrize(
    "index", [b"", b"[]", b"{}", b'{"manifests": 5}', b'{"manifests": [5]}', b"[" * 100_000, b"\xff", b"null"]
)
@pytest.mark.parametrize("name", ["index.json", "manifest.json"])
def test_documents_that_make_no_sense(tmp_path: Path, name: str, index: bytes) -> None:
    files = {**(tars.oci if name == "index.json" else tars.docker)(LOWER), name: index}
    with pytest.raises((BuildError, NotFoundError)) as raised:
        unpacked(tmp_path, tars.packed(files))
    assert raised.value.hint


def test_a_link_in_a_layout_directory_is_not_followed(tmp_path: Path) -> None:
    layout = tars.spread(tars.oci(LOWER), tmp_path / "layout")
    blob = max((layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.rename(tmp_path / "elsewhere")
    blob.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BuildError, match="lacks"):
        unpack(layout, tmp_path, How(None, "amd64"), tmp_path / "scratch")


def test_a_layout_that_changed_since_it_was_looked_at(tmp_path: Path) -> None:
    layout = tars.spread(tars.oci(LOWER), tmp_path / "layout")
    digest = manifest(layout, "amd64")
    tars.spread(tars.oci(UPPER), layout)
    (tmp_path / "tree").mkdir()
    with pytest.raises(TrustError, match="changed"):
        unpack(layout, tmp_path / "tree", How(digest, "amd64"), tmp_path / "scratch")
    assert os.listdir(tmp_path / "tree") == []


@pytest.mark.parametrize(
    ("data", "what"),
    [(b"<html>login</html>", "web page"), (b"BZh9" + b"x" * 600, "bzip2"), (b"", ""), (b"x" * 999, "")],
)
def test_no_archive_at_all(tmp_path: Path, data: bytes, what: str) -> None:
    with pytest.raises(BuildError) as raised:
        unpacked(tmp_path, data)
    assert what in raised.value.message
    assert raised.value.hint


def test_nothing_is_left_after_dropping_directories(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="empty") as raised:
        unpacked(tmp_path, tars.tar(Entry("hostname")), strip=1)
    assert "1" in raised.value.hint
