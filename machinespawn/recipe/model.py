"""What a recipe says, resolved: no template, no extends, no default left open."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

Pairs = tuple[tuple[str, str], ...]
"""A frozen mapping, in the order given."""


@dataclass(frozen=True)
class Suite:
    """One suite of an apt archive. ``archive`` is a key of AptSource.mirrors: main or security."""

    name: str
    archive: str = "main"
    components: tuple[str, ...] = ()
    """Empty: those of the AptSource."""


@dataclass(frozen=True)
class AptSource:
    """Where a Debian or Ubuntu machine comes from."""

    suites: tuple[Suite, ...]
    """The release itself first, then its updates and security."""
    components: tuple[str, ...]
    mirrors: tuple[tuple[str, tuple[str, ...]], ...]
    """(archive, URLs in the order they are tried); archive is main, security or ports."""
    keyrings: tuple[str, ...]
    """File names without directory, looked for beside the recipes and in /usr/share/keyrings."""
    keyring_package: str = ""
    """The Debian package that carries the keyrings."""
    script: str = ""
    """debootstrap's script, where it has none of the suite's name: sid or gutsy."""
    snapshot: str = ""
    """URL of the archive at a date; holds {date} (YYYYMMDDTHHMMSSZ) and may hold {archive}: the last part of the
    path of the suite's first mirror here, such as debian-security."""
    accept_expired_release: bool = False
    """For ends of life only: the last Release of a dead suite is past its Valid-Until."""
    accept_expired_keys: bool = False
    """For ends of life only: the keys that signed it have expired since."""


@dataclass(frozen=True)
class TarSource:
    """Where a machine that is shipped as an archive comes from: a URL, or a product of a simplestreams server."""

    url: str = ""
    streams: str = ""
    """Base URL of a simplestreams server."""
    product: str = ""
    """The product's name there, as in streams/v1/images.json."""
    checksum: str = ""
    """URL of a SHA256SUMS-like file; empty: looked for beside the archive."""
    signature: str = ""
    """URL of the detached signature of the checksums (or of the archive); empty: not signed."""
    keyring: str = ""
    """File name of the keyring that checks the signature."""
    strip: int = 0
    """How many leading directories of member names to drop."""


@dataclass(frozen=True)
class File:
    """A file to put into the tree. content is the final text."""

    path: str
    content: str = ""
    source: str = ""
    """Absolute path on the host instead of content."""
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"


@dataclass(frozen=True)
class User:
    """An account to make."""

    name: str
    uid: int | None = None
    groups: tuple[str, ...] = ()
    shell: str = "/bin/bash"
    home: str = ""
    password_hash: str = ""
    """As in /etc/shadow; empty: no password login."""
    sudo: bool = False
    ssh_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Services:
    """Units to enable, disable and mask."""

    enable: tuple[str, ...] = ()
    disable: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()


@dataclass(frozen=True)
class MachineSettings:
    """How the machine is run; everything here ends up in its .nspawn file."""

    private_users: bool = True
    unified_cgroup: bool = True
    """False for guests with systemd < 230, which need the v1 name=systemd tree."""
    parameters: tuple[str, ...] = ()
    """Arguments of init, read by systemd as the kernel command line."""
    environment: Pairs = ()
    """Environment of init."""
    supervisor_environment: Pairs = ()
    """Environment of systemd-nspawn itself, such as SYSTEMD_SECCOMP=0 where a guest needs it."""
    degraded: Pairs = ()
    """(unit, reason): units whose failure is known and accepted on this release."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a machine, resolved."""

    name: str
    path: str
    """The file it was read from."""
    description: str
    distribution: str
    """The field's short name: debian, ubuntu, fedora, centos, rocky, almalinux, arch, opensuse."""
    version: str
    codename: str
    aliases: tuple[str, ...] = ()
    unproven: str = ""
    """Why nobody has seen this recipe work from here; empty: proven."""
    end_of_life: date | None = None
    systemd: int = 0
    """Version of systemd in the release; 0: not known."""
    apt: AptSource | None = None
    tarball: TarSource | None = None
    """Exactly one of apt and tarball is set."""
    architectures: Pairs = ()
    """(Debian's name, the distribution's own name), such as (amd64, x86_64)."""
    variant: str = "minbase"
    base_packages: tuple[str, ...] = ()
    """What the bootstrap itself installs: enough to boot and to be let in."""
    packages: tuple[str, ...] = ()
    """What is added on top, in a layer of its own."""
    files: tuple[File, ...] = ()
    commands: tuple[str, ...] = ()
    """Run in the tree by /bin/sh -eu, in order, after files, users and services."""
    users: tuple[User, ...] = ()
    root_password_hash: str = ""
    root_ssh_keys: tuple[str, ...] = ()
    locale: str = ""
    timezone: str = ""
    hostname: str = ""
    """Empty: the machine's name."""
    services: Services = Services()
    machine: MachineSettings = MachineSettings()
