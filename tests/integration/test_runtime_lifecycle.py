"""Machines booted, seen, stopped, killed and removed by processes that know nothing of each other."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from machinespawn.config import Config
from machinespawn.errors import BootError, BusyError, NotFoundError, NotRunningError
from machinespawn.files import locked
from machinespawn.host import cgroup
from machinespawn.machines import lifecycle
from machinespawn.machines.spec import MachineSpec, write
from machinespawn.recipe.model import MachineSettings
from machinespawn.runtimes import console, state
from tests import verbs
from tests.command_line import CHECKOUT

Check = Callable[[], None]


def seen(config: Config, name: str) -> lifecycle.Status:
    return next(status for status in lifecycle.list_machines(config) if status.name == name)


def settle(config: Config, name: str, settings: MachineSettings) -> None:
    """Give the machine a spec with these settings."""
    inode = (config.machines / name).stat().st_ino
    write(config, MachineSpec(name, "of-a-test", "debian", "12", "amd64", (), "2026-01-01T00:00:00Z", inode, settings))


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_started_by_one_process_and_stopped_by_another(nothing_left: Check, config: Config, stopped: str) -> None:
    started = verbs.run("start", config.root, stopped)
    assert started.returncode == 0, started.stderr
    status = seen(config, stopped)
    assert (status.state, status.os, status.release) == ("running", "Debian GNU/Linux 12 (bookworm)", "bookworm")
    assert status.leader
    assert Path(f"/proc/{status.leader}/comm").read_text() == "systemd\n"
    assert lifecycle.wait_until_booted(config, stopped) == "running"
    details = lifecycle.show(config, stopped)
    assert details.health == "running"
    assert details.uid_shift
    assert Path(f"/proc/{status.leader}/root/etc").stat().st_uid == details.uid_shift
    assert (config.machines / stopped / "etc").stat().st_uid == 0
    ended = verbs.run("stop", config.root, stopped)
    assert ended.stdout == "poweroff\n"
    assert seen(config, stopped).state == "stopped"
    assert not (config.run / "machines" / stopped).exists()
    assert cgroup.directories(state.group(config, stopped)) == ()


def test_the_network_is_the_hosts_and_names_resolve(config: Config, machine: str) -> None:
    """Whatever the tree has as its resolv.conf: a file, a link to a stub that is not there, nothing."""
    mirror = _mirror()
    resolv = config.machines / machine / "etc/resolv.conf"
    for make in (
        lambda: resolv.write_text("nameserver 192.0.2.1\n"),
        lambda: resolv.symlink_to("../run/systemd/resolve/stub-resolv.conf"),
        lambda: None,
    ):
        resolv.unlink()
        make()
        lifecycle.start(config, machine)
        found = lifecycle.capture(config, machine, ["getent", "hosts", mirror]).stdout
        assert mirror in found
        lifecycle.stop(config, machine)
        assert resolv.stat().st_uid == 0
    asked = verbs.run("command", config.root, machine, ["getent", "hosts", mirror])
    assert mirror in asked.stdout


def _mirror() -> str:
    argv = ["apt-get", "indextargets", "--format", "$(REPO_URI)"]
    uri = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()[0]
    return uri.split("/")[2].partition(":")[0]


def test_one_of_two_starts_wins(nothing_left: Check, config: Config, stopped: str) -> None:
    both = [verbs.begin("start", config.root, stopped, stderr=subprocess.PIPE) for _each in range(2)]
    told = [each.communicate(timeout=60)[1].decode() for each in both]
    assert sorted(each.returncode for each in both) == [0, BusyError.exit_code]
    assert "BusyError" in "".join(told)
    again = verbs.run("start", config.root, stopped)
    assert again.returncode == BusyError.exit_code
    assert f"machine {stopped} is running already" in again.stderr
    lifecycle.stop(config, stopped)


def test_it_is_seen_starting(config: Config, machine: str) -> None:
    unit = config.machines / machine / "etc/systemd/system/slow.service"
    unit.write_text("[Service]\nType=oneshot\nExecStart=sleep 600\n")
    wants = config.machines / machine / "etc/systemd/system/multi-user.target.wants/slow.service"
    wants.symlink_to("/etc/systemd/system/slow.service")
    with verbs.begin("start", config.root, machine, stderr=subprocess.PIPE) as starting:
        until(lambda: seen(config, machine).state == "starting" and seen(config, machine).leader is not None)
        assert verbs.run("stop", config.root, machine, timeout=5).returncode == 0
        assert starting.wait(20) == BootError.exit_code
    assert seen(config, machine).state == "stopped"


def test_a_boot_that_hangs_is_ended_and_says_where(nothing_left: Check, config: Config, machine: str) -> None:
    drop_in = config.machines / machine / "etc/systemd/system/slow.service"
    drop_in.write_text("[Unit]\nDescription=the slow one\n[Service]\nType=oneshot\nExecStart=sleep 600\n")
    wants = config.machines / machine / "etc/systemd/system/multi-user.target.wants/slow.service"
    wants.symlink_to("/etc/systemd/system/slow.service")
    with pytest.raises(BootError) as failed:
        lifecycle.start(config, machine, timeout=3)
    assert "the slow one" in failed.value.message
    assert seen(config, machine).state == "stopped"


def test_a_boot_that_fails_is_told_with_its_console(nothing_left: Check, config: Config, machine: str) -> None:
    init = config.machines / machine / "usr/lib/systemd/systemd"
    init.unlink()
    init.write_text("#!/bin/sh\nprintf 'about \\033[31mto fail\\n'\nexit 1\n")
    init.chmod(0o755)
    with pytest.raises(BootError) as failed:
        lifecycle.start(config, machine)
    assert "about to fail" in failed.value.message
    assert list(config.logs.glob(f"{machine}.log")) == [console.path(config, machine)]
    assert stat.S_IMODE(console.path(config, machine).stat().st_mode) == 0o600


def test_an_interrupted_start_leaves_nothing(nothing_left: Check, config: Config, stopped: str) -> None:
    for delay in (0.3, 0.4, 0.5, 0.7):
        with verbs.begin("start", config.root, stopped, stderr=subprocess.DEVNULL) as starting:
            time.sleep(delay)
            starting.send_signal(signal.SIGINT)
        if seen(config, stopped).state != "stopped":
            lifecycle.stop(config, stopped)


def test_a_killed_start_is_cleared_up_or_stopped(nothing_left: Check, config: Config, stopped: str) -> None:
    for delay in (0.25, 0.3, 0.4, 0.6):
        with verbs.begin("start", config.root, stopped) as starting:
            time.sleep(delay)
            starting.kill()
        with contextlib.suppress(NotRunningError):
            lifecycle.stop(config, stopped)
        until(lambda: seen(config, stopped).state == "stopped" and not state.leftovers(config, stopped))


def test_a_tree_without_an_init(nothing_left: Check, config: Config, machine: str) -> None:
    tree = config.machines / machine
    (tree / "usr/lib/systemd/systemd").unlink()
    (tree / "usr/sbin/init").unlink()
    (tree / "usr/sbin/init").symlink_to("/usr/bin/env-of-the-host")
    assert not (tree / "usr/bin/env-of-the-host").exists()
    with pytest.raises(BootError) as refused:
        lifecycle.start(config, machine)
    assert refused.value.hint == f"machinespawn exec {machine} -- apt-get install systemd-sysv"
    done = verbs.run("command", config.root, machine, ["sh", "-c", "cat; cat /etc/hostname; exit 6"], stdin="there ")
    assert (done.returncode, done.stdout, done.stderr) == (6, f"there {machine}\n", "")
    assert verbs.run("command", config.root, machine, ["no-such-command"]).returncode == 127
    assert verbs.run("command", config.root, machine, ["sh", "-c", "kill -TERM $$"]).returncode == 143


def test_an_init_is_looked_for_in_the_tree_alone(config: Config, machine: str) -> None:
    """Links that lead to an init of the host's lead nowhere; links within the tree are followed."""
    tree = config.machines / machine
    init = tree / "usr/lib/systemd/systemd"
    init.rename(tree / "usr/lib/systemd/the-real-one")
    init.symlink_to("/../../../../../lib/systemd/the-real-one")
    (tree / "usr/sbin/init").unlink()
    lifecycle.start(config, machine)
    lifecycle.stop(config, machine)


