"""A build killed at any moment leaves nothing behind, and the next one succeeds.

MACHINESPAWN_KILLS says how many kills each driver gets: 5 here, 50 in make soak.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from machinespawn.host.cgroup import hierarchies
from tests.roots import Root

KILLS = int(os.environ.get("MACHINESPAWN_KILLS", "5"))
RECIPE = "debian-bookworm"


def build(root: Path, driver: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "machinespawn", "--root", str(root), RECIPE, "bread", "--driver", driver]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def processes_in(root: Path) -> list[str]:
    """Every process, in whatever namespaces, that has a mount of this root: the builds, and what they started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(root) in (entry / "mountinfo").read_text():
                    found.append(f"{entry.name} {(entry / 'comm').read_text().strip()}")
            except OSError:
                continue
    return found


def left_behind(root: Path) -> dict[str, list[str]]:
    """What a killed build may not leave. Staging without a holder may stay until the next command."""
    return {
        "machines": [path.name for path in (root / "var/lib/machines").glob("[!.]*")],
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(root) in line],
        "processes": processes_in(root),
    }


def control_groups() -> set[Path]:
    """Those that builds make, and those that systemd-nspawn makes where it is started outside of one."""
    patterns = ("machinespawn/.build-*", "payload", "supervisor")
    return {path for each in hierarchies() for pattern in patterns for path in each.path.glob(pattern)}


def settled(root: Path) -> dict[str, list[str]]:
    """left_behind, once the kernel has had the time to end the namespace's processes."""
    for _attempt in range(100):
        left = left_behind(root)
        if not left["processes"]:
            return left
        time.sleep(0.05)
    return left


def forget(root: Path) -> None:
    """Make the next build a cold one; what a kill left in staging stays for it to sweep."""
    shutil.rmtree(root / "var/cache/machinespawn", ignore_errors=True)
    for layer in (root / "var/lib/machinespawn/layers").glob("[!.]*"):
        shutil.rmtree(layer)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("driver", ["mmdebstrap", "debootstrap"])
def test_killed_builds_leave_nothing(fresh_root: Root, driver: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = fresh_root.path
    before = control_groups()
    began = time.monotonic()
    whole = build(root, driver)
    output, _none = whole.communicate()
    assert whole.returncode == 0, output
    length = time.monotonic() - began
    shutil.rmtree(root / "var/lib/machines/bread")

    counts = {"killed": 0, "finished first": 0, "staging swept": 0}
    for number in range(KILLS):
        forget(root)
        process = build(root, driver)
        try:
            process.wait(timeout=(number + 0.5) / KILLS * length)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)  # the parent alone
            counts["killed"] += 1
            process.communicate()
        else:
            counts["finished first"] += 1
            output, _none = process.communicate()
            assert process.returncode == 0, output
            shutil.rmtree(root / "var/lib/machines/bread")
        counts["staging swept"] += len(fresh_root.staged())
        assert settled(root) == {"machines": [], "mounts": [], "processes": []}

    sealed = len(list((root / "var/lib/machinespawn/layers").glob("[!.]*")))
    last = build(root, driver)
    output, _none = last.communicate()
    assert last.returncode == 0, output
    assert (root / "var/lib/machines/bread/etc/os-release").exists()
    assert not fresh_root.staged()
    assert settled(root) == {"machines": ["bread"], "mounts": [], "processes": []}
    assert control_groups() <= before
    with capsys.disabled():
        print(f"\n{driver}: a build takes {length:.1f} s; {counts}; {sealed} layers taken over; nothing left")
