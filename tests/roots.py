"""A root of its own for builds: its machines, layers and caches, shared by the tests of one run."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.command_line import machinespawn

BUILD_SECONDS = 900


@dataclass(frozen=True)
class Answer:
    """What a command with --json gave: its exit status, data or error, and all that it printed."""

    status: int
    data: Any
    error: dict[str, Any]
    printed: str


@dataclass(frozen=True)
class Root:
    """A directory that machinespawn takes for /."""

    path: Path

    @property
    def machines(self) -> Path:
        return self.path / "var/lib/machines"

    @property
    def layers(self) -> Path:
        return self.path / "var/lib/machinespawn/layers"

    @property
    def cache(self) -> Path:
        return self.path / "var/cache/machinespawn"

    def tree(self, name: str) -> Path:
        return self.machines / name

    def call(self, *argv: str, env: dict[str, str] | None = None) -> Answer:
        """Run a command with --json."""
        split = argv.index("--") if "--" in argv else len(argv)
        done = machinespawn(*argv[:split], "--json", *argv[split:], root=self.path, env=env, timeout=BUILD_SECONDS)
        answer = json.loads(done.stdout)
        return Answer(done.returncode, answer["data"], answer["error"] or {}, done.stdout + done.stderr)

    def build(self, *argv: str, env: dict[str, str] | None = None) -> Any:
        """Run a command that must succeed, and give its data."""
        answer = self.call(*argv, env=env)
        assert answer.status == 0, answer.printed
        return answer.data

    def run(self, *argv: str) -> Any:
        """Run a command as people see it."""
        return machinespawn(*argv, root=self.path, timeout=BUILD_SECONDS)

    def staged(self) -> list[Path]:
        """Hidden directories that a build works in."""
        return [*self.path.glob("var/lib/machines/.#*"), *self.layers.glob(".#*"), *self.cache.glob("*/.#*")]


@contextmanager
def temporary_root() -> Iterator[Root]:
    directory = Path(tempfile.mkdtemp(prefix="machinespawn-test-", dir="/var/tmp"))
    directory.chmod(0o755)
    try:
        yield Root(directory)
    finally:
        shutil.rmtree(directory)
