"""The small mirror that Ubuntu's recipes are run from, and what goes wrong with it when it is told to."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import pytest

from machinespawn.build import indexes
from machinespawn.errors import TrustError
from machinespawn.fetch import signatures
from machinespawn.fetch.signatures import Signed
from tests.lab import debs
from tests.lab.mirror import Mirror, ubuntu
from tests.lab.signing import signer

SUITES = ("jammy", "jammy-updates", "jammy-security")


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with ubuntu() as made:
        yield made


def get(url: str) -> bytes:
    with build_opener(ProxyHandler({})).open(url, timeout=10) as answer:
        return bytes(answer.read())


def signed(mirror: Mirror, suite: str = "jammy") -> Signed:
    data = get(f"{mirror.url}/dists/{suite}/InRelease")
    return signatures.clear_signed(data, mirror.keyring, suite)


def is_expired(release: Signed) -> bool:
    until = indexes.when(indexes.release(release.data.decode())[0].get("Valid-Until", ""))
    return until is not None and until < datetime.now(UTC)


def update(mirror: Mirror, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """apt-get with an apt of its own that knows this mirror alone."""
    for name in ("lists/partial", "archives/partial"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    (directory / "list").write_text(
        "".join(f"deb [signed-by={mirror.keyring}] {mirror.url} {suite} main universe\n" for suite in SUITES)
    )
    settings = {
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "0",
        "Acquire::http::Proxy": "false",
        "Acquire::Check-Date": "true",  # the host may have switched them off
        "Acquire::Check-Valid-Until": "true",
        "Dir::Etc::sourcelist": str(directory / "list"),
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::Lists": str(directory / "lists"),
        "Dir::State::status": "/dev/null",
        "Dir::Cache": str(directory),
    }
    options = [argument for name, value in settings.items() for argument in ("-o", f"{name}={value}")]
    argv = ["apt-get", "-q", *options, *(arguments or ("update", "--error-on=any"))]
    return subprocess.run(argv, capture_output=True, text=True, check=False, cwd=directory)


def test_every_suite_is_there_and_signed(mirror: Mirror) -> None:
    for suite in SUITES:
        release = signed(mirror, suite)
        assert release.fingerprints == (mirror.key.fingerprint,)
        text = release.data.decode()
        assert "Origin: Ubuntu\n" in text
        assert f"Suite: {suite}\n" in text
        assert " universe/binary-" in text
        assert not is_expired(release)


def test_apt_takes_what_is_newest(mirror: Mirror, tmp_path: Path) -> None:
    assert update(mirror, tmp_path).returncode == 0
    done = update(mirror, tmp_path, "download", "crumb")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.glob("*.deb")] == ["crumb_3_all.deb"]
    simulated = update(mirror, tmp_path, "install", "--simulate", "systemd-sysv", "dbus", "libpam-systemd")
    assert simulated.returncode == 0, simulated.stderr


def test_a_second_run_downloads_nothing(mirror: Mirror) -> None:
    before = {deb.path: deb.path.stat().st_mtime_ns for deb in debs.debian()}
    assert {deb.path: deb.path.stat().st_mtime_ns for deb in debs.debian()} == before
    assert {"apt", "dpkg", "libc6", "systemd", "usrmerge"} <= {deb.name for deb in debs.debian()}
    assert len(before) < 200


def test_a_release_can_be_past_its_date(mirror: Mirror, tmp_path: Path) -> None:
    past = datetime.now(UTC) - timedelta(days=15)
    mirror.republish(dataclasses.replace(mirror.archive, valid_until=past))
    assert is_expired(signed(mirror))
    assert "expired" in update(mirror, tmp_path).stderr


def test_another_key_can_have_signed_it(mirror: Mirror) -> None:
    with signer("Somebody else") as other:
        mirror.republish(mirror.archive, other)
        with pytest.raises(TrustError, match=other.fingerprint[-16:]):
            signed(mirror)


def test_it_can_hand_out_other_bytes_than_it_promised(mirror: Mirror, tmp_path: Path) -> None:
    mirror.spoil("dists/jammy/main/*/Packages*")
    assert signed(mirror).data
    assert "Hash Sum mismatch" in update(mirror, tmp_path).stderr
    mirror.spoil("dists/jammy/InRelease")
    with pytest.raises(TrustError):
        signed(mirror)


def test_spoiling_a_package_leaves_the_cache_alone(mirror: Mirror) -> None:
    before = {deb.path: deb.path.read_bytes() for deb in debs.debian() if deb.name == "nano"}
    mirror.spoil("pool/main/jammy/nano_*.deb")
    assert {path: path.read_bytes() for path in before} == before


def test_it_can_go_away_half_way(mirror: Mirror, tmp_path: Path) -> None:
    assert update(mirror, tmp_path).returncode == 0
    mirror.debs_left = 1
    done = update(mirror, tmp_path, "download", "nano", "mawk", "sed")
    assert done.returncode != 0
    assert len(list(tmp_path.glob("*.deb"))) == 1
    mirror.debs_left = None
    assert update(mirror, tmp_path, "download", "nano", "mawk", "sed").returncode == 0


def test_snapshots_stay_as_they_were(mirror: Mirror) -> None:
    mirror.snapshot("20260801T000000Z")
    kept = get(f"{mirror.url}/20260801T000000Z/dists/jammy/InRelease")
    mirror.republish(dataclasses.replace(mirror.archive, version="22.05"))
    assert get(f"{mirror.url}/20260801T000000Z/dists/jammy/InRelease") == kept
    assert get(f"{mirror.url}/dists/jammy/InRelease") != kept
    name = next((mirror.directory / "pool/main/jammy").glob("crumb_*")).name
    assert get(f"{mirror.url}/20260801T000000Z/pool/main/jammy/{name}")


def test_it_serves_nothing_but_itself(mirror: Mirror) -> None:
    for path in ("/../../etc/passwd", "/dists/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/nothing", "/dists"):
        with pytest.raises(HTTPError, match="404"):
            get(mirror.url + path)
