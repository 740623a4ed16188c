"""Verbs of machinespawn.machines.lifecycle in a process of their own, as a command line would call them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.command_line import CHECKOUT

CALL = """
import ast, sys
from pathlib import Path
from machinespawn.config import Config
from machinespawn.errors import MachinespawnError
from machinespawn.machines import lifecycle
verb, root, arguments, options = sys.argv[1:]
try:
    given = getattr(lifecycle, verb)(Config(root=Path(root)), *ast.literal_eval(arguments), **ast.literal_eval(options))
except MachinespawnError as error:
    print(f"{type(error).__name__}: {error.message} | {error.hint}", file=sys.stderr)
    sys.exit(error.exit_code)
if verb in ("command", "shell", "attach"):
    sys.exit(given)
if verb == "logs":
    given = "\\n".join(given)
print(given)
"""


def line(verb: str, root: Path, *arguments: object, **options: object) -> list[str]:
    """The command line of one call."""
    return [sys.executable, "-c", CALL, verb, str(root), repr(arguments), repr(options)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), "TERM": "dumb"}


def run(
    verb: str, root: Path, *arguments: object, stdin: str = "", **options: object
) -> subprocess.CompletedProcess[str]:
    """Call it and wait."""
    return subprocess.run(
        line(verb, root, *arguments, **options),
        env=environment(),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def begin(
    verb: str,
    root: Path,
    *arguments: object,
    stdin: Any = None,
    stdout: Any = None,
    stderr: Any = None,
    **options: object,
) -> subprocess.Popen[bytes]:
    """Call it and go on."""
    return subprocess.Popen(
        line(verb, root, *arguments, **options), env=environment(), stdin=stdin, stdout=stdout, stderr=stderr
    )
