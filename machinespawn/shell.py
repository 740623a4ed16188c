"""The only module that starts programs.

A program gets a list of arguments, never a shell string; a clean environment;
no standard input unless given; and, on failure, its command line in a form
that can be pasted, with the end of what it printed.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from machinespawn.errors import MissingToolError, ProgramError
from machinespawn.text import _

CLEAN_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
    "DEBIAN_FRONTEND": "noninteractive",
}
TAIL_LINES = 20

PACKAGE_OF = {
    "debootstrap": "debootstrap",
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "machinectl": "systemd-container",
    "apt-get": "apt",
    "gpgv": "gpgv",
    "gpg": "gpg",
    "tar": "tar",
    "xz": "xz-utils",
    "zstd": "zstd",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "journalctl": "systemd",
}
"""The Debian package of each program that we start."""


@dataclass(frozen=True)
class Local:
    """On the host, as we are."""


@dataclass(frozen=True)
class Chroot:
    """In a tree that is not running: systemd-nspawn without boot, so capabilities and devices are contained.

    ``binds`` are (host path, path inside) pairs; the network is the host's.
    """

    path: Path
    binds: tuple[tuple[Path, str], ...] = ()


@dataclass(frozen=True)
class Inside:
    """In a running machine: its namespaces through the leader's pid, its cgroups joined first."""

    leader: int
    cgroups: tuple[Path, ...] = ()
    capabilities: str = ""
    """setpriv's --bounding-set, for a machine without a user namespace; empty: unbounded."""


Target = Local | Chroot | Inside


