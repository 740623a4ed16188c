"""Strict YAML in which every value knows its file and line.

Stricter than YAML asks for: one document, one mapping at its top, no key
twice, keys are texts, no tags but !replace and !append. What a value is (text,
switch, number) is decided by who reads it, not by YAML's guess, so 22.10 stays
22.10. Size, depth and what aliases multiply are bounded.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from machinespawn.errors import MachinespawnError, NotFoundError, RecipeError, UsageError
from machinespawn.nodes import (
    APPEND,
    LONGEST,
    NODE_WEIGHT,
    REPLACE,
    Items,
    Node,
    Place,
    Scalar,
    Table,
    dotted,
    fault,
    switch,
    unknown,
)
from machinespawn.text import _

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_WEIGHT = 5_000_000
"""Characters of a document with every alias written out, each value counting NODE_WEIGHT more."""


def read_text(path: Path, error: type[MachinespawnError] = RecipeError) -> tuple[str, os.stat_result]:
    """The text of a regular file and the status of that very file. Never blocks."""
    try:
        with open(path, "rb", opener=_open) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise fault(str(path), "", _("is no regular file"), "", error)
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise NotFoundError(_("{path} does not exist").format(path=path)) from None
    except OSError as problem:
        raise fault(str(path), "", _("cannot be read: {problem}").format(problem=problem.strerror), "", error) from None
    if len(data) > MAX_BYTES:
        raise fault(str(path), "", _("is larger than {size} bytes").format(size=MAX_BYTES), "", error)
    try:
        return data.decode("utf-8-sig"), status
    except UnicodeDecodeError as problem:
        place = Place(str(path), data[: problem.start].count(b"\n") + 1)
        raise fault(place, "", _("is not UTF-8"), _("save the file as UTF-8"), error) from None


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)  # a pipe without a writer must not hold us up


def parse(text: str, file: str, error: type[MachinespawnError] = RecipeError) -> Table:
    """The one mapping that a YAML text is. Raises ``error`` with file, line and dotted key."""
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Composer(yaml.parse(text, Loader=loader), file, error).document()
    except yaml.MarkedYAMLError as problem:
        mark: Any = problem.problem_mark or problem.context_mark
        place = Place(file, mark.line + 1 if mark else 1)
        what = " ".join(part for part in (problem.context, problem.problem) if part)
        hint = _("YAML is indented with spaces, never with tabs") if _has_tab(text, place.line) else ""
        raise fault(place, "", _("is not YAML: {problem}").format(problem=what), hint, error) from None
    except yaml.YAMLError as problem:
        what = str(problem).splitlines()[0]
        raise fault(file, "", _("is not YAML: {problem}").format(problem=what), "", error) from None


def _has_tab(text: str, line: int) -> bool:
    lines = text.splitlines()
    return line <= len(lines) and re.match(r"\s*\t", lines[line - 1]) is not None


class _Composer:
    """Turns the parser's events into nodes; recursion is as deep as MAX_DEPTH allows and no deeper."""

    def __init__(self, events: Iterator[yaml.Event], file: str, error: type[MachinespawnError]) -> None:
        self._events = events
        self._file = file
        self._error = error
        self._anchors: dict[str, Node | None] = {}
        self._depth = 0
        self._weight = 0

    def document(self) -> Table:
        next(self._events)  # the stream begins
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            raise self._fault(event, "", _("is empty"))
        top = self._node(next(self._events), "")
        next(self._events)  # the document ends
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise self._fault(event, "", _("holds a second document"), _("one file, one document: remove the ---"))
        if isinstance(top, Scalar) and top.kind == "null":
            raise fault(top.place, "", _("is empty"), "", self._error)
        if not isinstance(top, Table):
            raise fault(top.place, "", _("is no mapping"), _("write lines of the form  key: value"), self._error)
        return top

    def _fault(self, event: yaml.Event, key: str, problem: str, hint: str = "") -> MachinespawnError:
        return fault(self._place(event), key, problem, hint, self._error)

    def _place(self, event: Any) -> Place:
        return Place(self._file, event.start_mark.line + 1)

    def _node(self, event: yaml.Event, key: str) -> Node:
        node: Node
        match event:
            case yaml.AliasEvent():
                return self._alias(event, key)
            case yaml.ScalarEvent():
                self._check_tag(event, key, ("tag:yaml.org,2002:str", "!"))
                plain = event.style in (None, "") and not event.tag
                weight = self._weigh(event, key, NODE_WEIGHT + len(event.value))
                node = Scalar(event.value, self._place(event), plain, event.style in ("|", ">"), weight=weight)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                node = self._nested(event, key)
            case _:
                raise self._fault(event, key, _("is not YAML"))
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _nested(self, event: yaml.SequenceStartEvent | yaml.MappingStartEvent, key: str) -> Items | Table:
        self._check_tag(event, key, (REPLACE, APPEND))
        if event.anchor:
            self._anchors[event.anchor] = None  # until it is complete
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._fault(event, "", _("is nested more than {depth} deep").format(depth=MAX_DEPTH))
        node = self._items(event, key) if isinstance(event, yaml.SequenceStartEvent) else self._table(event, key)
        self._depth -= 1
        return node

    def _items(self, event: yaml.SequenceStartEvent, key: str) -> Items:
        items: list[Node] = []
        weight = self._weigh(event, key, NODE_WEIGHT)
        while not isinstance(inner := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(inner, f"{key}[{len(items)}]"))
            weight += items[-1].weight
        return Items(tuple(items), self._place(event), event.tag or "", weight)

    def _table(self, event: yaml.MappingStartEvent, key: str) -> Table:
        entries: dict[str, Node] = {}
        places: dict[str, Place] = {}
        merged: list[Table] = []
        weight = self._weigh(event, key, NODE_WEIGHT)
        while not isinstance(inner := next(self._events), yaml.MappingEndEvent):
            name, place = self._key(inner, key), self._place(inner)
            inside = dotted(key, name)
            if name in places:
                problem = _("is said twice, first in line {line}").format(line=places[name].line)
                raise fault(place, inside, problem, _("keep one of them"), self._error)
            places[name] = place
            value = self._node(next(self._events), inside)
            weight += value.weight
            if name == "<<":
                merged = self._merged(value, inside)
            else:
                entries[name] = value
        places.pop("<<", None)
        for table in merged:
            entries = {**table.entries, **entries}
            places = {**table.places, **places}
        return Table(entries, places, self._place(event), event.tag or "", weight)

    def _key(self, event: yaml.Event, key: str) -> str:
        if isinstance(event, yaml.MappingStartEvent):
            hint = _('a template that begins a value is quoted: "{{ name }}"')
            raise self._fault(event, key, _("has a mapping for a key"), hint)
        if not isinstance(event, yaml.ScalarEvent):
            raise self._fault(event, key, _("has a key that is no text"))
        name = self._node(event, key)
        if not isinstance(name, Scalar) or name.kind != "text":
            shown = event.value[:LONGEST] or "null"
            problem = _("key {key!r} is no text").format(key=shown)
            raise self._fault(event, key, problem, _('write it in quotes: "{key}"').format(key=shown))
        return name.text

    def _merged(self, value: Node, key: str) -> list[Table]:
        """The mappings that << brings in; what the first one says, wins."""
        tables = value.items if isinstance(value, Items) else (value,)
        wrong = next((table for table in tables if not isinstance(table, Table)), None)
        if wrong is not None:
            raise fault(wrong.place, key, _("takes a mapping, or a list of mappings"), "", self._error)
        return [table for table in tables if isinstance(table, Table)]

    def _alias(self, event: yaml.AliasEvent, key: str) -> Node:
        if event.anchor not in self._anchors:
            raise self._fault(event, key, _("there is no anchor &{name} above").format(name=event.anchor))
        node = self._anchors[event.anchor]
        if node is None:
            raise self._fault(event, key, _("*{name} contains itself").format(name=event.anchor))
        self._weigh(event, key, node.weight)
        return node

    def _weigh(self, event: yaml.Event, key: str, weight: int) -> int:
        """Count what is added, aliases written out, so that a few lines cannot become gigabytes."""
        self._weight += weight
        if self._weight > MAX_WEIGHT:
            raise self._fault(event, key, _("makes the document too large"))
        return weight

    def _check_tag(self, event: Any, key: str, allowed: tuple[str, ...]) -> None:
        if event.tag and event.tag not in allowed:
            hint = _("tags are !replace and !append, before a list or mapping")
            raise self._fault(event, key, _("unknown tag {tag!r}").format(tag=event.tag[:LONGEST]), hint)


