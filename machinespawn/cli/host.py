"""config, doctor, version: what holds on this host."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from machinespawn import __version__
from machinespawn.cli.answer import as_json, give, table
from machinespawn.cli.call import PROGRAM, Call, command, group
from machinespawn.errors import MissingToolError
from machinespawn.text import _

if TYPE_CHECKING:
    from machinespawn.config import Setting
    from machinespawn.host.doctor import Check


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


@command(
    "doctor", root=False, help=_("Check this host: tools, kernel features, keyrings; and say what brings the rest.")
)
def doctor(call: Call) -> int:
    """Everything looked at, and the one command that helps."""
    from machinespawn.host import doctor

    checks = doctor.examine(call.config())
    fix = doctor.fix(checks)
    missing = [check.name for check in checks if check.needed and not check.ok]
    error = None
    if missing:
        error = MissingToolError(_("this host lacks {names}").format(names=", ".join(missing)), fix)
    data = {"checks": [{**as_json(check), "fix": check.fix} for check in checks], "fix": fix}
    return give(call, data, lambda: _checks(checks, "" if error else fix), error)


def _checks(checks: tuple[Check, ...], fix: str) -> None:
    words = {(True, True): _("ok"), (True, False): _("ok"), (False, True): _("MISSING"), (False, False): _("missing")}
    rows = [(words[check.ok, check.needed], check.name, check.found, check.purpose) for check in checks]
    table((_("state"), _("what"), _("found"), _("for")), rows)
    if fix:
        print(_("\nmachines can be built and run here; what is missing besides comes with:\n  {fix}").format(fix=fix))


@command("version", root=False, help=_("Show the version."))
def version(call: Call) -> None:
    """Ours, and Python's."""
    versions = {"machinespawn": __version__, "python": platform.python_version()}
    give(call, versions, lambda: print(f"{PROGRAM} {__version__}"))