def test_a_command_keeps_others_from_a_stopped_machine(nothing_left: Check, config: Config, stopped: str) -> None:
    with verbs.begin("command", config.root, stopped, ["sleep", "600"]) as running:
        until(lambda: _entered(config, stopped))
        assert seen(config, stopped).state == "stopped"
        with pytest.raises(BusyError):
            lifecycle.start(config, stopped)
        with pytest.raises(BusyError):
            lifecycle.remove(config, stopped, force=True)
        assert cgroup.processes(state.group(config, stopped))
        running.terminate()
        assert running.wait(20) == 128 + signal.SIGTERM


def test_a_killed_command_in_a_stopped_machine_is_cleared_up(nothing_left: Check, config: Config, stopped: str) -> None:
    with verbs.begin("command", config.root, stopped, ["sleep", "600"]) as running:
        until(lambda: _entered(config, stopped))
        running.kill()
    assert cgroup.processes(state.group(config, stopped))
    lifecycle.list_machines(config)
    assert cgroup.directories(state.group(config, stopped)) == ()


def test_kill_reaches_what_was_run_in_it(nothing_left: Check, config: Config, stopped: str) -> None:
    lifecycle.start(config, stopped)
    with verbs.begin("command", config.root, stopped, ["sh", "-c", "trap '' TERM INT; sleep 600"]) as running:
        until(lambda: _entered(config, stopped))
        lifecycle.kill(config, stopped)
        assert running.wait(20) == 128 + signal.SIGKILL
    with pytest.raises(NotRunningError):
        lifecycle.kill(config, stopped)


