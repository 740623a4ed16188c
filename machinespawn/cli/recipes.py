"""recipes list, show, check."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import click

from machinespawn.cli.answer import as_json, give, table
from machinespawn.cli.call import Call, command, group
from machinespawn.errors import MachinespawnError, RecipeError
from machinespawn.text import _

if TYPE_CHECKING:
    from machinespawn.recipe.catalog import Entry


@command("list", root=False, help=_("List the recipes, your own first."))
def list_recipes(call: Call) -> None:
    """Every recipe on the search path."""
    from machinespawn.recipe import catalog

    entries = catalog.entries(call.config())
    give(call, entries, lambda: _entries(entries))


@command("show", root=False, help=_("Show a recipe as it is resolved: extends, variables and templates done."))
@click.argument("recipe")
@click.option("-D", "--define", "variables", multiple=True, metavar="NAME=VALUE", help=_("A variable of the recipe."))
def show(call: Call, recipe: str, variables: tuple[str, ...]) -> None:
    """One recipe, resolved."""
    from machinespawn.cli.build import definitions
    from machinespawn.recipe import load

    resolved = load.load(recipe, call.config(), variables=dict(definitions(variables)))

    give(call, resolved, lambda: _resolved(as_json(resolved)))


@command("check", root=False, help=_("Check recipes: those named (or files), or every one there is."))
@click.argument("recipes", nargs=-1)
def check(call: Call, recipes: tuple[str, ...]) -> None:
    """Load each; every mistake is told, not only the first."""
    from machinespawn.recipe import catalog, load

    config = call.config()
    names = recipes or tuple(entry.name for entry in catalog.entries(config))
    wrong: list[MachinespawnError] = []
    for name in names:
        try:
            load.load(name, config)
        except MachinespawnError as error:
            wrong.append(error)
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        told = "\n".join(f"{error.message} ({error.hint})" if error.hint else error.message for error in wrong)
        raise RecipeError(_("{count} recipes are wrong:\n{told}").format(count=len(wrong), told=told))
    give(call, {"checked": names}, lambda: print(_("{count} recipes are fine").format(count=len(names))))


recipes = group(
    "recipes", list_recipes, (show, check), help=_("List, show and check recipes. Without a word of its own: list.")
)


def _entries(entries: tuple[Entry, ...]) -> None:
    rows, today = [], date.today()
    for entry in entries:
        remarks = [_("wrong: see machinespawn recipes check")] if entry.error else []
        if entry.unproven:
            remarks.append(_("unproven"))
        if entry.end_of_life:
            text = _("until {date}") if entry.end_of_life >= today else _("ended {date}")
            remarks.append(text.format(date=entry.end_of_life))
        if entry.origin != "shipped":
            remarks.append(entry.path)
        rows.append((entry.name, entry.description, ", ".join(entry.aliases), ", ".join(remarks)))
    table((_("recipe"), _("what"), _("aliases"), _("remarks")), rows)


def _resolved(recipe: dict[str, Any]) -> None:
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def text(dumper: Dumper, value: str) -> yaml.Node:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    print(yaml.dump(_said(recipe), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100), end="")


def _said(value: Any, name: str = "") -> Any:
    """The recipe without what it leaves empty; modes as people write them."""
    if isinstance(value, dict):
        said = {key: _said(item, key) for key, item in value.items()}
        return {key: item for key, item in said.items() if item not in ("", [], {}, None)}
    if isinstance(value, list):
        return [_said(item) for item in value]
    return f"{value:04o}" if name == "mode" else value
