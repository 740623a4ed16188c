"""How a child's mapping and its parent's become one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from machinespawn.nodes import APPEND, REPLACE, Items, Node, Scalar, Table

NOT_INHERITED = ("extends", "abstract", "aliases", "description")
SOURCES = ("apt", "tarball")
"""Lists under these say where things are; a child that says it anew does not mean the old places too."""


def merged(tables: Sequence[Table]) -> Table:
    """What a recipe says in the end; ``tables`` are its own, its parent's, and so on."""
    *children, result = tables
    for child in reversed(children):
        result = _table(_heritage(result), child, append=True)
    return result


def _heritage(parent: Table) -> Table:
    entries = {name: node for name, node in parent.entries.items() if name not in NOT_INHERITED}
    return dataclasses.replace(parent, entries=entries)


def _table(parent: Table, child: Table, append: bool) -> Table:
    """Key by key; ``append`` says what an untagged list of the child does."""
    entries = dict(parent.entries)
    for name, node in child.entries.items():
        entries[name] = _node(entries[name], node, append and name not in SOURCES) if name in entries else node
    return Table(entries, {**parent.places, **child.places}, child.place)


def _node(parent: Node, child: Node, append: bool) -> Node:
    match parent, child:
        case _, Items(tag=tag) | Table(tag=tag) if tag == REPLACE:
            return child
        case Table(), Table():
            return _table(parent, child, append)
        case Items(), Items() if append or child.tag == APPEND:
            return dataclasses.replace(child, items=(*parent.items, *child.items))
        case Scalar(), Items() if child.tag == APPEND:
            return dataclasses.replace(child, items=(parent, *child.items))
        case _:
            return child
