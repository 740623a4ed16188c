"""Commands in a running machine: status, streams, descriptors, environment, signals, control groups, terminals."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from machinespawn.config import Config
from machinespawn.host import cgroup
from machinespawn.machines import lifecycle
from machinespawn.runtimes import state
from tests import verbs


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 3"], 3),
        (["sh", "-c", "kill -KILL $$"], 137),
        (["/no/such/command"], 127),
        (["/etc/passwd"], 126),
    ],
)
def test_the_status_is_the_commands_own(config: Config, booted: str, command: list[str], status: int) -> None:
    assert verbs.run("command", config.root, booted, command).returncode == status
    assert verbs.run("execute", config.root, booted, command).returncode == status


def test_streams_stay_apart(config: Config, booted: str) -> None:
    done = verbs.run("execute", config.root, booted, ["sh", "-c", "cat; echo to-err >&2"], stdin="to-out")
    assert (done.stdout, done.stderr) == ("to-out", "to-err\n")


def test_a_reader_that_leaves_ends_the_command(config: Config, booted: str) -> None:
    running = verbs.begin("command", config.root, booted, ["yes"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stderr is not None
    assert running.stdout.read(4) == b"y\ny\n"
    running.stdout.close()
    assert running.wait(10) == 128 + signal.SIGPIPE
    assert running.stderr.read() == b""


def test_nothing_of_ours_comes_along(config: Config, booted: str) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    script = "ls /proc/self/fd; env; stat -c %N /proc/self/cwd; umask"
    with subprocess.Popen(
        verbs.line("command", config.root, booted, ["sh", "-c", script]),
        env={**verbs.environment(), "SECRET": "hidden"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=(writer,),
    ) as running:
        printed = running.communicate()[0].splitlines()
    os.close(reader)
    os.close(writer)
    assert printed[:4] == ["0", "1", "2", "3"]  # 3 is ls's own
    names = {line.partition("=")[0] for line in printed[4:] if "=" in line}
    assert names == {"HOME", "USER", "LOGNAME", "PATH", "LANG", "SHELL", "PWD"}
    assert printed[-2] == "'/proc/self/cwd' -> '/'"


def test_it_is_really_inside(config: Config, booted: str) -> None:
    script = "readlink /proc/self/ns/mnt /proc/self/ns/pid /proc/self/ns/user /proc/self/ns/uts /proc/self/ns/ipc"
    inside = lifecycle.capture(config, booted, ["sh", "-c", f"{script}; hostname; cat /proc/1/comm"]).stdout.split()
    entered = verbs.run("command", config.root, booted, ["sh", "-c", f"{script}; hostname; cat /proc/1/comm"]).stdout
    assert entered.split() == inside
    assert inside[-2:] == [booted, "systemd"]
    assert not {os.readlink(f"/proc/self/ns/{space}") for space in ("mnt", "pid", "user", "uts", "ipc")} & set(inside)


def test_users_have_their_own_numbers_and_groups(config: Config, booted: str) -> None:
    tree = config.machines / booted
    (tree / "etc/group").write_text((tree / "etc/group").read_text().replace("adm:x:4:", "adm:x:4:www-data"))
    done = verbs.run("command", config.root, booted, ["id"], user="www-data")
    assert done.stdout == "uid=33(www-data) gid=33(www-data) groups=33(www-data),4(adm)\n"
    assert verbs.run("command", config.root, booted, ["id", "-u"], user="77").stdout == "77\n"
    absent = verbs.run("command", config.root, booted, ["id"], user="nobody-here")
    assert absent.returncode == 4
    assert "nobody-here" in absent.stderr


def test_directory_and_variables(config: Config, booted: str) -> None:
    script = 'pwd; echo "$A"'
    done = verbs.run("command", config.root, booted, ["sh", "-c", script], cwd="/var/log", env={"A": "a b"})
    assert done.stdout == "/var/log\na b\n"


@pytest.fixture
def sleeper(config: Config, booted: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A command in the machine, and its pid on the host."""
    with verbs.begin("command", config.root, booted, ["sleep", "600"]) as running:
        pid = _pid_of(config, booted, "sleep")
        try:
            yield running, pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _pid_of(config: Config, name: str, program: str) -> int:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for pid in cgroup.processes(state.group(config, name)):
            with contextlib.suppress(FileNotFoundError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == program:
                    return pid
        time.sleep(0.02)
    raise AssertionError(f"{program} is in no control group of {name}")


def test_signals_reach_the_command(sleeper: tuple[subprocess.Popen[bytes], int]) -> None:
    running, pid = sleeper
    running.send_signal(signal.SIGTERM)
    assert running.wait(10) == 128 + signal.SIGTERM
    assert not Path(f"/proc/{pid}").exists()


def test_it_is_in_every_control_group_of_the_machine(
    config: Config, booted: str, sleeper: tuple[subprocess.Popen[bytes], int]
) -> None:
    group = f"/machinespawn/{state.group(config, booted)}/exec"
    lines = Path(f"/proc/{sleeper[1]}/cgroup").read_text().splitlines()
    assert len(lines) == len(cgroup.hierarchies())
    assert {line.split(":")[2] for line in lines} == {group}


def _unified(config: Config, name: str) -> Path:
    top = next(hierarchy.path for hierarchy in cgroup.hierarchies() if hierarchy.unified)
    return top / "machinespawn" / state.group(config, name)


def test_freezing_the_machine_reaches_it(
    config: Config, booted: str, sleeper: tuple[subprocess.Popen[bytes], int]
) -> None:
    top = _unified(config, booted)
    (top / "cgroup.freeze").write_text("1")
    try:
        assert _events(top / "exec", "frozen", "1")
        assert lifecycle.show(config, booted).health == "frozen"
    finally:
        (top / "cgroup.freeze").write_text("0")
    assert _events(top / "exec", "frozen", "0")


def _events(group: Path, key: str, value: str) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if f"{key} {value}" in (group / "cgroup.events").read_text().splitlines():
            return True
        time.sleep(0.02)
    return False


def test_a_limit_on_the_machine_reaches_it(config: Config, booted: str) -> None:
    tops = [hierarchy.path / "machinespawn" / state.group(config, booted) for hierarchy in cgroup.hierarchies()]
    limit = next(top / "pids.max" for top in tops if (top / "pids.max").exists())
    before = limit.read_text()
    limit.write_text(str(int((limit.parent / "pids.current").read_text()) + 3))
    try:
        done = verbs.run("command", config.root, booted, ["sh", "-c", "for i in 1 2 3 4 5; do sleep 1 & done; wait"])
    finally:
        limit.write_text(before)
    assert "fork" in done.stderr.lower()
    assert done.returncode != 0


def test_pids_are_not_mistaken(config: Config, booted: str) -> None:
    """The child that enters counts as a pid of the machine's while /proc is still the host's."""
    for _each in range(5):
        done = verbs.run("command", config.root, booted, ["cat", "/etc/hostname"])
        assert done.stdout == f"{booted}\n"


class Terminal:
    """We, at a terminal, calling a verb."""

    def __init__(self, line: list[str]) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execvpe(line[0], line, verbs.environment())
        termios.tcsetwinsize(self.master, (30, 90))
        self.seen = b""

    def until(self, expected: bytes, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while expected not in self.seen:
            assert select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))[0], self.seen
            self.seen += os.read(self.master, 65536)
        self.seen = self.seen.partition(expected)[2]

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def end(self) -> int:
        with contextlib.suppress(OSError):
            while os.read(self.master, 65536):
                pass
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.master)
        return status


