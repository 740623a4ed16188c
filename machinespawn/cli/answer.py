"""What comes out: data or an error, as an envelope for programs or as text for people."""

from __future__ import annotations

import dataclasses
import errno
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from machinespawn.cli.call import Call, not_root
from machinespawn.cli.voice import settle
from machinespawn.errors import EXEC_FAILED, MachinespawnError, UsageError
from machinespawn.text import _

INTERRUPTED = 130
"""128 and the number of SIGINT, as a shell has it."""


def give(call: Call, data: Any, render: Callable[[], None], error: MachinespawnError | None = None) -> int:
    """Print data, the envelope with --json, else what render prints; gives the exit status.

    With ``error`` the data is the answer all the same, but not a good one.
    """
    settle(call.voice)
    if call.json:
        _envelope(as_json(data), _described(error, error.exit_code) if error else None)
    else:
        render()
        sys.stdout.flush()  # a closed pipe is noticed here, where click makes a quiet end of it
        if error:
            _tell(error.message, error.hint)
    return error.exit_code if error else 0


def _envelope(data: Any, error: Mapping[str, Any] | None) -> None:
    import json

    print(json.dumps({"success": error is None, "data": data, "error": error}), flush=True)


def _described(error: MachinespawnError, status: int, code: str = "") -> dict[str, Any]:
    return {"code": code or error.code, "message": error.message, "hint": error.hint, "exit_code": status}


def as_json(value: Any) -> Any:
    """Data of ours in what JSON knows."""
    from datetime import date
    from enum import Enum

    match value:
        case Mapping():
            return {str(key): as_json(item) for key, item in value.items()}
        case Enum():
            return as_json(value.value)
        case str() | int() | float() | None:
            return value
        case Path():
            return str(value)
        case date():
            return value.isoformat()
        case Iterable():
            return [as_json(item) for item in value]
    if dataclasses.is_dataclass(value):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(f"{value!r} has no form in JSON")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows under their headings: drawn on a terminal, in plain columns for a pipe."""
    if sys.stdout.isatty():
        _drawn_table(columns, rows)
        return
    lines = [[column.upper() for column in columns], *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _drawn_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column.upper(), overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))  # Text: names may hold what rich takes for markup
    Console().print(drawn)


def fail(call: Call, problem: BaseException) -> int:
    """Print what went wrong, and give the status to exit with."""
    settle(call.voice)
    interrupted = isinstance(problem, (KeyboardInterrupt, click.Abort))
    error = MachinespawnError(_("interrupted")) if interrupted else known(call, problem)
    if call.verbosity > 0 and error is not problem and not interrupted:
        import traceback

        traceback.print_exception(problem, file=sys.stderr)
    status = INTERRUPTED if interrupted else EXEC_FAILED if call.exec_status else error.exit_code
    if call.json:
        _envelope(None, _described(error, status, "interrupted" if interrupted else ""))
    else:
        _tell(error.message, error.hint)
    return status


def known(call: Call, problem: BaseException) -> MachinespawnError:
    """Any problem as one of our errors."""
    match problem:
        case MachinespawnError():
            return problem
        case click.UsageError():
            path = problem.ctx.command_path if problem.ctx else "machinespawn"
            return UsageError(problem.format_message(), f"{path} --help")
        case click.ClickException():
            return UsageError(problem.format_message())
        case PermissionError() if os.geteuid() != 0:
            return not_root(call)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return MachinespawnError(
                _("no space left: {error}").format(error=problem),
                _("machinespawn clean-cache frees what no machine needs; df -h tells which disk is full"),
            )
        case OSError():
            return MachinespawnError(str(problem))
    return MachinespawnError(
        _("a mistake of machinespawn's own: {kind}: {error}").format(kind=type(problem).__name__, error=problem),
        _("the same command with --verbose shows where; please report it"),
    )


def _tell(message: str, hint: str) -> None:
    colour = False if os.environ.get("NO_COLOR") else None
    click.echo(click.style(_("error: "), fg="red", bold=True) + message, err=True, color=colour)
    if hint:
        click.echo(click.style(_("hint: "), fg="cyan", bold=True) + hint, err=True, color=colour)