@dataclass(frozen=True)
class Result:
    """What a finished program left: its exit status and what it printed."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str = field(repr=False, default="")


def require(program: str) -> str:
    """The path of program, or MissingToolError naming the package that has it."""
    path = shutil.which(program, path=CLEAN_ENVIRONMENT["PATH"])
    if path is None:
        raise MissingToolError(
            _("{program} is not installed").format(program=program),
            _("apt-get install {package}").format(package=PACKAGE_OF.get(program, program)),
        )
    return path


def command_line(argv: Sequence[str], on: Target, environment: Mapping[str, str]) -> list[str]:
    """The argument list that runs argv on the target."""
    match on:
        case Local():
            return [*argv]
        case Chroot(path, binds):
            return [
                "systemd-nspawn",
                "--quiet",
                "--register=no",
                "--keep-unit",
                "--settings=no",
                "--as-pid2",
                "--pipe",
                "--resolv-conf=off",
                *_name_servers(),
                "--timezone=off",
                "--link-journal=no",
                "--machine=machinespawn-build",
                *(f"--bind={_escaped(source)}:{_escaped(inside)}" for source, inside in binds),
                *(f"--setenv={name}={value}" for name, value in environment.items()),
                f"--directory={path}",
                "--",
                *argv,
            ]
        case Inside(leader, _cgroups, capabilities):
            return [*bounding(capabilities), "nsenter", f"--target={leader}", "--all", "--", *argv]


def _name_servers() -> list[str]:
    """The host's, by a mount of our own: --resolv-conf=bind-host fails where the tree's file is a link into /run."""
    return ["--bind-ro=/etc/resolv.conf"] if os.path.exists("/etc/resolv.conf") else []


def bounding(capabilities: str) -> list[str]:
    """What goes before a program that must not have more capabilities than these (setpriv's --bounding-set)."""
    return ["setpriv", f"--bounding-set={capabilities}", "--"] if capabilities else []


def _escaped(path: Path | str) -> str:
    return str(path).replace("\\", "\\\\").replace(":", "\\:")


def run(
    argv: Sequence[str],
    on: Target = Local(),
    *,
    env: Mapping[str, str] | None = None,
    stdin: str | bytes | None = None,
    log: Path | None = None,
    check: bool = True,
) -> Result:
    """Run argv to its end and give what it printed.

    ``log`` is a file that both streams are appended to as they come. Raises
    ProgramError when the exit status is not 0 (unless check=False) and
    MissingToolError when the program is not installed.
    """
    import sh

    environment = {**CLEAN_ENVIRONMENT, **(env or {})}
    line = command_line(argv, on, environment)
    out: list[bytes] = []
    err: list[bytes] = []
    with open(log or os.devnull, "ab", buffering=0) as stream:

        def keep(into: list[bytes]) -> Callable[[str], None]:
            def chunk(text: str) -> None:
                data = text.encode(errors="surrogateescape")  # back to the very bytes
                into.append(data)
                stream.write(data)

            return chunk

        if log:
            stream.write(f"$ {shlex.join(line)}\n".encode())
        finished = sh.Command(require(line[0]))(
            *line[1:],
            _env={**environment, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            _in=stdin or "",
            _out=keep(out),
            _err=keep(err),
            _in_bufsize=65536,
            _out_bufsize=65536,
            _err_bufsize=65536,
            _tty_in=False,
            _tty_out=False,
            _decode_errors="surrogateescape",
            _return_cmd=True,
            _ok_code=list(range(-64, 256)),
            _new_session=isinstance(on, Inside),  # else /dev/tty of the machine is the terminal that we are on
            _preexec_fn=_joiner(on.cgroups) if isinstance(on, Inside) else None,
        )
    result = Result(tuple(line), finished.exit_code, _text(out), _text(err))
    if check and result.status != 0:
        raise failure(result)
    return result


def failure(result: Result) -> ProgramError:
    """The error for a program that ended badly: its line, its status, the end of what it printed."""
    printed = result.stderr.strip() or result.stdout.strip()
    tail = "\n".join(printed.splitlines()[-TAIL_LINES:])
    how = (
        _("exit status {status}").format(status=result.status)
        if result.status >= 0
        else _("ended by signal {signal}").format(signal=-result.status)
    )
    return ProgramError(
        _("{program} failed ({how}): {line}").format(
            program=os.path.basename(result.argv[0]), how=how, line=shlex.join(result.argv)
        )
        + (f"\n{tail}" if tail else ""),
        status=result.status,
        output=tail,
    )


@contextlib.contextmanager
def stream(argv: Sequence[str], stdin: IO[bytes], *, ok: tuple[int, ...] = (0,)) -> Iterator[IO[bytes]]:
    """Run argv between stdin and the stream that is given: its output, read while the block lasts.

    Raises ProgramError at the end of the block when the exit status is not in
    ok; to stop reading early is no failure. A block that raises ends the program.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [require(argv[0]), *argv[1:]], env=CLEAN_ENVIRONMENT, stdin=stdin, stdout=subprocess.PIPE, stderr=errors
        )
        assert process.stdout is not None
        try:
            with process.stdout:
                yield process.stdout
        except BaseException:
            process.kill()
            raise
        finally:
            status = process.wait()
        if status not in (*ok, -signal.SIGPIPE):
            errors.seek(0)
            raise failure(Result(tuple(argv), status, "", errors.read().decode(errors="replace")))


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    log: Path,
    cgroups: tuple[Path, ...] = (),
) -> int:
    """Start a program that outlives us: its own session, no input, output to log. Gives its pid."""
    with open(log, "ab") as stream:
        process = subprocess.Popen(
            [require(argv[0]), *argv[1:]],
            env={**CLEAN_ENVIRONMENT, **env},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            preexec_fn=_joiner(cgroups),
        )
    process.returncode = 0  # it is meant to outlive us: no warning when this object goes
    return process.pid


def replace(argv: Sequence[str], *, env: Mapping[str, str], cgroups: tuple[Path, ...] = ()) -> None:
    """Become argv: streams, signals and exit status are then its own. Does not return."""
    program = require(argv[0])
    _joiner(cgroups)()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and so would the program
    os.closerange(3, 65536)
    os.execve(program, list(argv), dict(env))


def _joiner(cgroups: tuple[Path, ...]) -> Callable[[], None]:
    def join() -> None:
        for cgroup in cgroups:
            (cgroup / "cgroup.procs").write_text("0")

    return join


def _text(chunks: list[bytes]) -> str:
    return b"".join(chunks).decode(errors="replace")
