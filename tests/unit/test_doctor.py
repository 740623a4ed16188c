"""What the doctor says of this host, held against what other programs say of it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from machinespawn.config import Config
from machinespawn.host import doctor, kernel
from machinespawn.host.doctor import Check

GROUPS = {"tools", "kernel", "keyrings", "systemd", "storage"}


@pytest.fixture(scope="module")
def checks():
    return doctor.examine(Config())


def by_name(checks: tuple[Check, ...]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_every_check_says_what_it_is_for_and_what_was_found(checks):
    assert {check.group for check in checks} == GROUPS
    assert len(by_name(checks)) == len(checks)
    for check in checks:
        assert check.purpose
        assert check.found
        assert bool(check.fix) <= (not check.ok)


def test_tools_are_there_or_not_as_the_path_says(checks):
    tools = [check for check in checks if check.group == "tools"]
    for check in tools:
        assert check.ok == (shutil.which(check.name) is not None)
    version = subprocess.run(["systemd-nspawn", "--version"], capture_output=True, text=True).stdout.split()[1]
    assert by_name(checks)["systemd-nspawn"].found == version


def test_nothing_is_left_behind(tmp_path):
    before = Path("/proc/self/mountinfo").read_text(), os.listdir("/proc/self/fd")
    doctor.examine(Config(root=tmp_path, recipe_path=()))
    assert (Path("/proc/self/mountinfo").read_text(), os.listdir("/proc/self/fd")) == before
    assert list(tmp_path.iterdir()) == []


def test_a_keyring_of_the_users_is_seen(tmp_path):
    (tmp_path / "keyrings").mkdir()
    mine = tmp_path / "keyrings/ubuntu-archive-keyring.gpg"
    mine.touch()
    check = by_name(doctor.examine(Config(recipe_path=(tmp_path,))))["ubuntu-archive-keyring.gpg"]
    assert (check.ok, check.found) == (True, str(mine))


def check(ok=False, package="", command="") -> Check:
    return Check("x", "tools", ok, "y", "z", package, command)


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt on this host")
def test_one_command_brings_what_is_missing_and_can_be_had():
    assert doctor.fix((check(ok=True, package="zstd"),)) == ""
    assert doctor.fix((check(package="zstd"), check(package="xz-utils"), check(package="zstd"))) == (
        "apt-get install zstd xz-utils"
    )
    assert doctor.fix((check(package="zstd"), check(package="no-such-package-anywhere"))) == "apt-get install zstd"
    assert doctor.fix((check(command="sysctl -w a=1"), check(package="zstd"))) == (
        "apt-get install zstd && sysctl -w a=1"
    )


def test_the_file_system_is_the_one_that_stat_names():
    for place in ("/", "/proc/self", "/dev/shm"):
        told = subprocess.run(["stat", "-f", "-c", "%T", place], capture_output=True, text=True, check=True).stdout
        assert kernel.filesystem_kind(Path(place)) in told.replace("ext2/ext3", "ext4")


def test_kernel_features_agree_with_what_the_kernel_lists():
    listed = Path("/proc/filesystems").read_text().split()
    assert kernel.has_overlayfs() >= ("overlay" in listed)
    unified = kernel.unified_cgroups()
    assert (unified.path is not None) == (" cgroup2 " in Path("/proc/self/mountinfo").read_text())
    if kernel.filesystem_kind(Path("/var/tmp")) in ("ext4", "xfs", "btrfs") and os.geteuid() == 0:
        assert kernel.why_not_idmapped(Path("/var/tmp")) == ""
    assert kernel.why_not_idmapped(Path("/proc")), "proc cannot be id-mapped"
    assert not kernel.can_reflink(Path("/proc"))
