"""Which hierarchies of control groups there are, told from mountinfo."""

from __future__ import annotations

from pathlib import Path

import pytest

from machinespawn.host import cgroup
from machinespawn.host.cgroup import Hierarchy

PURE = "35 24 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
50 27 0:29 / /mnt/again rw,relatime - cgroup cgroup rw,cpu,cpuacct
"""
SPACED = "35 24 0:30 / /sys/fs/a\\040b rw - cgroup2 cgroup2 rw\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ()),
        (PURE, (Hierarchy(Path("/sys/fs/cgroup"), True),)),
        (
            HYBRID,
            (
                Hierarchy(Path("/sys/fs/cgroup/unified"), True),
                Hierarchy(Path("/sys/fs/cgroup/cpu,cpuacct"), False),
                Hierarchy(Path("/sys/fs/cgroup/systemd"), False),
            ),
        ),
        (SPACED, (Hierarchy(Path("/sys/fs/a b"), True),)),
    ],
)
def test_hierarchies(tmp_path: Path, text: str, found: tuple[Hierarchy, ...]) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(text)
    assert cgroup.hierarchies(mountinfo) == found
