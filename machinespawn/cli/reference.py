"""``python -m machinespawn.cli.reference`` prints docs/commands.md: every command's --help, and the exit statuses."""

from __future__ import annotations

from collections.abc import Iterator

import click

from machinespawn.cli.answer import INTERRUPTED
from machinespawn.cli.call import PROGRAM
from machinespawn.cli.main import commands
from machinespawn.errors import EXEC_FAILED, classes

WIDTH = 100
HEAD = """\
# Commands

Written by `python -m machinespawn.cli.reference`; change the help texts, not this file.

Every command takes `--json` and then prints one object on stdout,
`{"success": true, "data": …, "error": null}` or
`{"success": false, "data": null, "error": {"code", "message", "hint", "exit_code"}}`,
and its progress as one object per line on stderr, `{"event", "text", "depth", "seconds"}`, where event is
start, done, failed, note or warning. Where a command in a machine would have the streams (`exec`, `shell`,
`run NAME -- CMD`), its data are `{"status", "stdout", "stderr"}`.
"""
STATUSES = """\
## Exit status

Text on stderr, and `exit_code` in the envelope. `exec`, `shell` and `run NAME -- CMD` end with the status of the
command that they ran, 128 + N if signal N ended it.

| status | code | when |
|---|---|---|
| 0 | | it worked |
"""


def reference() -> str:
    """The whole document."""
    return "\n".join([HEAD, *_sections(), STATUSES + "".join(_statuses())])


def _sections() -> Iterator[str]:
    top = click.Context(
        commands, info_name=PROGRAM, max_content_width=WIDTH, terminal_width=WIDTH, **commands.context_settings
    )
    yield _section(top)
    for name in commands.list_commands(top):
        command = commands.get_command(top, name)
        assert command is not None
        context = click.Context(command, top, info_name=name)
        yield _section(context)
        if isinstance(command, click.Group):
            for sub in command.list_commands(context):
                yield _section(click.Context(command.commands[sub], context, info_name=sub))


def _section(context: click.Context) -> str:
    return f"## {context.command_path}\n\n```\n{context.get_help()}\n```\n"


def _statuses() -> Iterator[str]:
    rows = [(cls.exit_code, cls("").code, (cls.__doc__ or "").partition("\n")[0]) for cls in classes().values()]
    rows[0] = (1, "machinespawn", "anything else, mistakes of machinespawn's own among it")
    rows.append((EXEC_FAILED, "any of these", "machinespawn itself failed where the status is the command's own"))
    rows.append((INTERRUPTED, "interrupted", "Ctrl-C"))
    for status, code, when in sorted(rows):
        yield f"| {status} | {code} | {when.rstrip('.')} |\n"


if __name__ == "__main__":
    print(reference(), end="")
