"""Typed, checked reading of a recipe's mapping: every refusal names file, line and dotted key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from machinespawn.errors import MachinespawnError
from machinespawn.nodes import Items, Node, Place, Scalar, Table, dotted, fault, switch, unknown
from machinespawn.recipe.model import Pairs
from machinespawn.recipe.names import Rule
from machinespawn.recipe.template import Renderer, is_template
from machinespawn.text import _

_NO_MAPPING = _("write lines of the form  key: value")


def check_keys(table: Table, key: str, known: Sequence[str]) -> None:
    """Raise RecipeError for the first key that is not known."""
    for name in table.entries:
        if name not in known:
            raise fault(table.places[name], dotted(key, name), _("unknown key"), unknown(name, known))


@dataclass(frozen=True)
class Section:
    """One mapping of a recipe and the dotted key that leads to it.

    ``render`` fills in templates; None where they are not allowed.
    """

    table: Table
    key: str
    render: Renderer | None

    def __contains__(self, name: str) -> bool:
        return name in self.table.entries

    def place(self, name: str) -> Place:
        """Where the value stands; the section itself, if it is not there."""
        node = self.table.entries.get(name)
        return node.place if node else self.table.place

    def fault(self, name: str, problem: str, hint: str = "") -> MachinespawnError:
        """The error about one of the keys."""
        return fault(self.place(name), dotted(self.key, name) if name else self.key, problem, hint)

    def need(self, *names: str) -> None:
        """Raise RecipeError unless all of these keys are there."""
        for name in names:
            if name not in self:
                raise self.fault(name, _("is missing"))

    def text(self, name: str, rule: Rule, default: str = "", *, empty: bool = True, template: bool = True) -> str:
        """A text that fits the rule, or ``""`` where ``empty`` allows it."""
        node = self.table.entries.get(name)
        if node is None:
            return default
        return self._checked(node, dotted(self.key, name), rule, empty, template)

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """One of the choices."""
        node = self.table.entries.get(name)
        if node is None:
            return default
        text = self._scalar(node, dotted(self.key, name), _("a text")).text
        if text not in choices:
            raise self.fault(name, _("{text!r} is none of the choices").format(text=text[:64]), unknown(text, choices))
        return text

    def switch(self, name: str, default: bool) -> bool:
        """true or false."""
        node = self.table.entries.get(name)
        if node is None:
            return default
        scalar = self._scalar(node, dotted(self.key, name), _("true or false"))
        value = switch(scalar) if scalar.plain or scalar.rendered else None
        if value is None:
            problem = _("{text!r} is neither true nor false").format(text=scalar.text[:64])
            raise self.fault(name, problem, _("write true or false, without quotes"))
        return value

    def number(self, name: str, low: int, high: int) -> int | None:
        """A whole number from low to high; None if it is not there."""
        node = self.table.entries.get(name)
        if node is None:
            return None
        scalar = self._scalar(node, dotted(self.key, name), _("a number"))
        text = scalar.text if scalar.plain or scalar.rendered else ""
        if not (text.isascii() and text.isdigit() and len(text) < 19 and low <= int(text) <= high):
            problem = _("{text!r} is no whole number from {low} to {high}")
            raise self.fault(name, problem.format(text=scalar.text[:64], low=low, high=high))
        return int(text)

    def octal(self, name: str, default: int) -> int:
        """A file's mode: 0644, 0o644 and "644" are the same."""
        node = self.table.entries.get(name)
        if node is None:
            return default
        text = self._scalar(node, dotted(self.key, name), _("a file's mode")).text
        digits = text.removeprefix("0o")
        if not 3 <= len(digits) <= 5 or not set(digits) <= set("01234567") or int(digits, 8) > 0o7777:
            raise self.fault(name, _("{text!r} is no file mode").format(text=text[:64]), _("such as 0644 or 0755"))
        return int(digits, 8)

    def texts(self, name: str, rule: Rule, *, single: bool = False, template: bool = True) -> tuple[str, ...]:
        """A list of texts that fit the rule; templates that come out empty are left out.

        With ``single``, one text is a list of one.
        """
        texts = [
            self._checked(node, key, rule, self._is_template(node), template) for key, node in self._items(name, single)
        ]
        return tuple(text for text in texts if text)

    def section(self, name: str, known: Sequence[str] | None) -> Section:
        """The mapping under a key; an empty one, if it is not there. None: any key is known."""
        inside = dotted(self.key, name)
        node = self.table.entries.get(name, Table({}, {}, self.table.place))
        return self._section(node, inside, known)

    def sections(self, name: str, known: Sequence[str]) -> tuple[Section, ...]:
        """A list of mappings."""
        return tuple(self._section(node, key, known) for key, node in self._items(name))

    def mixed(self, name: str, known: Sequence[str], rule: Rule) -> tuple[Section | str, ...]:
        """A list of mappings and of texts, which stand for mappings that say no more."""
        parts: list[Section | str] = []
        for key, node in self._items(name):
            if isinstance(node, Scalar):
                parts.append(self._checked(node, key, rule, self._is_template(node), True))
            else:
                parts.append(self._section(node, key, known))
        return tuple(part for part in parts if part)

    def pairs(self, name: str, names: Rule, values: Rule, *, empty: bool = False) -> Pairs:
        """A mapping whose keys and values fit their rules; values may be ``""`` where ``empty`` allows it."""
        section = self.section(name, None)
        for key, place in section.table.places.items():
            if not names.fits(key):
                raise fault(place, dotted(section.key, key), *_misfit(key, names))
        return tuple((key, section.text(key, values, empty=empty)) for key in section.table.entries)

    def _section(self, node: Node, key: str, known: Sequence[str] | None) -> Section:
        if not isinstance(node, Table):
            hint = _("its keys are: {keys}").format(keys=", ".join(known)) if known else _NO_MAPPING
            raise fault(node.place, key, _("is no mapping"), hint)
        if known is not None:
            check_keys(node, key, known)
        return Section(node, key, self.render)

    def _items(self, name: str, single: bool = False) -> tuple[tuple[str, Node], ...]:
        inside = dotted(self.key, name)
        match self.table.entries.get(name):
            case None:
                return ()
            case Items(items=items):
                return tuple((f"{inside}[{index}]", item) for index, item in _numbered(items))
            case Scalar(kind="text" | "number") as node if single:
                return ((inside, node),)
            case _:
                raise self.fault(name, _("is no list"), _("write [a, b], or one line beginning with - for each"))

    def _is_template(self, node: Node) -> bool:
        return isinstance(node, Scalar) and is_template(node.text)

    def _checked(self, node: Node, key: str, rule: Rule, empty: bool, template: bool) -> str:
        scalar = self._scalar(node, key, rule.what, template)
        if scalar.kind == "switch":
            hint = _('write it in quotes: "{text}"').format(text=scalar.text)
            raise fault(node.place, key, _("is true or false, not {what}").format(what=rule.what), hint)
        if not (rule.fits(scalar.text) if scalar.text else empty):
            raise fault(scalar.place, key, *_misfit(scalar.text, rule))
        return scalar.text

    def _scalar(self, node: Node, key: str, what: str, template: bool = True) -> Scalar:
        """The single value, its templates filled in."""
        if not isinstance(node, Scalar):
            raise fault(node.place, key, _("is a list or mapping, not {what}").format(what=what))
        if node.kind == "null":
            raise fault(node.place, key, _("has no value"), _('remove the line, or write a value; "" is empty'))
        if not is_template(node.text) or (not template and self.render):
            return node
        if self.render is None:
            raise fault(node.place, key, _("takes no template"), _("write the value itself"))
        return self.render.scalar(node, key)


def _numbered(items: tuple[Node, ...]) -> Iterator[tuple[int, Node]]:
    """Each with its number in the file that it comes from: a child's list follows its parent's."""
    counts: dict[str, int] = {}
    for item in items:
        index = counts.setdefault(item.place.file, 0)
        counts[item.place.file] += 1
        yield index, item


def _misfit(text: str, rule: Rule) -> tuple[str, str]:
    shown = text if len(text) <= 64 else text[:64] + "…"
    problem = _("{text!r} is not {what}").format(text=shown, what=rule.what)
    return problem, _("such as: {example}").format(example=rule.example)
