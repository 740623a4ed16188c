"""What the list of recipes tells of one; these keys take no templates, so that listing renders nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from machinespawn.recipe.names import CODENAME, DISTRIBUTION, LINE, VERSION
from machinespawn.recipe.section import Section
from machinespawn.text import _


@dataclass(frozen=True)
class Heading:
    """Which release a recipe is for."""

    description: str
    abstract: bool
    distribution: str
    version: str
    codename: str
    end_of_life: date | None
    unproven: str

    @classmethod
    def parse(cls, literal: Section) -> Heading:
        """From a recipe's merged mapping."""
        return cls(
            description=literal.text("description", LINE),
            abstract=literal.switch("abstract", False),
            distribution=literal.text("distribution", DISTRIBUTION, empty=False),
            version=literal.text("version", VERSION, empty=False),
            codename=literal.text("codename", CODENAME),
            end_of_life=_date(literal, "end_of_life"),
            unproven=literal.text("unproven", LINE),
        )


def _date(section: Section, name: str) -> date | None:
    text = section.text(name, LINE)
    if not text:
        return None
    try:
        if len(text) != len("2028-06-30"):  # fromisoformat also takes 20280630 and 2028-W26-5
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise section.fault(name, _("{text!r} is no date").format(text=text[:64]), _("such as: 2028-06-30")) from None
