"""Archives that try to get out of the tree. Whatever they do, nothing around it changes."""

from __future__ import annotations

import importlib
import os
import stat
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from machinespawn.build.archive.confine import confined
from machinespawn.build.archive.flow import Digest
from machinespawn.build.archive.unpack import How, unpack
from machinespawn.errors import BuildError, TrustError
from tests.lab import tars
from tests.lab.tars import Entry, directory, hardlink, symlink

EVIL = b"written by the archive"
HOW = How(None, "amd64")


@dataclass(frozen=True)
class Place:
    """A tree to unpack into, with things around it that must stay as they are."""

    top: Path

    @property
    def tree(self) -> Path:
        return self.top / "trees/bread"

    @property
    def canary(self) -> Path:
        return self.top / "canary"

    def around(self) -> dict[str, tuple[object, ...]]:
        """Everything outside of the tree: what it is, and what it holds."""
        found: dict[str, tuple[object, ...]] = {}
        for path in sorted(self.top.rglob("*")):
            if self.tree not in path.parents and path != self.tree:
                status = path.lstat()
                content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
                found[str(path)] = (status.st_mode, status.st_uid, status.st_nlink, status.st_mtime_ns, content)
        return found

    def unpack(self, data: bytes, how: How = HOW) -> None:
        file = self.top / "archive"
        file.write_bytes(data)
        (self.top / "scratch").mkdir(exist_ok=True)
        around, ours = self.around(), held()
        try:
            unpack(file, self.tree, how, self.top / "scratch")
        finally:
            assert self.around() == around
            assert held() == ours


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.tree.mkdir(parents=True)
    made.canary.mkdir()
    (made.canary / "secret").write_bytes(b"theirs")
    (made.canary / "secret").chmod(0o640)
    return made


def held() -> tuple[list[str], list[str]]:
    """Open descriptors and children of this process."""
    children = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    return os.listdir("/proc/self/fd"), children


def content(place: Place) -> list[str]:
    return sorted(str(path.relative_to(place.tree)) for path in place.tree.rglob("*"))


def test_no_module_is_loaded_out_of_the_archive(place: Place) -> None:
    for searched in filter(None, sys.path):
        hostile = place.tree / searched.lstrip("/") / "out_of_the_archive.py"
        hostile.parent.mkdir(parents=True, exist_ok=True)
        hostile.write_text("open('/loaded', 'w')\n")

    def work(_data: int) -> dict[str, int]:
        importlib.import_module("out_of_the_archive")
        return {}

    with open(os.devnull, "rb") as data, confined(place.tree, data.fileno(), work) as answer:
        error = answer().error
    assert not (place.tree / "loaded").exists()
    assert error is not None
    assert "out_of_the_archive" in error.message


# --- names and links ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry",
    [
        Entry("../canary/secret", EVIL),
        Entry("../../canary/secret", EVIL),
        Entry("etc/../../../canary/secret", EVIL),
        Entry("/../canary/secret", EVIL),
        Entry("..", type=tarfile.DIRTYPE),
        directory("../canary/new"),
        symlink("../canary/new", "x"),
        hardlink("new", "../../canary/secret"),
        hardlink("../canary/new", "etc/good"),
        Entry("../canary/fifo", type=tarfile.FIFOTYPE),
    ],
    ids=lambda entry: f"{entry.name} {entry.link}",
)
@pytest.mark.parametrize("form", ["plain", "layer"])
def test_names_that_climb_are_refused(place: Place, entry: Entry, form: str) -> None:
    data = tars.tar(Entry("etc/good", b"good"), entry)
    with pytest.raises(TrustError) as raised:
        place.unpack(data if form == "plain" else tars.packed(tars.oci(data)))
    assert entry.name in raised.value.message
    assert raised.value.hint


def test_absolute_names_are_inside(place: Place) -> None:
    secret = place.canary / "secret"
    place.unpack(tars.tar(Entry(str(secret), EVIL), hardlink("/etc/link", str(secret))))
    inside = place.tree / str(secret).lstrip("/")
    assert inside.read_bytes() == EVIL
    assert (place.tree / "etc/link").samefile(inside)