def _entered(config: Config, name: str) -> bool:
    """Whether a command runs in the machine."""
    for pid in cgroup.processes(state.group(config, name)):
        with contextlib.suppress(OSError):
            if "/exec" in Path(f"/proc/{pid}/cgroup").read_text() and _program(pid) in ("sleep", "sh"):
                return True
    return False


def _program(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_a_frozen_machine_can_be_killed(nothing_left: Check, config: Config, stopped: str) -> None:
    lifecycle.start(config, stopped)
    for directory in cgroup.directories(state.group(config, stopped)):
        for file, frozen in (("cgroup.freeze", "1"), ("freezer.state", "FROZEN")):
            if (directory / file).exists():
                (directory / file).write_text(frozen)
    assert verbs.run("kill", config.root, stopped, whom="all").returncode == 0


def test_other_signals_go_to_init_or_to_all(config: Config, stopped: str) -> None:
    lifecycle.start(config, stopped)
    with verbs.begin("command", config.root, stopped, ["sleep", "600"]) as running:
        until(lambda: _entered(config, stopped))
        lifecycle.kill(config, stopped, "SIGUSR2", "all")
        assert running.wait(20) == 128 + signal.SIGUSR2
    lifecycle.kill(config, stopped, "RTMIN+4")
    until(lambda: seen(config, stopped).state == "stopped")


def test_a_stop_that_takes_too_long_kills(nothing_left: Check, config: Config, stopped: str) -> None:
    lifecycle.start(config, stopped)
    lifecycle.capture(config, stopped, ["systemd-run", "sh", "-c", "trap '' TERM; while :; do sleep 1; done"])
    time.sleep(0.3)
    assert lifecycle.stop(config, stopped, timeout=2) == "killed"


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_without_its_supervisor(nothing_left: Check, config: Config, stopped: str, end: str) -> None:
    lifecycle.start(config, stopped)
    supervisor = lifecycle.show(config, stopped).supervisor
    assert supervisor
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: lifecycle.show(config, stopped).supervisor is None)
    assert seen(config, stopped).state == "running"
    assert verbs.run("command", config.root, stopped, ["true"]).returncode == 0
    assert verbs.run(end, config.root, stopped).returncode == 0
    assert seen(config, stopped).state == "stopped"


