"""A real systemd host for tests, wherever they run: this machine's own root, booted a second time in namespaces.

Nothing that is written in it reaches the real root. It has a pure version 2 of
control groups, though without the controllers that version 1 holds here.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import machinespawn
from machinespawn.host import cgroup, linux

BOOT = Path(__file__).with_name("boot.sh")
SOURCE = Path(machinespawn.__file__).parents[1]
UP_WITHIN = 60.0
"""Seconds."""
FILE_MAX = Path("/proc/sys/fs/file-max")
"""systemd raises it when it starts, and it is the whole kernel's."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class LabHost:
    """A booted host."""

    init: int
    """The pid of its systemd, as seen from here."""
    cgroup: Path
    """Its root of control groups, as seen from here."""
    scratch: Path
    """Where all that it writes ends up, as seen from here."""

    @property
    def root(self) -> Path:
        """Its root directory, as seen from here."""
        return Path(f"/proc/{self.init}/root")

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        check: bool = True,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on it, in a control group of its own there; AssertionError if it fails."""
        done = subprocess.run(
            ["nsenter", f"--target={self.init}", "--all", "--", *argv],
            env={"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/root", **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            preexec_fn=lambda: (self.cgroup / "lab-run/cgroup.procs").write_text("0"),
        )
        assert not check or done.returncode == 0, f"{argv} gave {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    def python(self, code: str) -> str:
        """What the project's own Python prints there."""
        return self.run([sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}).stdout


@contextlib.contextmanager
def lab_host(*, own_network: bool = True) -> Iterator[LabHost]:
    """Boot one, and end it with all that was started on it.

    With own_network=False it shares this machine's network, and so reaches the mirrors.
    """
    with contextlib.ExitStack() as undo:
        scratch = Path(tempfile.mkdtemp(prefix="lab-host.", dir="/var/tmp"))
        undo.callback(shutil.rmtree, scratch)
        undo.callback(FILE_MAX.write_text, FILE_MAX.read_text())
        group = _new_group()
        undo.callback(_remove_group, group)
        log = scratch / "boot.log"
        process = _start(scratch, group, log, own_network)
        undo.callback(_end, process)
        host = LabHost(_first_child(process, log), group, scratch)
        _wait_until_up(host, process, log)
        yield host


def _start(scratch: Path, group: Path, log: Path, own_network: bool) -> subprocess.Popen[bytes]:
    def before() -> None:
        (group / "cgroup.procs").write_text("0")
        linux.die_with_parent(signal.SIGKILL)

    namespaces = ["--mount", "--pid", "--uts", "--ipc", "--cgroup", *(["--net"] if own_network else [])]
    boot = ["sh", str(BOOT), str(scratch), *_hidden_places()]
    with log.open("wb") as stream:
        return subprocess.Popen(
            ["unshare", *namespaces, "--propagation", "private", "--fork", "--kill-child", "--", *boot],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={"PATH": PATH},
            start_new_session=True,
            preexec_fn=before,
        )


def _hidden_places() -> list[str]:
    """Where the project and its Python lie below directories that the host has anew."""
    places = (SOURCE, Path(sys.prefix), Path(sys.base_prefix))
    return sorted({str(place) for place in places if place.parts[1:2] in (("tmp",), ("run",))})


def _new_group() -> Path:
    """A control group whose inside becomes the root of the host's."""
    for hierarchy in cgroup.hierarchies():
        if hierarchy.unified:
            group = hierarchy.path / f"lab-{secrets.token_hex(4)}"
            group.mkdir()
            return group
    raise RuntimeError("control groups version 2 are mounted nowhere: mount -t cgroup2 cgroup2 /sys/fs/cgroup")


def _remove_group(group: Path) -> None:
    for directory, _names, _files in os.walk(group, topdown=False):
        _eventually(Path(directory).rmdir)


def _eventually(remove: Callable[[], None], within: float = 10.0) -> None:
    """The kernel may count processes that are gone for a moment yet."""
    deadline = time.monotonic() + within
    while True:
        try:
            remove()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _first_child(process: subprocess.Popen[bytes], log: Path) -> int:
    """The pid of what unshare forked: the first process of the new namespaces."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + UP_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        if pids := children.read_text().split():
            return int(pids[0])
        time.sleep(0.02)
    raise RuntimeError(f"the lab host was not started:\n{log.read_text()}")


def _wait_until_up(host: LabHost, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + UP_WITHIN
    (host.cgroup / "lab-run").mkdir()
    while process.poll() is None:
        if Path(f"/proc/{host.init}/comm").read_text() == "systemd\n":
            state = host.run(["systemctl", "is-active", "lab.target"], check=False).stdout.strip()
            if state == "active":
                return
        if time.monotonic() > deadline:
            journal = host.run(["journalctl", "--no-pager", "-n", "50"], check=False).stdout
            raise RuntimeError(f"the lab host did not come up:\n{journal}\n{log.read_text()}")
        time.sleep(0.1)
    raise RuntimeError(f"the lab host ended while it booted:\n{log.read_text()}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End its init; the kernel ends the rest with it."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in map(int, children):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
