"""The shipped recipes: that each loads, that none changes by accident, and that the keys are those of the README."""

from __future__ import annotations

import csv
import hashlib
import re
import subprocess
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from machinespawn.build.source import archives
from machinespawn.build.wanted import Wanted
from machinespawn.config import Config, share
from machinespawn.errors import UsageError
from machinespawn.recipe.catalog import entries
from machinespawn.recipe.load import load
from machinespawn.recipe.model import AptSource, Recipe, TarSource

RECIPES = share() / "recipes"
KEYRINGS = RECIPES / "keyrings"
DISTRO_INFO = Path("/usr/share/distro-info")
CONFIG = Config(recipe_path=())
NAMES = [entry.name for entry in entries(CONFIG)]

DEBIAN_PACKAGES = "systemd systemd-sysv dbus libpam-systemd iproute2"
GOLDEN = f"""\
almalinux-10: almalinux 10, ends 2035-05-31, systemd 257, unproven
  aliases alma-10
  almalinux:10:amd64:default at https://images.linuxcontainers.org
almalinux-9: almalinux 9, ends 2032-05-31, systemd 252, unproven
  aliases alma-9
  almalinux:9:amd64:default at https://images.linuxcontainers.org
arch: arch rolling, unproven
  aliases archlinux
  https://geo.mirror.pkgbuild.com/iso/latest/archlinux-bootstrap-x86_64.tar.zst without 1
  checksum https://geo.mirror.pkgbuild.com/iso/latest/sha256sums.txt
  signature https://geo.mirror.pkgbuild.com/iso/latest/archlinux-bootstrap-x86_64.tar.zst.sig by archlinux-release.gpg
centos-stream-10: centos 10, systemd 257, unproven
  aliases centos-10
  centos:10-Stream:amd64:default at https://images.linuxcontainers.org
centos-stream-9: centos 9, ends 2027-05-31, systemd 252, unproven
  aliases centos-9
  centos:9-Stream:amd64:default at https://images.linuxcontainers.org
debian-bookworm: debian 12 bookworm, ends 2028-06-30, systemd 252
  aliases bookworm debian-12
  bookworm bookworm-updates security:bookworm-security; main; script sid
  main http://ftp.debian.org/debian
  security http://security.debian.org/debian-security
  keyrings debian-archive-keyring.gpg
  packages {DEBIAN_PACKAGES} systemd-resolved
  enable systemd-networkd.service
debian-bullseye: debian 11 bullseye, ends 2026-08-31, systemd 247
  aliases bullseye debian-11
  bullseye bullseye-updates security:bullseye-security; main; script sid
  main http://ftp.debian.org/debian http://archive.debian.org/debian
  security http://security.debian.org/debian-security http://archive.debian.org/debian-security
  keyrings debian-archive-keyring.gpg
  packages {DEBIAN_PACKAGES}
  enable systemd-networkd.service systemd-resolved.service
debian-buster: debian 10 buster, ends 2024-06-30, systemd 241, unproven, expired Release, expired keys
  aliases buster debian-10
  buster buster-updates security:buster/updates; main; script sid
  main http://archive.debian.org/debian
  security http://archive.debian.org/debian-security
  keyrings debian-archive-removed-keys.gpg debian-archive-keyring.gpg
  packages {DEBIAN_PACKAGES}
  enable systemd-networkd.service systemd-resolved.service
debian-forky: debian 14 forky, systemd 262
  aliases forky debian-14
  forky forky-updates security:forky-security; main; script sid
  main http://ftp.debian.org/debian
  security http://security.debian.org/debian-security
  keyrings debian-archive-keyring.gpg
  packages {DEBIAN_PACKAGES} systemd-resolved
  enable systemd-networkd.service
debian-jessie: debian 8 jessie, ends 2020-06-30, systemd 215, unproven, expired Release, expired keys, v1, no userns
  aliases jessie debian-8
  jessie security:jessie/updates; main; script sid
  main http://archive.debian.org/debian
  security http://archive.debian.org/debian-security
  keyrings debian-archive-removed-keys.gpg debian-archive-keyring.gpg
  packages {DEBIAN_PACKAGES}
  enable systemd-networkd.service systemd-resolved.service
debian-sid: debian sid sid, systemd 262
  aliases sid unstable debian-unstable
  sid; main; script sid
  main http://ftp.debian.org/debian
  security http://security.debian.org/debian-security
  keyrings debian-archive-keyring.gpg
  packages {DEBIAN_PACKAGES} systemd-resolved
  enable systemd-networkd.service
debian-stretch: debian 9 stretch, ends 2022-06-30, systemd 232, unproven, expired Release, expired keys
  aliases stretch debian-9
  stretch security:stretch/updates; main; script sid
  main http://archive.debian.org/debian
  security http://archive.debian.org/debian-security
  keyrings debian-archive-removed-keys.gpg debian-archive-keyring.gpg
  packages {DEBIAN_PACKAGES}
  enable systemd-networkd.service systemd-resolved.service
debian-trixie: debian 13 trixie, ends 2030-06-30, systemd 257
  aliases trixie debian-13
  trixie trixie-updates security:trixie-security; main; script sid
  main http://ftp.debian.org/debian
  security http://security.debian.org/debian-security
  keyrings debian-archive-keyring.gpg
  packages {DEBIAN_PACKAGES} systemd-resolved
  enable systemd-networkd.service
fedora-43: fedora 43, systemd 258, unproven
  aliases f43
  fedora:43:amd64:default at https://images.linuxcontainers.org
fedora-44: fedora 44, unproven
  aliases f44
  fedora:44:amd64:default at https://images.linuxcontainers.org
opensuse-leap-16: opensuse 16.0, systemd 257, unproven
  aliases leap-16 opensuse-leap
  https://download.opensuse.org/distribution/leap/16.0/appliances/opensuse-leap-image.x86_64-networkd.tar.xz
  checksum https://download.opensuse.org/distribution/leap/16.0/appliances/opensuse-leap-image.x86_64-networkd.tar.xz.sha256
opensuse-tumbleweed: opensuse tumbleweed, unproven
  aliases tumbleweed
  https://download.opensuse.org/tumbleweed/appliances/opensuse-tumbleweed-image.x86_64-networkd.tar.xz
  checksum https://download.opensuse.org/tumbleweed/appliances/opensuse-tumbleweed-image.x86_64-networkd.tar.xz.sha256
rocky-10: rocky 10, ends 2035-05-31, systemd 257, unproven
  aliases rockylinux-10
  https://dl.rockylinux.org/pub/rocky/10/images/x86_64/Rocky-10-Container-UBI.latest.x86_64.tar.xz
  checksum https://dl.rockylinux.org/pub/rocky/10/images/x86_64/CHECKSUM
rocky-9: rocky 9, ends 2032-05-31, systemd 252, unproven
  aliases rockylinux-9
  https://dl.rockylinux.org/pub/rocky/9/images/x86_64/Rocky-9-Container-UBI.latest.x86_64.tar.xz
  checksum https://dl.rockylinux.org/pub/rocky/9/images/x86_64/CHECKSUM
"""

