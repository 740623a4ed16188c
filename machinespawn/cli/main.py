"""The command line: finds the command (or the recipe), runs it, and ends with its status."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import click

from machinespawn import __version__
from machinespawn.cli import answer
from machinespawn.cli.call import PROGRAM, Call
from machinespawn.errors import NotFoundError
from machinespawn.text import _

COMMANDS = {
    "bootstrap": ("build:bootstrap", _("Build a machine from a recipe: what RECIPE NAME alone means too.")),
    "plan": ("build:plan", _("Show the stages of a build, which are cached, and why the others are not.")),
    "pull-tar": ("build:pull_tar", _("Make a machine from a tar, Docker or OCI archive.")),
    "recipes": ("recipes:recipes", _("List, show and check recipes.")),
    "clean-cache": ("build:clean_cache", _("Free layers and downloads that no machine needs.")),
    "run": ("running:run", _("Boot a machine, or run one command in it.")),
    "exec": ("running:execute", _("Run a command in a machine, with its streams and exit status.")),
    "shell": ("running:shell", _("Open a shell in a machine.")),
    "stop": ("running:stop", _("Shut a machine down.")),
    "kill": ("running:kill", _("Send a signal to a machine's init.")),
    "list": ("machines:list_machines", _("List the machines.")),
    "show": ("machines:show", _("Show all that is known of a machine.")),
    "logs": ("machines:logs", _("Show a machine's journal or console.")),
    "remove": ("machines:remove", _("Remove a machine.")),
    "config": ("host:config", _("Show the settings in force and where each came from.")),
    "doctor": ("host:doctor", _("Check this host: tools, kernel features, keyrings.")),
    "version": ("host:version", _("Show the version.")),
}
"""Command -> (module:attribute below cli/, help): the help is here so that --help imports none of them."""


class Commands(click.Group):
    """Loads a command when it is used; an unknown first word is a recipe."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order of the table, which is the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command, if there is one of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _colon, attribute = COMMANDS[cmd_name][0].partition(":")
        found: click.Command = getattr(importlib.import_module(f"machinespawn.cli.{module}"), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the table's own help texts."""
        with formatter.section(_("Commands")):
            formatter.write_dl([(name, text) for name, (_where, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """``RECIPE NAME …`` is ``bootstrap RECIPE NAME …``."""
        call, word = ctx.find_object(Call), args[0]
        if call is not None:
            call.exec_status = word in ("exec", "shell") or (word == "run" and "--" in args)
        if word in COMMANDS or word.startswith("-") or ctx.resilient_parsing or call is None:
            return super().resolve_command(ctx, args)
        known_recipe(call, word)
        return "bootstrap", self.get_command(ctx, "bootstrap"), args


def known_recipe(call: Call, word: str) -> None:
    """Raise NotFoundError, with names that come near, if word is no recipe."""
    from machinespawn.nodes import did_you_mean
    from machinespawn.recipe import catalog

    config = call.config()
    try:
        catalog.find(word, config)
    except NotFoundError:
        if "/" in word:
            raise  # a file: what the catalog says of it is all there is to say
        recipes = [name for entry in catalog.entries(config) for name in (entry.name, *entry.aliases)]
        raise NotFoundError(
            _("{word!r} is neither a command nor a recipe").format(word=word[:64]),
            did_you_mean(word, [*COMMANDS, *recipes])
            or _("machinespawn --help lists the commands, machinespawn recipes the recipes"),
        ) from None


@click.command(
    PROGRAM,
    cls=Commands,
    subcommand_metavar=_("COMMAND | RECIPE …"),
    context_settings={"help_option_names": ["-h", "--help"]},
    help=_(
        "Build and run systemd machines.\n\n"
        "\b\n"
        "  machinespawn debian-bookworm bread     build a machine called bread\n"
        "  machinespawn run bread                 boot it\n"
        "  machinespawn exec bread -- ls /        run a command in it\n\n"
        "'machinespawn COMMAND --help' tells more of each."
    ),
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=_("Configuration file instead of /etc/machinespawn.yaml."),
)
@click.option(
    "--root",
    type=click.Path(readable=False, path_type=Path),
    hidden=True,
    help=_("The root that every path hangs off."),
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
@click.pass_obj
def commands(call: Call, config_file: Path | None, root: Path | None) -> None:
    """Take the options that stand before the command."""
    call.config_file, call.root = config_file, root


def main() -> NoReturn:
    """Run the command line that this process was started with."""
    sys.exit(status_of(sys.argv[1:]))


def status_of(argv: list[str], run: Callable[..., object] = commands.main) -> int:
    """Run one command line and give its exit status."""
    call = Call.of(argv)
    try:
        result = run(argv, prog_name=PROGRAM, standalone_mode=False, obj=call)
    except (Exception, KeyboardInterrupt) as problem:  # the one place where anything is caught and told
        return answer.fail(call, problem)
    return result if isinstance(result, int) else 0
