"""list, show, logs, remove."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from machinespawn.cli.answer import as_json, give, table
from machinespawn.cli.call import Call, command
from machinespawn.cli.voice import settle
from machinespawn.errors import NotFoundError, UsageError
from machinespawn.text import _

if TYPE_CHECKING:
    from machinespawn.config import Config
    from machinespawn.machines.status import Details, Status


@command("list", root=False, help=_("List the machines: what they are made of, and which of them run."))
def list_machines(call: Call) -> None:
    """Every machine."""
    from machinespawn.machines import lifecycle

    machines = lifecycle.list_machines(call.config())
    give(call, machines, lambda: _list(machines))


def _list(machines: tuple[Status, ...]) -> None:
    rows = [
        (
            machine.name,
            machine.state,
            _duration(machine.uptime),
            machine.recipe or "-",
            machine.os or "-",
            str(machine.leader or "-"),
        )
        for machine in machines
    ]
    table((_("machine"), _("state"), _("up"), _("recipe"), _("system"), _("pid")), rows)


def _duration(seconds: float | None) -> str:
    """As people read it: its two largest units."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{number}{unit}" for number, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")) if number]
    return " ".join(parts[:2]) or "0s"


@command("show", root=False, help=_("Show all that is known of a machine."))
@click.argument("name")
def show(call: Call, name: str) -> None:
    """One machine."""
    from machinespawn.machines import lifecycle

    details = lifecycle.show(call.config(), name)
    give(call, details, lambda: _show(details))


def _show(details: Details) -> None:
    told = {**as_json(details.status), **as_json(details)}
    told |= {
        "uptime": _duration(details.status.uptime),
        "cgroups": [str(path) for path in details.cgroups[:1]],  # the others are of the same name
        "layers": [key[:12] for key in details.spec.layers] if details.spec else [],
    }
    for name, value in told.items():
        if name not in ("status", "spec"):
            print(f"{name:10}  {_word(value)}")


def _word(value: Any) -> str:
    """A value for people."""
    match value:
        case None | "" | []:
            return "-"
        case bool():
            return _("yes") if value else _("no")
        case list():
            return ", ".join(map(str, value))
    return str(value)


@command("logs", help=_("Show a machine's journal, or its console; of a machine that stopped or crashed as well."))
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help=_("Go on with what comes, until Ctrl-C."))
@click.option("-n", "--lines", type=click.IntRange(min=0), metavar="N", help=_("Only the last N lines."))
@click.option(
    "--since", default="", metavar="TIME", help=_("As journalctl takes it: yesterday, -1h, 2024-01-31 12:00.")
)
@click.option("--unit", default="", metavar="UNIT", help=_("Only this unit."))
@click.option("--console", is_flag=True, help=_("What the last boot wrote to the console instead."))
def logs(call: Call, name: str, follow: bool, lines: int | None, since: str, unit: str, console: bool) -> int:
    """What the machine had to say."""
    from machinespawn.machines import lifecycle

    config = call.config()
    if call.json:
        if follow:
            raise UsageError(_("--follow has no end, and --json is one object"), _("leave one of them away"))
        return give(call, _entries(config, name, lines, since, unit, console), lambda: None)
    told = lifecycle.logs(config, name, lines=lines, follow=follow, since=since, unit=unit, console=console)
    settle(call.voice)
    try:
        _print(told)
    except KeyboardInterrupt:
        if not follow:
            raise
    return 0


def _entries(config: Config, name: str, lines: int | None, since: str, unit: str, console: bool) -> dict[str, Any]:
    """The journal's own objects, or lines of the console."""
    from machinespawn.machines import lifecycle

    if not console:
        try:
            told = lifecycle.logs(config, name, lines=lines, since=since, unit=unit, as_json=True)
            return {"source": "journal", "entries": [json.loads(line) for line in told]}
        except NotFoundError:
            if since or unit:
                raise
    told = lifecycle.logs(config, name, lines=lines, console=console)
    return {"source": "console", "entries": list(told)}


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


@command("remove", help=_("Remove a machine: its tree and all that is kept of it."))
@click.argument("name")
@click.option("-f", "--force", is_flag=True, help=_("Though it runs: it is killed first."))
def remove(call: Call, name: str, force: bool) -> None:
    """One machine less."""
    from machinespawn.machines import lifecycle

    lifecycle.remove(call.config(), name, force=force)
    give(call, {"name": name}, lambda: print(_("{name} is gone").format(name=name)))