@pytest.mark.parametrize("climb", [True, False], ids=["relative", "absolute"])
def test_written_through_a_link_stays_inside(place: Place, climb: bool) -> None:
    target = "../../../../../../../../.." + str(place.canary) if climb else str(place.canary)
    place.unpack(tars.tar(symlink("out", target), Entry("out/secret", EVIL), Entry("out/new", EVIL)))
    inside = place.tree / str(place.canary).lstrip("/")
    assert (inside / "secret").read_bytes() == EVIL
    assert (inside / "new").read_bytes() == EVIL
    assert (place.tree / "out").readlink() == Path(target)


def test_a_link_to_the_file_itself_is_replaced_not_followed(place: Place) -> None:
    secret = place.canary / "secret"
    place.unpack(tars.tar(symlink("file", str(secret)), Entry("file", EVIL)))
    assert (place.tree / "file").read_bytes() == EVIL
    assert not (place.tree / "file").is_symlink()


def test_a_directory_takes_the_place_of_a_link(place: Place) -> None:
    place.unpack(tars.tar(symlink("dir", str(place.canary)), directory("dir", 0o700), Entry("dir/secret", EVIL)))
    assert not (place.tree / "dir").is_symlink()
    assert (place.tree / "dir/secret").read_bytes() == EVIL


def test_modes_and_owners_of_links_are_not_those_of_targets(place: Place) -> None:
    secret = place.canary / "secret"
    link = Entry("link", type=tarfile.SYMTYPE, link=str(secret), mode=0o4777, uid=1234)
    place.unpack(tars.tar(link, hardlink("again", "link"), directory("d"), Entry("d", type=tarfile.SYMTYPE, link="/")))
    assert (place.tree / "again").is_symlink()
    assert (place.tree / "link").lstat().st_uid == 1234


def test_a_hard_link_through_a_link_stays_inside(place: Place) -> None:
    with pytest.raises(BuildError, match="cannot be unpacked"):
        place.unpack(tars.tar(symlink("out", str(place.canary)), hardlink("stolen", "out/secret")))
    assert not (place.tree / "stolen").exists()


def test_a_ring_of_links(place: Place) -> None:
    with pytest.raises(BuildError):
        place.unpack(tars.tar(symlink("a", "b"), symlink("b", "a"), Entry("a/file", EVIL)))


def test_a_file_where_a_directory_is_needed(place: Place) -> None:
    with pytest.raises(BuildError, match="a/file"):
        place.unpack(tars.tar(Entry("a", b"file"), Entry("a/file", EVIL)))


def test_the_top_is_a_directory(place: Place) -> None:
    with pytest.raises(TrustError):
        place.unpack(tars.tar(symlink("./", str(place.canary)), Entry("secret", EVIL)))


def test_a_name_with_a_zero_byte(place: Place) -> None:
    with pytest.raises(TrustError, match="zero byte"):
        place.unpack(tars.tar(Entry("short", EVIL, pax={"path": "a\0b"})))


def test_a_name_too_long(place: Place) -> None:
    with pytest.raises(BuildError, match="cannot be unpacked"):
        place.unpack(tars.tar(Entry("n" * 300, EVIL)))


def test_a_tree_too_deep_to_remove(place: Place) -> None:
    with pytest.raises(TrustError, match="deep"):
        place.unpack(tars.tar(Entry("d/" * 1000 + "file", EVIL)))
    with pytest.raises(TrustError, match="deep"):
        place.unpack(tars.tar(symlink("s", "d/" * 200), Entry("s/" + "d/" * 200 + "file", EVIL)))


def test_an_error_shows_no_control_characters(place: Place) -> None:
    with pytest.raises(TrustError) as raised:
        place.unpack(tars.tar(Entry("../\x1b[2J\nfile", EVIL)))
    assert "\x1b" not in raised.value.message
    assert "\n" not in raised.value.message


@pytest.mark.parametrize("how", tars.COMPRESSIONS)
def test_what_follows_a_refused_member_is_not_waited_for(place: Place, how: str) -> None:
    data = tars.compressed(tars.tar(Entry("../first", EVIL), Entry("second", os.urandom(8 << 20))), how)
    with pytest.raises(TrustError, match="first"):
        place.unpack(data)
    with pytest.raises(TrustError, match="0000"):
        place.unpack(data, How(Digest("sha256", "0" * 64), "amd64"))


