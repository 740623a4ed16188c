"""The command line of systemd-nspawn, as a table, and what is looked up in a tree for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from machinespawn.errors import BootError, UsageError
from machinespawn.recipe.model import MachineSettings
from machinespawn.runtimes import nspawn
from machinespawn.runtimes.nspawn import Machine

TREE = Path("/var/lib/machines/bread")
ALWAYS = {
    "--quiet",
    "--settings=no",
    "--register=no",
    "--keep-unit",
    "--machine=bread",
    "--directory=/var/lib/machines/bread",
    "--timezone=off",
    "--link-journal=no",
    "--resolv-conf=bind-host",
}
MAPPED = {"--private-users=pick", "--private-users-ownership=map"}
BOOTED = {"--boot", "--notify-ready=yes", "--console=read-only"}


@pytest.mark.parametrize(
    ("settings", "drop", "options", "arguments"),
    [
        (MachineSettings(), (), ALWAYS | MAPPED | BOOTED, []),
        (MachineSettings(private_users=False), (), ALWAYS | BOOTED | {"--private-users=no"}, []),
        (
            MachineSettings(private_users=False),
            ("CAP_MKNOD",),
            ALWAYS | BOOTED | {"--private-users=no", "--drop-capability=CAP_MKNOD"},
            [],
        ),
        (
            MachineSettings(parameters=("systemd.mask=a.service", "--quiet"), environment=(("A", "b c"),)),
            (),
            ALWAYS | MAPPED | BOOTED | {"--setenv=A=b c"},
            ["systemd.mask=a.service", "--quiet"],
        ),
        (MachineSettings(unified_cgroup=False), (), ALWAYS | MAPPED | BOOTED, []),
    ],
)
def test_boot(settings: MachineSettings, drop: tuple[str, ...], options: set[str], arguments: list[str]) -> None:
    argv = nspawn.boot(Machine("bread", TREE, settings), console="read-only", resolv_conf="bind-host", drop=drop)
    end = argv.index("--")
    assert argv[0] == "systemd-nspawn"
    assert set(argv[1:end]) == options
    assert len(argv[1:end]) == len(options)
    assert argv[end + 1 :] == arguments


def test_idle() -> None:
    argv = nspawn.idle(Machine("bread", TREE), resolv_conf="bind-host")
    end = argv.index("--")
    assert set(argv[1:end]) == ALWAYS | MAPPED | {"--as-pid2", "--console=read-only"}
    assert argv[end + 1 :] == ["sleep", "2147483647"]


def test_the_supervisors_environment() -> None:
    assert nspawn.environment(MachineSettings()) == {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
    assert nspawn.environment(MachineSettings(unified_cgroup=False)) == {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "0"}
    given = MachineSettings(supervisor_environment=(("SYSTEMD_SECCOMP", "0"),))
    assert nspawn.environment(given)["SYSTEMD_SECCOMP"] == "0"


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PATH", "SYSTEMD_SECCOMP\nLD_PRELOAD", "XSYSTEMD_SECCOMP"])
def test_recipes_set_nothing_else_for_a_program_that_is_root_on_the_host(name: str) -> None:
    with pytest.raises(UsageError):
        nspawn.environment(MachineSettings(supervisor_environment=((name, "/tmp/x.so"),)))


def tree(tmp_path: Path, *files: str) -> Machine:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    return Machine("bread", tmp_path)


@pytest.mark.parametrize("init", nspawn.INITS)
def test_an_init(tmp_path: Path, init: str) -> None:
    nspawn.check_init(tree(tmp_path, init))


def test_an_init_through_links_within_the_tree(tmp_path: Path) -> None:
    machine = tree(tmp_path, "usr/lib/systemd/the-one")
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "usr/lib/systemd/systemd").symlink_to("/lib/systemd/the-one")
    nspawn.check_init(machine)


def test_the_hosts_init_is_none_of_the_trees(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.touch()
    machine = tree(tmp_path / "tree", "usr/bin/env")
    (tmp_path / "tree/sbin").mkdir()
    (tmp_path / "tree/sbin/init").symlink_to(outside)
    with pytest.raises(BootError):
        nspawn.check_init(machine)


@pytest.mark.parametrize(
    ("program", "hint"),
    [
        ("usr/bin/apt-get", "machinespawn exec bread -- apt-get install systemd-sysv"),
        ("usr/bin/dnf", "machinespawn exec bread -- dnf install systemd"),
        ("usr/bin/other", "it can be used without: machinespawn exec bread -- COMMAND"),
    ],
)
def test_what_to_do_without_an_init(tmp_path: Path, program: str, hint: str) -> None:
    with pytest.raises(BootError) as refused:
        nspawn.check_init(tree(tmp_path, program))
    assert refused.value.hint == hint


def test_dns(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    assert nspawn.resolv_conf(tmp_path) == "replace-host"
    (etc / "resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    assert nspawn.resolv_conf(tmp_path) == "replace-host"
    (etc / "resolv.conf").unlink()
    (etc / "resolv.conf").touch()
    assert nspawn.resolv_conf(tmp_path) == "bind-host"
