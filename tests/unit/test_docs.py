"""The generated documents say what the program does."""

from __future__ import annotations

from machinespawn.cli import main, reference
from machinespawn.recipe import names
from tests.command_line import CHECKOUT


def test_commands_are_up_to_date() -> None:
    written = (CHECKOUT / "docs/commands.md").read_text()
    # where lines break depends on the version of click
    assert written.split() == reference.reference().split(), "python -m machinespawn.cli.reference > docs/commands.md"


def test_the_table_and_the_commands_agree() -> None:
    context = main.click.Context(main.commands)
    for name in main.COMMANDS:
        command = main.commands.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.help


def test_no_recipe_can_be_called_like_a_command() -> None:
    assert set(main.COMMANDS) <= set(names.COMMANDS)