# --- kinds of members ---------------------------------------------------------------------------------------------


def test_devices_and_pipes_are_left_out(place: Place) -> None:
    device = Entry("dev/sda", type=tarfile.BLKTYPE)
    entries = [Entry("etc/good"), Entry("dev/null", type=tarfile.CHRTYPE), device, hardlink("disk", "dev/sda")]
    place.unpack(tars.tar(*entries, Entry("run/pipe", type=tarfile.FIFOTYPE), Entry("odd", EVIL, type=b"Z")))
    assert content(place) == ["dev", "etc", "etc/good", "run"]


def test_what_an_archive_may_set_and_what_not(place: Place) -> None:
    capability = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00".decode()
    attributes = {
        "security.capability": capability,
        "user.note": "kept",
        "trusted.overlay.opaque": "y",
        "trusted.overlay.redirect": "/etc",
        "user.overlay.redirect": "/etc",
        "security.selinux": "system_u:object_r:etc_t:s0",
    }
    pax = {f"SCHILY.xattr.{name}": value for name, value in attributes.items()}
    tool = Entry("bin/ping", b"ELF", mode=0o4755, uid=7, gid=8, pax=pax)
    place.unpack(tars.tar(tool, directory("srv", 0o2775, uid=5, pax=pax), directory("./", 0o700, uid=9)))
    for path in (place.tree / "bin/ping", place.tree / "srv"):
        assert sorted(os.listxattr(path)) == ["security.capability", "user.note"]
    assert os.getxattr(place.tree / "bin/ping", "security.capability") == capability.encode()
    status = (place.tree / "bin/ping").stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid, status.st_mtime) == (0o4755, 7, 8, 1_600_000_000)
    assert (place.tree / "srv").stat().st_mode & 0o7777 == 0o2775
    assert (place.tree.stat().st_mode & 0o7777, place.tree.stat().st_uid) == (0o755, 0)


@pytest.mark.parametrize("uid", [-1, 0xFFFFFFFF, 1 << 40])
def test_owners_that_are_none(place: Place, uid: int) -> None:
    with pytest.raises(BuildError, match="owner"):
        place.unpack(tars.tar(Entry("file", uid=uid), format=tarfile.GNU_FORMAT))


@pytest.mark.parametrize("time", ["nan", "-5", "1e300", "inf"])
def test_times_that_are_none(place: Place, time: str) -> None:
    place.unpack(tars.tar(Entry("file", pax={"mtime": time})))
    assert (place.tree / "file").stat().st_mtime == 0


def test_the_later_member_of_a_name_counts(place: Place) -> None:
    first = [Entry("a", b"1"), directory("b"), Entry("b/c", b"1"), symlink("d", "a"), Entry("e", b"1")]
    later = [Entry("a", b"2"), Entry("b", b"2"), Entry("d", b"2"), hardlink("e", "a"), hardlink("a", "a")]
    place.unpack(tars.tar(*first, *later))
    assert content(place) == ["a", "b", "d", "e"]
    assert [(place.tree / name).read_bytes() for name in "abde"] == [b"2"] * 4


# --- layers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "etc/.wh...", "../.wh.canary", "../canary/.wh.secret"])
def test_whiteouts_that_reach_out(place: Place, name: str) -> None:
    with pytest.raises(TrustError):
        place.unpack(tars.packed(tars.oci(tars.tar(Entry("etc/x")), tars.tar(Entry(name)))))


def test_whiteouts_through_a_link_stay_inside(place: Place) -> None:
    lower = tars.tar(symlink("out", str(place.canary)), Entry("etc/x"))
    upper = tars.tar(Entry("out/.wh.secret"), Entry("out/.wh..wh..opq"))
    place.unpack(tars.packed(tars.oci(lower, upper)))
    assert (place.canary / "secret").read_bytes() == b"theirs"


def test_whiteouts_are_mere_files_in_a_plain_tar(place: Place) -> None:
    place.unpack(tars.tar(Entry("etc/x"), Entry("etc/.wh.x")))
    assert content(place) == ["etc", "etc/.wh.x", "etc/x"]