UBUNTU = {
    "xenial": ("16.04", "2021-04-30", 229),
    "bionic": ("18.04", "2023-05-31", 237),
    "focal": ("20.04", "2025-05-29", 245),
    "jammy": ("22.04", "2027-06-01", 249),
    "kinetic": ("22.10", "2023-07-20", 251),
    "lunar": ("23.04", "2024-01-25", 252),
    "mantic": ("23.10", "2024-07-11", 253),
    "noble": ("24.04", "2029-05-31", 255),
    "oracular": ("24.10", "2025-07-10", 256),
    "plucky": ("25.04", "2026-01-15", 257),
    "questing": ("25.10", "2026-07-09", 257),
    "resolute": ("26.04", "2031-05-29", 259),
}
OLD = "http://old-releases.ubuntu.com/ubuntu"
GONE, GOING = ("kinetic", "lunar", "mantic", "oracular"), ("plucky", "questing")


def ubuntu(codename: str) -> str:
    """What a recipe of Ubuntu comes to: they differ in little."""
    version, ends, systemd = UBUNTU[codename]
    old = ", v1, no userns" if codename == "xenial" else ""
    mirrors = {
        "main": "http://archive.ubuntu.com/ubuntu",
        "security": "http://security.ubuntu.com/ubuntu",
        "ports": "http://ports.ubuntu.com/ubuntu-ports",
    }
    if codename in GONE:
        mirrors = dict.fromkeys(mirrors, OLD)
    if codename in GOING:
        mirrors = {archive: f"{url} {OLD}" for archive, url in mirrors.items()}
    return "\n".join(
        [
            f"ubuntu-{codename}: ubuntu {version} {codename}, ends {ends}, systemd {systemd}, unproven{old}",
            f"  aliases {codename} ubuntu-{version}",
            f"  {codename} {codename}-updates security:{codename}-security; main universe; script gutsy",
            *(f"  {archive} {url}" for archive, url in mirrors.items()),
            "  keyrings ubuntu-archive-keyring.gpg",
            f"  packages {DEBIAN_PACKAGES}{'' if systemd < 250 else ' systemd-resolved'}",
            "  enable systemd-networkd.service\n",
        ]
    )


