"""The command line as people call it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
NOBODY = 65534


def machinespawn(
    *argv: str,
    root: Path | None = None,
    user: int = 0,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    stdout: int = subprocess.PIPE,
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m machinespawn``, with every path under root, as another user if need be."""
    line = [sys.executable, "-m", "machinespawn", *(["--root", str(root)] if root else []), *argv]
    if user and os.geteuid() == 0:
        # reading everything stays allowed: the interpreter may be in a home that nobody else may enter
        reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        line = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *reading, *line]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MACHINESPAWN_", "PYTHON"))},
        "PYTHONPATH": str(CHECKOUT),
        **(env or {}),
    }
    return subprocess.run(
        line,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=timeout,
        check=False,
    )
