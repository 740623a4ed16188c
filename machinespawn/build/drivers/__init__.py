"""Drivers: modules that make the lowest layer of a machine, each with NAME, version() and build(job)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Protocol, cast

from machinespawn.build.apt import Apt
from machinespawn.errors import MissingToolError, UsageError
from machinespawn.recipe.model import AptSource
from machinespawn.text import _

AUTO = ("mmdebstrap", "debootstrap")
"""The faster first: mmdebstrap takes half the time of debootstrap for the same packages."""

VARIANTS = {
    "minbase": ("required",),
    "important": ("required", "important"),
    "standard": ("required", "important", "standard"),
    "buildd": ("required",),
}
"""Variant -> the package priorities it holds; buildd adds build-essential."""


@dataclass(frozen=True)
class Job:
    """One bootstrap: what goes into the tree mounted at apt.space.root."""

    source: AptSource
    apt: Apt
    variant: str
    packages: tuple[str, ...]


class Driver(Protocol):
    """What a driver module offers."""

    NAME: str

    def version(self) -> str:
        """Of the program behind it: part of a layer's key."""
        ...

    def build(self, job: Job) -> None:
        """Fill the empty tree. Raises ProgramError with what the program printed last."""
        ...


def load(name: str) -> Driver:
    """The driver of that name; auto gives the fastest one whose program is installed."""
    if name != "auto" and name not in AUTO:
        raise UsageError(
            _("there is no driver {name}").format(name=name),
            _("choose one of: {names}").format(names=", ".join(("auto", *AUTO))),
        )
    missing = None
    for candidate in AUTO if name == "auto" else (name,):
        driver = cast(Driver, importlib.import_module(f"machinespawn.build.drivers.{candidate}"))
        try:
            driver.version()
        except MissingToolError as error:
            missing = missing or error
        else:
            return driver
    assert missing is not None
    raise missing


def check_variant(name: str) -> str:
    """Give name back if it is a variant."""
    if name not in VARIANTS:
        raise UsageError(
            _("there is no variant {name}").format(name=name),
            _("choose one of: {names}").format(names=", ".join(VARIANTS)),
        )
    return name