def described(recipe: Recipe) -> str:
    """The recipe in a few lines."""
    apt = recipe.apt
    facts = [
        " ".join(filter(None, (recipe.distribution, recipe.version, recipe.codename))),
        recipe.end_of_life and f"ends {recipe.end_of_life}",
        recipe.systemd and f"systemd {recipe.systemd}",
        recipe.unproven and "unproven",
        apt and apt.accept_expired_release and "expired Release",
        apt and apt.accept_expired_keys and "expired keys",
        not recipe.machine.unified_cgroup and "v1",
        not recipe.machine.private_users and "no userns",
    ]
    lines = [f"{recipe.name}: {', '.join(str(fact) for fact in facts if fact)}", f"aliases {' '.join(recipe.aliases)}"]
    lines += _apt(apt, recipe) if apt else []
    lines += _tarball(recipe.tarball) if recipe.tarball else []
    return "\n  ".join(lines) + "\n"


def _apt(apt: AptSource, recipe: Recipe) -> list[str]:
    suites = [f"{'security:' * (suite.archive == 'security')}{suite.name}" for suite in apt.suites]
    return [
        f"{' '.join(suites)}; {' '.join(apt.components)}; script {apt.script}",
        *(f"{archive} {' '.join(urls)}" for archive, urls in apt.mirrors),
        f"keyrings {' '.join(apt.keyrings)}",
        f"packages {' '.join(recipe.base_packages)}",
        f"enable {' '.join(recipe.services.enable)}",
    ]


def _tarball(tarball: TarSource) -> list[str]:
    strip = f" without {tarball.strip}" if tarball.strip else ""
    return [
        f"{tarball.product} at {tarball.streams}" if tarball.streams else f"{tarball.url}{strip}",
        *([f"checksum {tarball.checksum}"] if tarball.checksum else []),
        *([f"signature {tarball.signature} by {tarball.keyring}"] if tarball.signature else []),
    ]


def test_none_changed_by_accident() -> None:
    found = "".join(described(load(name, CONFIG, architecture="amd64")) for name in NAMES)

    assert found.splitlines() == (GOLDEN + "".join(ubuntu(codename) for codename in sorted(UBUNTU))).splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_each_loads_for_each_of_its_architectures(name: str) -> None:
    for architecture in dict(load(name, CONFIG, architecture="amd64").architectures) or ("amd64", "arm64", "riscv64"):
        recipe = load(name, CONFIG, architecture=architecture)

        assert recipe.description
        assert (recipe.apt is None) != (recipe.tarball is None)