def read_settings(path: Path, known_keys: Sequence[str]) -> dict[str, tuple[Any, str]]:
    """Key -> (value, file:line) of a file of settings. Raises UsageError.

    Values are str, int, bool, lists and dicts of them; null is an error.
    """
    text, _status = read_text(path, UsageError)
    if not re.search(r"^[^#\s]", text, re.MULTILINE):
        return {}  # all commented out, as a shipped example is
    top = parse(text, str(path), UsageError)
    settings = {}
    for key, node in top.entries.items():
        if key not in known_keys:
            raise fault(top.places[key], dotted("", key), _("unknown key"), unknown(key, known_keys), UsageError)
        settings[key] = (_plain(node, dotted("", key)), str(top.places[key]))
    return settings


def _plain(node: Node, key: str) -> Any:
    match node:
        case Table():
            return {name: _plain(value, dotted(key, name)) for name, value in node.entries.items()}
        case Items():
            return [_plain(value, f"{key}[{index}]") for index, value in enumerate(node.items)]
        case Scalar(kind="null"):
            raise fault(node.place, key, _("has no value"), _("remove the line or write a value"), UsageError)
        case Scalar(kind="number") if "." not in node.text and len(node.text) < 19:
            return int(node.text)
        case Scalar() if node.plain and switch(node) is not None:
            return switch(node)
        case _:
            return node.text
