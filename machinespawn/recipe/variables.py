"""The variables that templates see: built-in ones, declared ones, and what -D says of those."""

from __future__ import annotations

import re
from collections.abc import Mapping

from machinespawn.errors import UsageError
from machinespawn.nodes import Scalar, fault, switch, unknown
from machinespawn.recipe.names import TEXT, VARIABLE
from machinespawn.recipe.section import Section
from machinespawn.recipe.template import Renderer, Value
from machinespawn.text import _

_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
"""Numbers that come out as they went in: 0123 stays a text."""


def renderer(variables: Section, given: Mapping[str, str], builtins: Mapping[str, str]) -> Renderer:
    """What renders the recipe. Raises RecipeError for a wrong default, UsageError for a wrong -D.

    A default may use the built-in variables and those declared before it.
    """
    declared = variables.table.entries
    _check_given(given, tuple(declared), builtins)
    values: dict[str, Value] = {name: value for name, value in builtins.items() if value}
    missing: list[str] = []
    for name, node in declared.items():
        key = f"{variables.key}.{name}"
        place = variables.table.places[name]
        if not VARIABLE.fits(name):
            hint = _("use lower-case letters, digits and _, a letter first")
            raise fault(place, key, _("cannot be the name of a variable"), hint)
        if name in builtins:
            raise fault(place, key, _("is there already, with a meaning of its own"), _("choose another name"))
        if not isinstance(node, Scalar):
            raise fault(node.place, key, _("is a list or mapping"), _("a variable is a text, a number, true or false"))
        if name in given:
            values[name] = _given(name, given[name], node)
        elif node.kind == "null":
            missing.append(name)
        else:
            values[name] = _typed(Renderer(dict(values), tuple(missing)).scalar(node, key))
    return Renderer(values, tuple(missing))


def _check_given(given: Mapping[str, str], declared: tuple[str, ...], builtins: Mapping[str, str]) -> None:
    for name in given:
        if name in builtins:
            raise UsageError(_("-D {name}: this variable cannot be set").format(name=name), unknown(name, declared))
        if name not in declared:
            problem = _("-D {name}: the recipe declares no such variable").format(name=repr(name[:64])[1:-1])
            raise UsageError(problem, unknown(name, declared) if declared else _("it declares none at all"))


def _typed(node: Scalar) -> Value:
    match node.kind:
        case "switch":
            return bool(switch(node))
        case "number" if _WHOLE.fullmatch(node.text):
            return int(node.text)
        case _:
            return node.text


def _given(name: str, text: str, default: Scalar) -> Value:
    """The value of -D, of the type that the default has."""
    written = Scalar(text, default.place, plain=True)
    match _typed(default):
        case bool():
            value = switch(written)
            if value is None:
                raise UsageError(_("-D {name}: {text!r} is neither true nor false").format(name=name, text=text[:64]))
            return value
        case int():
            number = _typed(written)
            if isinstance(number, bool) or not isinstance(number, int):
                raise UsageError(_("-D {name}: {text!r} is no whole number").format(name=name, text=text[:64]))
            return number
        case _ if not TEXT.fits(text):
            raise UsageError(_("-D {name}: holds a NUL or is too long").format(name=name))
        case _:
            return text