def test_the_distributions_own_name_of_an_architecture_is_in_its_addresses() -> None:
    leap = load("opensuse-leap", CONFIG, architecture="arm64").tarball
    tumbleweed = load("tumbleweed", CONFIG, architecture="arm64").tarball
    fedora = load("f44", CONFIG, architecture="arm64").tarball

    assert leap and leap.url.endswith("opensuse-leap-image.aarch64-networkd.tar.xz")
    assert tumbleweed and "org/ports/aarch64/tumbleweed/" in tumbleweed.url
    assert fedora and fedora.product == "fedora:44:arm64:default"
    with pytest.raises(UsageError, match="arm64"):
        load("arch", CONFIG, architecture="arm64")


def test_every_file_is_a_recipe_that_can_be_read() -> None:
    every = entries(CONFIG, abstract=True)

    assert sorted(entry.name for entry in every) == sorted(path.stem for path in RECIPES.glob("*.yaml"))
    assert [entry for entry in every if entry.error] == []
    assert {entry.name for entry in every if entry.abstract} >= {"debian", "ubuntu"}


def test_no_alias_means_two() -> None:
    names = [name for entry in entries(CONFIG, abstract=True) for name in (entry.name, *entry.aliases)]

    assert [name for name, times in Counter(names).items() if times > 1] == []


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("bookworm", "debian-bookworm"),
        ("debian-12", "debian-bookworm"),
        ("jammy", "ubuntu-jammy"),
        ("ubuntu-22.04", "ubuntu-jammy"),
        ("unstable", "debian-sid"),
        ("archlinux", "arch"),
    ],
)
def test_aliases(alias: str, name: str) -> None:
    assert load(alias, CONFIG, architecture="amd64").name == name


def test_components_that_are_not_free_come_on_request() -> None:
    def components(name: str) -> tuple[str, ...]:
        apt = load(name, CONFIG, variables={"non_free": "true"}, architecture="amd64").apt
        return apt.components if apt else ()

    assert components("bullseye") == ("main", "contrib", "non-free")
    assert components("bookworm") == ("main", "contrib", "non-free", "non-free-firmware")
    assert components("jammy") == ("main", "universe", "restricted", "multiverse")


@pytest.mark.parametrize(
    ("name", "urls"),
    [
        (
            "bookworm",
            {
                "bookworm": "http://snapshot.debian.org/archive/debian/20260801T000000Z/",
                "bookworm-updates": "http://snapshot.debian.org/archive/debian/20260801T000000Z/",
                "bookworm-security": "http://snapshot.debian.org/archive/debian-security/20260801T000000Z/",
            },
        ),
        (
            "jessie",
            {
                "jessie": "http://snapshot.debian.org/archive/debian-archive/20260801T000000Z/debian/",
                "jessie/updates": "http://snapshot.debian.org/archive/debian-archive/20260801T000000Z/debian-security/",
            },
        ),
        (
            "noble",
            dict.fromkeys(
                ("noble", "noble-updates", "noble-security"), "https://snapshot.ubuntu.com/ubuntu/20260801T000000Z/"
            ),
        ),
    ],
)
def test_snapshots_are_where_the_distributions_keep_them(name: str, urls: dict[str, str]) -> None:
    recipe = load(name, CONFIG, architecture="amd64")
    assert recipe.apt
    found = archives(recipe, recipe.apt, "amd64", Wanted(recipe=name, snapshot="20260801"), CONFIG)

    assert {archive.suite.name: archive.urls for archive in found} == {suite: (url,) for suite, url in urls.items()}


