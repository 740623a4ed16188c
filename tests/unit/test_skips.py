"""A skipped test fails the run unless tests/unproven.md says why it may be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import CHECKOUT


def pytest_run(directory: Path, body: str) -> subprocess.CompletedProcess[str]:
    (directory / "test_it.py").write_text(body)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider", "test_it.py"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "body",
    [
        "import pytest\ndef test_a(): pytest.skip('no')\ndef test_b(): pass\n",
        "import pytest\npytest.skip('no', allow_module_level=True)\n",
    ],
)
def test_a_skip_fails_the_run(tmp_path: Path, body: str) -> None:
    told = pytest_run(tmp_path, body)
    assert told.returncode != 0
    assert "skipped without a reason in tests/unproven.md: test_it.py" in told.stdout


def test_a_run_without_skips_is_green(tmp_path: Path) -> None:
    assert pytest_run(tmp_path, "def test_b(): pass\n").returncode == 0
