"""What a signed Release says of itself: its dates, and until when it counts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from machinespawn.build import indexes
from machinespawn.build.indexes import Index
from machinespawn.errors import TrustError

RELEASE = """\
Origin: Lab
Suite: lab
Date: Sat, 11 Jul 2026 09:00:00 UTC
Valid-Until: Sat, 18 Jul 2026 09:00:00 UTC
SHA256:
 00 12 main/binary-amd64/Packages
"""


def index(text: str) -> Index:
    fields, _digests = indexes.release(text)
    return Index("lab", "http://x", ("main",), (), fields.get("Date", ""), fields.get("Valid-Until", ""))


def test_a_release_counts_until_its_end() -> None:
    found = index(RELEASE)
    assert indexes.when(found.date) == datetime(2026, 7, 11, 9, tzinfo=UTC)
    assert found.is_expired(datetime(2026, 7, 19, tzinfo=UTC))
    assert not found.is_expired(datetime(2026, 7, 17, tzinfo=UTC))


def test_a_release_without_an_end_never_expires() -> None:
    found = index("Origin: Lab\nSuite: lab\n")
    assert indexes.when(found.date) is None
    assert not found.is_expired()


def test_dates_are_compared_in_utc() -> None:
    assert indexes.when("Sat, 11 Jul 2026 11:00:00 +0200") == datetime(2026, 7, 11, 9, tzinfo=UTC)


def test_what_is_no_date_is_refused() -> None:
    with pytest.raises(TrustError, match="soon"):
        indexes.when("soon")
