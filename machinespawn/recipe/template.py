"""Jinja2 in the texts of a recipe."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from machinespawn.document import MAX_BYTES
from machinespawn.nodes import Place, Scalar, did_you_mean, fault
from machinespawn.text import _

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

Value = str | int | bool
_MARKS = ("{{", "{%", "{#")
_UNDEFINED = re.compile(r"'(\w+)' is undefined")


def is_template(text: str) -> bool:
    """Whether rendering could change it; spares jinja2's import where nothing does."""
    return any(mark in text for mark in _MARKS)


@dataclass(frozen=True)
class Renderer:
    """Renders with these variables; ``missing`` are declared but have no value yet."""

    values: Mapping[str, Value]
    missing: tuple[str, ...] = ()

    def scalar(self, node: Scalar, key: str) -> Scalar:
        """The value with its templates filled in. Raises RecipeError with file, line and key."""
        if not is_template(node.text):
            return node
        first = Place(node.place.file, node.place.line + 1) if node.block else node.place
        text = self.text(node.text, first, key)
        return dataclasses.replace(node, text=text, plain=False, rendered=True)

    def text(self, text: str, first: Place, key: str) -> str:
        """A text whose first line stands at ``first``, with its templates filled in."""
        from jinja2 import TemplateSyntaxError, UndefinedError

        try:
            result = _environment().from_string(text).render(self.values)
        except TemplateSyntaxError as problem:
            place = Place(first.file, first.line + problem.lineno - 1)
            hint = _("a text that is no template goes between {% raw %} and {% endraw %}")
            raise fault(place, key, _("wrong template: {problem}").format(problem=problem.message), hint) from None
        except UndefinedError as problem:
            raise self._undefined(str(problem.message), text, first, key) from None
        except Exception as problem:  # whatever the template's own expressions raise
            what = f"{type(problem).__name__}: {problem}"
            raise fault(first, key, _("template failed: {problem}").format(problem=what)) from None
        if len(result) > MAX_BYTES:
            raise fault(first, key, _("the template's text is larger than {size} bytes").format(size=MAX_BYTES))
        return result

    def _undefined(self, problem: str, text: str, first: Place, key: str) -> Exception:
        match = _UNDEFINED.search(problem)
        name = match[1] if match else ""
        lines = [number for number, line in enumerate(text.splitlines()) if name and name in line]
        place = Place(first.file, first.line + (lines[0] if lines else 0))
        if name in self.missing:
            hint = _("give it a value: -D {name}=VALUE").format(name=name)
        elif name == "codename":
            hint = _("the recipe has none: write a line  codename: …")
        else:
            hint = did_you_mean(name, self.values) or _("declare it under variables")
        return fault(place, key, problem, hint)


@functools.cache
def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
