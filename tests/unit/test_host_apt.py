"""What the host's apt knows. The cases are tables; the real apt reads sources written for the test."""

import shutil
import subprocess

import pytest

from machinespawn.host import apt
from machinespawn.host.apt import Mirrors, Source

needs_apt = pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt on this host")

MAIN = Source("http://m.example/debian/", "bookworm", "amd64", "Debian", "Debian")
SECURITY = Source("http://m.example/debian-security/", "bookworm-security", "amd64", "Debian", "Debian-Security")
BACKPORTS = Source("http://back.example/debian", "bookworm-backports", "amd64", "Debian Backports", "Debian Backports")
OTHER = Source("https://packages.example/debian", "bookworm", "amd64", "Example", "Debian")
DEBUG = Source("http://debug.example/debian", "bookworm-debug", "amd64", "Debian", "Debian debug")
JAMMY = Source("http://u.example/ubuntu", "jammy", "amd64", "Ubuntu", "Ubuntu")
JAMMY_SECURITY = Source("http://us.example/ubuntu", "jammy-security", "amd64", "Ubuntu", "Ubuntu")
JAMMY_PORTS = Source("http://p.example/ubuntu-ports", "jammy", "arm64", "Ubuntu", "Ubuntu")


@pytest.mark.parametrize(
    ("distribution", "sources", "expected"),
    [
        ("debian", [], Mirrors()),
        ("debian", [SECURITY, MAIN], Mirrors("http://m.example/debian", "http://m.example/debian-security")),
        ("debian", [OTHER, BACKPORTS, MAIN], Mirrors("http://m.example/debian")),
        ("debian", [OTHER, BACKPORTS, DEBUG], Mirrors()),
        ("ubuntu", [MAIN, SECURITY], Mirrors()),
        ("ubuntu", [JAMMY, JAMMY_SECURITY], Mirrors("http://u.example/ubuntu", "http://us.example/ubuntu")),
        ("ubuntu", [JAMMY_PORTS], Mirrors(ports="http://p.example/ubuntu-ports")),
        (
            "debian",
            [Source("mirror+file:/etc/m", "bookworm", "amd64", "Debian", "Debian"), MAIN],
            Mirrors(MAIN.url[:-1]),
        ),
    ],
)
def test_the_mirror_is_the_one_that_publishes_the_distribution(distribution, sources, expected):
    assert apt.chosen(distribution, sources) == expected


SOURCES = """\
deb http://packages.example/linux/debian bookworm stable
deb https://releases.example bookworm main
deb http://local.example/debian our-suite main
deb [arch=amd64,arm64] http://company.example/pub/debian/ bookworm main
deb http://company.example/pub/debian bookworm-updates main
deb http://company.example/pub/debian-security bookworm-security main
deb http://ports.example/ubuntu-ports jammy main
deb http://old.example/debian-security buster/updates main
"""


@needs_apt
def test_sources_that_were_never_fetched_are_judged_by_suite_and_path(tmp_path):
    (tmp_path / "lists/partial").mkdir(parents=True)
    (tmp_path / "sources.list").write_text(SOURCES)
    options = ["-o", f"Dir::Etc={tmp_path}", "-o", f"Dir::State::Lists={tmp_path}/lists"]
    argv = ["apt-get", *options, "update", "--print-uris"]
    printed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    found = apt.written("debian", frozenset({"bookworm", "buster"}), printed)
    assert {(source.url, source.suite, source.label) for source in found} == {
        ("http://company.example/pub/debian", "bookworm", "debian"),
        ("http://company.example/pub/debian", "bookworm-updates", "debian"),
        ("http://company.example/pub/debian-security", "bookworm-security", "debian-security"),
        ("http://old.example/debian-security", "buster/updates", "debian-security"),
    }
    assert apt.chosen("debian", found).main == "http://company.example/pub/debian"
    assert apt.chosen("debian", found).security.endswith("/debian-security")
    ubuntu = apt.written("ubuntu", frozenset({"jammy"}), printed)
    assert {source.url for source in ubuntu} == {"http://ports.example/ubuntu-ports"}


@needs_apt
def test_the_hosts_own_mirror_is_in_its_sources():
    printed = subprocess.run(["apt-get", "update", "--print-uris"], capture_output=True, text=True, check=True).stdout
    for distribution in ("debian", "ubuntu"):
        mirrors = apt.mirrors(distribution)
        for url in (mirrors.main, mirrors.security, mirrors.ports):
            assert f"'{url}/dists/" in printed if url else True


@needs_apt
def test_a_candidate_is_a_version_that_apt_has():
    installed = subprocess.run(["dpkg-query", "-W", "-f=${Version}", "apt"], capture_output=True, text=True, check=True)
    policy = subprocess.run(["apt-cache", "policy", "apt"], capture_output=True, text=True, check=True).stdout
    assert apt.candidate("apt") in policy
    assert subprocess.run(["dpkg", "--compare-versions", apt.candidate("apt"), "ge", installed.stdout]).returncode == 0
    assert apt.candidate("no-such-package-anywhere") == ""
    assert apt.candidate("--version") == ""


@needs_apt
def test_an_install_hint_names_only_what_can_be_installed():
    assert apt.install_hint("apt", "dpkg") == "apt-get install apt dpkg"
    assert "apt-get install no-such" not in apt.install_hint("apt", "no-such-package-anywhere").partition("update")[0]


@needs_apt
def test_apts_own_proxy_settings_are_read():
    dumped = subprocess.run(["apt-config", "dump", "Acquire::http::Proxy"], capture_output=True, text=True, check=True)
    value = apt.configured_proxy()
    assert value in dumped.stdout
    assert bool(value) == bool(dumped.stdout.strip())
    assert apt.detected_proxy("http://mirror.example/debian") in ("", "DIRECT", value) or "://" in value
