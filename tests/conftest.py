"""What holds for every test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.roots import Root, temporary_root

UNPROVEN = Path(__file__).parent / "unproven.md"


def unproven() -> dict[str, str]:
    """Test -> why it may be skipped: the lines ``- `tests/…::test_…`: reason`` of unproven.md."""
    text = UNPROVEN.read_text() if UNPROVEN.exists() else ""
    return dict(re.findall(r"^- `([^`]+)`: (\S.*)$", text, re.MULTILINE))


def _unexcused(config: pytest.Config) -> list[pytest.TestReport]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    known = unproven()
    return [report for report in reporter.stats.get("skipped", []) if report.nodeid not in known]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A test that is skipped proves nothing: the run fails unless unproven.md says why that is so."""
    if _unexcused(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the skipped tests that failed the run."""
    for report in _unexcused(terminalreporter.config):
        terminalreporter.write_line(f"skipped without a reason in tests/unproven.md: {report.nodeid}", red=True)


@pytest.fixture(scope="session")
def root() -> Iterator[Root]:
    """A root for the whole run: what one test has built and downloaded, the next one finds."""
    with temporary_root() as made:
        yield made


@pytest.fixture
def fresh_root() -> Iterator[Root]:
    """A root for one test."""
    with temporary_root() as made:
        yield made
