"""One call of the program: what was typed, how it is to be answered, and what every command shares."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from machinespawn.errors import NotRootError
from machinespawn.text import _

if TYPE_CHECKING:
    from machinespawn.config import Config, Setting
    from machinespawn.progress import Voice

PROGRAM = "machinespawn"


@dataclass
class Call:
    """Filled in while the command line is parsed."""

    argv: tuple[str, ...]
    json: bool
    """Answer with the envelope; guessed from argv until the command has parsed its options."""
    verbosity: int = 0
    """-1 with --quiet, and one more for each --verbose."""
    root: Path | None = None
    config_file: Path | None = None
    voice: Voice | None = None
    exec_status: bool = False
    """The exit status belongs to the command that runs in the machine; failures of ours are EXEC_FAILED."""

    @classmethod
    def of(cls, argv: Sequence[str]) -> Call:
        """What can be told before anything is parsed."""
        ours = argv[: argv.index("--")] if "--" in argv else argv
        return cls(tuple(argv), json="--json" in ours)

    def settings(self, options: Mapping[str, Any] | None = None) -> tuple[Config, tuple[Setting, ...]]:
        """The configuration under these options, and where each value came from."""
        from machinespawn import config

        environment = dict(os.environ)
        if self.config_file:
            environment[f"{config.PREFIX}CONFIG"] = str(self.config_file)
        return config.load({"root": self.root, **(options or {})}, environment)

    def config(self, **options: Any) -> Config:
        """The configuration under these options."""
        return self.settings(options)[0]

    def require_root(self) -> None:
        """Raise NotRootError with the very command to use."""
        if os.geteuid() != 0:
            raise not_root(self)


def not_root(call: Call) -> NotRootError:
    """The error for one who is not root."""
    line = shlex.join((PROGRAM, *call.argv))
    return NotRootError(_("this needs root"), f"sudo {line}")


class CommandAfterName(click.Command):
    """NAME [--] CMD…: what follows NAME belongs to the machine, except options that stand before a ``--``."""

    allow_interspersed_args = False

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Move NAME behind the options that follow it, then parse as ever."""
        if "--" in args[1:] and not args[0].startswith("-") and args[1].startswith("-") and args[1] != "--":
            end = args.index("--")
            args = [*args[1:end], args[0], *args[end:]]
        left = super().parse_args(ctx, args)
        ctx.ensure_object(Call).json = ctx.params["as_json"]  # a --json further on is the command's own
        return left


def words(command: tuple[str, ...]) -> tuple[str, ...]:
    """The command without the ``--`` that divides it from NAME."""
    return command[1:] if command[:1] == ("--",) else command


_COMMON = (
    click.Option(["--json", "as_json"], is_flag=True, help=_("Answer with one JSON object; progress as JSON lines.")),
    click.Option(["-q", "--quiet"], is_flag=True, help=_("No progress, only warnings and errors.")),
    click.Option(["-v", "--verbose"], count=True, help=_("Show inner steps too, and tracebacks.")),
)


def command(
    name: str,
    *,
    help: str,
    root: bool = True,
    cls: type[click.Command] = click.Command,
    hidden: bool = False,
) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command of a function that takes the Call and its own options.

    ``root``: refuse everybody else before anything is done.
    """

    def decorate(function: Callable[..., Any]) -> click.Command:
        @functools.wraps(function)
        @click.pass_obj
        def run(call: Call, /, as_json: bool, quiet: bool, verbose: int, **options: Any) -> Any:
            prepare(call, as_json, quiet, verbose)
            if root:
                call.require_root()
            return function(call, **options)

        made = click.command(name, cls=cls, help=help, hidden=hidden, no_args_is_help=False)(run)
        made.params.extend(_COMMON)
        return made

    return decorate


def group(name: str, default: click.Command, others: Sequence[click.Command], *, help: str) -> click.Group:
    """Make a command of commands; without a word of its own it is ``default``."""

    @click.pass_context
    def choose(ctx: click.Context, as_json: bool, quiet: bool, verbose: int) -> Any:
        prepare(ctx.obj, as_json, quiet, verbose)
        return ctx.invoke(default) if ctx.invoked_subcommand is None else None

    made = click.Group(name, callback=choose, invoke_without_command=True, params=list(_COMMON), help=help)
    for command in (default, *others):
        made.add_command(command)
    return made


def prepare(call: Call, as_json: bool, quiet: bool, verbose: int) -> None:
    """Take over the common options: from here on the call knows how to answer, and progress is told."""
    from machinespawn import progress
    from machinespawn.cli import voice

    call.json = call.json or as_json
    call.verbosity += verbose - quiet
    call.voice = voice.choose(call.json, call.verbosity)
    progress.speak_with(call.voice)
