"""config, doctor, version: what holds on this host."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from machinespawn import __version__
from machinespawn.cli.answer import as_json, give, table
from machinespawn.cli.call import PROGRAM, Call, command, group
from machinespawn.text import _

if TYPE_CHECKING:
    from machinespawn.config import Setting


@command("show", root=False, help=_("Show each setting, its value and where that came from."))
def show(call: Call) -> None:
    """The settings in force."""
    _config, settings = call.settings()

    def tell() -> None:
        table((_("setting"), _("value"), _("from")), [(it.name, _text(it), it.origin) for it in settings])

    give(call, settings, tell)


config = group("config", show, (), help=_("Show the settings in force and where each came from."))


def _text(setting: Setting) -> str:
    """As it is written in the environment, from where it could come."""
    value: Any = as_json(setting.value)
    match setting.name, value:
        case "mirrors", list():
            return " ".join("=".join(pair) for pair in value)
        case _, list():
            return ":".join(value)
        case _, None:
            return ""
        case _, bool():
            return str(value).lower()
    return str(value)


@command("version", root=False, help=_("Show the version."))
def version(call: Call) -> None:
    """Ours, and Python's."""
    versions = {"machinespawn": __version__, "python": platform.python_version()}
    give(call, versions, lambda: print(f"{PROGRAM} {__version__}"))