def test_a_machine_that_powers_off_itself(nothing_left: Check, config: Config, stopped: str) -> None:
    assert verbs.run("start", config.root, stopped).returncode == 0
    assert verbs.run("command", config.root, stopped, ["systemctl", "poweroff"]).returncode in (0, 137)
    until(lambda: state.running(config, stopped) is None)
    assert seen(config, stopped).state == "stopped"
    assert cgroup.directories(state.group(config, stopped)) == ()
    assert not state.directory(config, stopped).exists()
    lifecycle.start(config, stopped)
    lifecycle.stop(config, stopped)


def test_without_waiting(config: Config, stopped: str) -> None:
    status = lifecycle.start(config, stopped, wait=False)
    assert status.state == "running"
    assert lifecycle.wait_until_booted(config, stopped) == "running"


def test_in_the_foreground(nothing_left: Check, config: Config, stopped: str) -> None:
    with verbs.begin("attach", config.root, stopped, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as attached:
        until(lambda: seen(config, stopped).state == "running")
        with pytest.raises(BusyError):
            lifecycle.start(config, stopped)
        assert lifecycle.stop(config, stopped, timeout=20) == "poweroff"
        assert attached.wait(20) == 0
        assert attached.stdout is not None
        assert b"Powering off" in attached.stdout.read()
    assert cgroup.directories(state.group(config, stopped)) == ()


def test_in_the_foreground_on_a_terminal(nothing_left: Check, config: Config, stopped: str) -> None:
    script = f"import pty, sys; sys.exit(pty.spawn({verbs.line('attach', config.root, stopped)!r}) >> 8)"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=verbs.environment()
    ) as attached:
        assert attached.stdout is not None
        seen_there = b""
        while b"login:" not in seen_there:
            more = os.read(attached.stdout.fileno(), 65536)
            assert more, seen_there
            seen_there += more
        lifecycle.stop(config, stopped)
        attached.communicate(timeout=20)
    assert "login:" in console.path(config, stopped).read_text()


def test_guests_that_need_other_settings(nothing_left: Check, config: Config, stopped: str) -> None:
    settings = MachineSettings(
        private_users=False,
        unified_cgroup=False,
        parameters=("systemd.mask=console-getty.service",),
        environment=(("FOR_INIT", "a b"),),
    )
    settle(config, stopped, settings)
    try:
        lifecycle.start(config, stopped)
        assert lifecycle.show(config, stopped).uid_shift is None
        script = "cat /proc/1/environ | tr '\\0' '\\n'; systemctl is-enabled console-getty; grep -c . /proc/1/cgroup"
        told = lifecycle.capture(config, stopped, ["sh", "-c", script], check=False).stdout
        assert "FOR_INIT=a b" in told
        assert "masked" in told
        assert (
            os.readlink("/proc/self/ns/user") in lifecycle.capture(config, stopped, ["ls", "-l", "/proc/1/ns"]).stdout
        )
        bound = "grep CapBnd /proc/1/status /proc/self/status"
        entered = verbs.run("command", config.root, stopped, ["sh", "-c", bound]).stdout.split()
        assert entered[1] == entered[3] != _our_capabilities()
        captured = lifecycle.capture(config, stopped, ["sh", "-c", bound]).stdout.split()
        assert captured[1] == captured[3]
        loop = "mknod /loop-control c 10 237 && (: </loop-control) && echo opened; (: </dev/null) && echo null"
        assert verbs.run("command", config.root, stopped, ["sh", "-c", loop]).stdout == "null\n"
        lifecycle.stop(config, stopped)
    finally:
        for path in (config.state / "machines" / stopped).iterdir():
            path.unlink()
        (config.state / "machines" / stopped).rmdir()


