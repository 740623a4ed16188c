"""Reading tars in bounds: what a hostile header may not do."""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from machinespawn.build.archive.tar import HEADER_MAX, TRAILER_MAX, Damaged, Reader, members, parts
from machinespawn.errors import BuildError
from tests.lab import tars
from tests.lab.tars import Entry

Opener = Callable[..., Reader]


@pytest.fixture
def reading(tmp_path: Path) -> Iterator[Opener]:
    with contextlib.ExitStack() as opened:

        def open_as_tar(data: bytes, limit: int = 1 << 40, algorithm: str = "") -> Reader:
            path = tmp_path / "archive"
            path.write_bytes(data)
            return Reader(opened.enter_context(open(path, "rb", buffering=0)).fileno(), limit, algorithm)

        yield open_as_tar


def names(reader: Reader) -> list[str]:
    return [member.name for member in members(reader)]


LONG = "d/" * 100 + "f" * 200


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_and_odd_names(reading: Opener, format: int) -> None:
    odd = b"caf\xe9".decode("utf-8", "surrogateescape")
    data = tars.tar(Entry(LONG, b"x" * 3000), Entry("ü"), Entry(odd), format=format)
    assert names(reading(data)) == [LONG, "ü", odd]


def test_data_is_handed_over(reading: Opener, tmp_path: Path) -> None:
    content = [b"x" * size for size in (0, 1, 511, 512, 513, 3 << 20)]
    reader = reading(tars.tar(*(Entry(str(len(data)), data) for data in content)), algorithm="sha256")
    found = []
    for member in members(reader):
        with open(tmp_path / "copy", "w+b", buffering=0) as copy:
            reader.copy(member.size, copy.fileno())
            copy.seek(0)
            found.append(copy.read())
    assert found == content


def test_the_hash_is_of_everything(reading: Opener) -> None:
    data = tars.tar(Entry("one", b"x" * 100_000)) + b"\0" * 10240
    reader = reading(data, algorithm="sha256")
    assert names(reader) == ["one"]
    assert reader.finish() == tars.sha256(data)


def header(**fields: int) -> bytes:
    """A header with numbers that tarfile would not write."""
    data = bytearray(tars.tar(Entry("one"), format=tarfile.GNU_FORMAT)[:512])
    for name, value in fields.items():
        at, length = {"size": (124, 12), "uid": (108, 8)}[name]
        data[at : at + length] = value.to_bytes(length, "big", signed=True)
        data[at] = data[at] | 0x80
    data[148:156] = b" " * 8
    data[148:156] = f"{sum(data):06o}\0 ".encode()
    return bytes(data)


PAX_BOMB = tars.tar(Entry("x", type=tarfile.XHDTYPE, data=b"1" * (HEADER_MAX + 1)), Entry("one"))
NESTED = b"".join(
    tars.tar(Entry("x", type=b"L", data=b"n"), format=tarfile.GNU_FORMAT)[:1024] for _level in range(2000)
)


@pytest.mark.parametrize(
    "data",
    [
        tars.tar(Entry("one", b"x" * 5000))[:3000],
        tars.tar(Entry("one", b"x" * 5000))[:1000],
        tars.tar(Entry("one"))[:512] + b"not a header at all".ljust(512, b"x") + b"\0" * 1024,
        header(size=-512) + b"\0" * 1024,
        header(size=1 << 62) + b"\0" * 1024,
        PAX_BOMB,
        NESTED,
        b"x" * 4096,
    ],
    ids=["cut in data", "cut in data of one block", "garbage", "negative", "huge", "pax bomb", "nested", "no tar"],
)
def test_damaged(reading: Opener, data: bytes) -> None:
    with pytest.raises(Damaged):
        names(reading(data))


def test_a_global_header_and_the_end_are_no_members(reading: Opener) -> None:
    data = tars.tar(Entry("g", type=tarfile.XGLTYPE, data=b"11 a=bcdef\n"), Entry("one"))
    assert names(reading(data)) == ["one"]
    assert names(reading(b"\0" * 1024)) == []
    assert names(reading(b"")) == []


def test_more_than_the_limit(reading: Opener) -> None:
    with pytest.raises(BuildError, match="more than"):
        names(reading(tars.tar(Entry("one", b"x" * 100_000)), limit=50_000))


def test_an_endless_trailer(tmp_path: Path) -> None:
    with open(tmp_path / "long", "w+b") as file:
        file.write(tars.tar(Entry("one")))
        file.truncate(TRAILER_MAX + (4 << 20))
        file.seek(0)
        reader = Reader(file.fileno(), 1 << 40)
        assert names(reader) == ["one"]
        with pytest.raises(Damaged, match="after its end"):
            reader.finish()


@pytest.mark.parametrize(
    ("name", "found"),
    [("./etc//passwd", ("etc", "passwd")), ("/etc/", ("etc",)), ("./", ()), ("a/../b", ("a", "..", "b"))],
)
def test_parts(name: str, found: tuple[str, ...]) -> None:
    assert parts(name) == found
