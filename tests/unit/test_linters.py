"""The linters and the type checker, as tests."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.command_line import CHECKOUT


@pytest.mark.parametrize(
    "argv",
    [["ruff", "check", "--no-cache", "."], ["ruff", "format", "--no-cache", "--check", "."], ["mypy"]],
    ids=["ruff check", "ruff format", "mypy"],
)
def test_nothing_to_complain_of(argv: list[str]) -> None:
    told = subprocess.run([sys.executable, "-m", *argv], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
