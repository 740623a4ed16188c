"""What a YAML document is made of, and the errors that point into one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from machinespawn.errors import MachinespawnError, RecipeError
from machinespawn.text import _

NODE_WEIGHT = 100
"""What a value counts besides its characters."""

REPLACE, APPEND = "!replace", "!append"

_NULL = re.compile(r"|~|null|Null|NULL")
_SWITCH = re.compile(r"true|True|TRUE|false|False|FALSE")
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?")
_PLAIN_KEY = re.compile(r"[\w./@:+<-]{1,64}")
LONGEST = 64
"""Characters of a hostile word that are shown and compared."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value, as it is written."""

    text: str
    place: Place
    plain: bool = False
    """Neither quoted nor a block: true, 12 and null mean something else than texts."""
    block: bool = False
    """Its first line is the one after ``place``."""
    rendered: bool = False
    """It came out of a template, so it may stand for a switch or a number."""
    weight: int = NODE_WEIGHT

    @property
    def kind(self) -> str:
        """null, switch, number or text."""
        if not self.plain:
            return "text"
        for kind, pattern in (("null", _NULL), ("switch", _SWITCH), ("number", _NUMBER)):
            if pattern.fullmatch(self.text):
                return kind
        return "text"


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple[Node, ...]
    place: Place
    tag: str = ""
    weight: int = NODE_WEIGHT


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; ``places`` are those of the keys."""

    entries: dict[str, Node]
    places: dict[str, Place]
    place: Place
    tag: str = ""
    weight: int = NODE_WEIGHT


Node = Scalar | Items | Table


def fault(
    place: Place | str, key: str, problem: str, hint: str = "", error: type[MachinespawnError] = RecipeError
) -> MachinespawnError:
    """The error that says what is wrong with the value of a dotted key, and where."""
    return error(": ".join(part for part in (str(place), key, problem) if part), hint)


def dotted(parent: str, key: str) -> str:
    """The name of a key inside another; one that a terminal might choke on is quoted."""
    shown = key if _PLAIN_KEY.fullmatch(key) else repr(key[:LONGEST])
    return f"{parent}.{shown}" if parent else shown


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The hint for a word that is not among the known ones; empty when none is close."""
    close = difflib.get_close_matches(word[:LONGEST], list(known), n=1, cutoff=0.6)
    return _("did you mean {word}?").format(word=close[0]) if close else ""


def unknown(word: str, known: Sequence[str]) -> str:
    """The hint for a word that is not among the known ones, which are listed when none is close."""
    return did_you_mean(word, known) or _("known are: {words}").format(words=", ".join(known))


_TRUE = ("true", "yes", "on")
_FALSE = ("false", "no", "off")


def switch(node: Scalar) -> bool | None:
    """What a switch says; None for what is none."""
    return {word: word in _TRUE for word in (*_TRUE, *_FALSE)}.get(node.text.lower())