@pytest.fixture
def at_terminal() -> Iterator[Callable[[list[str]], Terminal]]:
    begun: list[Terminal] = []

    def begin(line: list[str]) -> Terminal:
        begun.append(Terminal(line))
        return begun[-1]

    yield begin
    for terminal in begun:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            if os.waitpid(terminal.pid, os.WNOHANG) == (0, 0):
                os.kill(terminal.pid, signal.SIGKILL)
                os.waitpid(terminal.pid, 0)


def test_a_shell_has_a_terminal_of_the_machines(
    config: Config, booted: str, at_terminal: Callable[[list[str]], Terminal]
) -> None:
    there = at_terminal(verbs.line("shell", config.root, booted))
    there.until(b"# ")
    before = termios.tcgetattr(there.master)
    assert not before[3] & termios.ECHO  # raw, as long as the shell runs
    there.type(b"tty; stty size; stat -c %U:%G $(tty); cat /proc/self/sessionid >/dev/null; echo en''d\n")
    there.until(b"end")
    there.type(b"stty size; tty; echo d''one\n")
    there.until(b"30 90")
    there.until(b"/dev/pts/")
    there.until(b"done")
    termios.tcsetwinsize(there.master, (40, 100))
    there.type(b"stty size; echo d''one\n")
    there.until(b"40 100")
    there.type(b"sleep 600 || echo inter''rupted\n")
    there.until(b"sleep 600")
    time.sleep(0.3)
    there.type(b"\x03")
    there.type(b"echo stat''us=$?\n")
    there.until(b"status=130")
    there.type(b"exit 5\n")
    assert there.end() == 5


def test_the_terminal_is_given_back(config: Config, booted: str, at_terminal: Callable[[list[str]], Terminal]) -> None:
    """By a shell around it, which ends after the command has been killed."""
    inner = verbs.line("command", config.root, booted, ["sh", "-c", "echo up; sleep 600"])
    there = at_terminal(["sh", "-c", '"$@"; echo "left=$?"; read line; echo "$line"', "sh", *inner])
    there.until(b"up")
    assert not termios.tcgetattr(there.master)[3] & termios.ICANON
    os.kill(_pid_of(config, booted, "sleep"), signal.SIGKILL)
    there.until(b"left=")
    assert termios.tcgetattr(there.master)[3] & termios.ICANON
    assert termios.tcgetattr(there.master)[3] & termios.ECHO
    there.type(b"typed\n")
    there.until(b"typed")
    assert there.end() == 0


def test_our_terminal_stays_out_of_reach(
    config: Config, booted: str, at_terminal: Callable[[list[str]], Terminal]
) -> None:
    """Not even /dev/tty is ours, whichever streams are terminals."""
    script = "tty; (: 3<>/dev/tty) && echo opened || echo none"
    there = at_terminal(verbs.line("command", config.root, booted, ["sh", "-c", script]))
    there.until(b"/dev/pts/")
    there.until(b"opened")  # the machine's own
    assert there.end() == 0
    redirected = ["sh", "-c", '"$@" </dev/null 2>&1 | cat', "sh"]
    there = at_terminal([*redirected, *verbs.line("command", config.root, booted, ["sh", "-c", script])])
    there.until(b"none")
    assert there.end() == 0


def test_a_shell_without_a_terminal_reads_its_input(config: Config, booted: str) -> None:
    done = verbs.run("shell", config.root, booted, stdin="pwd\necho $HOME $0\nexit 4\n")
    assert (done.returncode, done.stdout.split()) == (4, ["/root", "/root", "/bin/bash"])