@pytest.mark.parametrize("name", NAMES)
def test_none_offers_resolved_on_the_hosts_network(name: str) -> None:
    contents = {file.path: file.content for file in load(name, CONFIG, architecture="amd64").files}

    for unit in ("systemd-resolved.service", "systemd-resolved-.socket"):
        dropin = contents[f"/etc/systemd/system/{unit}.d/50-own-network.conf"]
        assert "\n[Unit]\nConditionCapability=CAP_NET_ADMIN\n" in dropin


@pytest.mark.parametrize("name", NAMES)
def test_what_has_expired_is_accepted_only_where_the_release_has_ended(name: str) -> None:
    recipe = load(name, CONFIG, architecture="amd64")
    apt = recipe.apt

    if apt and (apt.accept_expired_release or apt.accept_expired_keys):
        assert recipe.end_of_life and recipe.end_of_life < date(2026, 1, 1)


@pytest.mark.parametrize(("distribution", "column"), [("debian", "eol-lts"), ("ubuntu", "eol")])
def test_versions_and_ends_are_those_of_distro_info(distribution: str, column: str) -> None:
    table = DISTRO_INFO / f"{distribution}.csv"
    if not table.exists():
        pytest.skip("distro-info-data is not installed")
    with table.open(newline="") as stream:
        rows = {row["series"]: row for row in csv.DictReader(stream)}
    checked = 0
    for name in NAMES:
        recipe = load(name, CONFIG, architecture="amd64")
        row = rows.get(recipe.codename)
        if recipe.distribution != distribution or row is None or not row.get(column):
            continue
        assert (recipe.version, str(recipe.end_of_life)) == (row["version"].removesuffix(" LTS"), row[column]), name
        checked += 1
    assert checked >= 6


def table(pattern: str) -> list[tuple[str, ...]]:
    """Rows of the README of the keyrings."""
    return re.findall(pattern, (KEYRINGS / "README.md").read_text(), re.M)


def keys(path: Path, home: Path) -> list[tuple[str, ...]]:
    """(file, fingerprint, user id, made, expires) of the keys in a keyring, as gpg sees them."""
    argv = ["gpg", "--homedir", str(home), "--batch", "--show-keys", "--with-colons", str(path)]
    printed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    found: list[tuple[str, ...]] = []
    for block in re.split(r"^(?=pub:)", printed, flags=re.M):
        fields = {line.split(":")[0]: line.split(":") for line in reversed(block.splitlines())}
        if "pub" in fields:
            made, expires = (_day(fields["pub"][number]) for number in (5, 6))
            found.append((path.name, fields["fpr"][9], fields["uid"][9], made, expires))
    return found


def _day(seconds: str) -> str:
    return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%d}" if seconds else "never"


def test_keys_are_those_of_the_readme(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    told = table(r"^\| (\S+\.gpg) \| ([0-9A-F]{40}) \| (.+?) \| (\S+) \| (\S+) \|$")

    assert [key for path in sorted(KEYRINGS.glob("*.gpg"), reverse=True) for key in keys(path, tmp_path)] == told
    assert len(told) >= 4


def test_keyrings_are_byte_for_byte_those_of_the_readme() -> None:
    shipped = {(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in KEYRINGS.glob("*.gpg")}

    assert shipped == set(table(r"^\| (\S+\.gpg) \| ([0-9a-f]{64}) \|"))


def test_every_keyring_named_is_shipped_or_debians_own() -> None:
    named: set[str] = set()
    for name in NAMES:
        recipe = load(name, CONFIG, architecture="amd64")
        named.update(recipe.apt.keyrings if recipe.apt else ())
        named.update([recipe.tarball.keyring] if recipe.tarball and recipe.tarball.keyring else [])

    assert named - {path.name for path in KEYRINGS.glob("*.gpg")} == {
        "debian-archive-keyring.gpg",
        "debian-archive-removed-keys.gpg",
    }
    assert {path.name for path in KEYRINGS.glob("*.gpg")} <= named