def _our_capabilities() -> str:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in status if line.startswith("CapBnd"))


ON_UNIFIED = """
import subprocess, sys
from pathlib import Path
from machinespawn.config import Config
from machinespawn.machines import lifecycle
from machinespawn.runtimes import state
root, name = Path(sys.argv[1]), sys.argv[2]
config = Config(root=root)
lifecycle.start(config, name)
top = Path("/sys/fs/cgroup/machinespawn") / state.group(config, name)
for controller in (top / "cgroup.controllers").read_text().split():
    (top / "cgroup.subtree_control").write_text(f"+{controller}")
print("controllers", (top / "cgroup.subtree_control").read_text().strip() != "")
print("inner", repr((top / "cgroup.procs").read_text()))
sys.stdout.flush()
lifecycle.wait_until_booted(config, name)
child = [sys.executable, "-c", sys.argv[3], "command", str(root), repr((name, ["cat", "/proc/self/cgroup"])), "{}"]
print(subprocess.run(child, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
print(lifecycle.stop(config, name))
print("left", list(Path("/sys/fs/cgroup").glob("machinespawn*")))
"""


def test_on_a_host_with_cgroup_v2_alone(nothing_left: Check, config: Config, stopped: str) -> None:
    """Seen through a mount namespace of its own; one controller at least is enabled all the way down."""
    script = (
        "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && "
        'cat /sys/fs/cgroup/cgroup.subtree_control > "$0" && exec "$@"'
    )
    before = config.root / "controllers-before"
    call = [sys.executable, "-c", ON_UNIFIED, str(config.root), stopped, verbs.CALL]
    argv = ["unshare", "--mount", "--propagation=private", "sh", "-c", script, str(before), *call]
    done = subprocess.run(argv, env=verbs.environment(), capture_output=True, text=True, check=False, cwd=CHECKOUT)
    _disable_all_but(before.read_text().split())
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["controllers True", "inner ''", "0::/../exec", "poweroff", "left []"]


def _disable_all_but(controllers: list[str]) -> None:
    top = next(hierarchy.path for hierarchy in cgroup.hierarchies() if hierarchy.unified)
    for controller in set((top / "cgroup.subtree_control").read_text().split()) - set(controllers):
        (top / "cgroup.subtree_control").write_text(f"-{controller}")


def test_removed(nothing_left: Check, config: Config, machine: str) -> None:
    settle(config, machine, MachineSettings())
    lifecycle.start(config, machine)
    with pytest.raises(BusyError):
        lifecycle.remove(config, machine)
    assert seen(config, machine).recipe == "of-a-test"
    lifecycle.remove(config, machine, force=True)
    assert machine not in {status.name for status in lifecycle.list_machines(config)}
    assert not [path for path in config.root.glob(f"**/*{machine}*") if path.parent != config.locks]
    with pytest.raises(NotFoundError) as gone:
        lifecycle.remove(config, machine)
    assert machine in gone.value.message


def test_what_is_mounted_in_a_tree_is_not_removed_with_it(config: Config, machine: str) -> None:
    point = config.machines / machine / "mnt"
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", point], check=True)
    try:
        (point / "precious").write_text("not the machine's")
        with pytest.raises(BusyError) as refused:
            lifecycle.remove(config, machine)
        assert str(point) in refused.value.message
        assert (point / "precious").exists()
    finally:
        subprocess.run(["umount", point], check=True)


def test_a_tree_that_is_being_built_is_not_started(config: Config, stopped: str) -> None:
    with locked(config.locks / f"machine-{stopped}"), pytest.raises(BusyError):
        lifecycle.start(config, stopped)
