"""Children of this process: what they answer, and that none outlives its block or its parent."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from machinespawn.errors import ExistsError, TrustError
from machinespawn.host import child


def sleep(_writer: int) -> None:
    time.sleep(600)


def fail(_writer: int) -> None:
    raise ValueError("no such \udcff thing")


def test_what_it_answers_and_how_it_ends() -> None:
    with child.forked(lambda writer: os.write(writer, b"answer")) as wait:
        assert wait() == (b"answer", 0)
    with child.forked(lambda _writer: os.kill(os.getpid(), signal.SIGKILL)) as wait:
        assert wait() == (b"", -signal.SIGKILL)


def test_a_fault_in_it_is_told_and_ends_it(capfd: pytest.CaptureFixture[str]) -> None:
    with child.forked(fail) as wait:
        assert wait() == (b"", 1)
    assert "ValueError: no such" in capfd.readouterr().err


def test_it_ends_with_the_block() -> None:
    began = set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
    with pytest.raises(ExistsError), child.forked(sleep):
        raise ExistsError("enough")
    assert set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()) == began


@pytest.mark.timeout(60)
def test_it_ends_with_its_parent() -> None:
    reader, writer = os.pipe()

    def parent(_answer: int) -> None:
        def told(_writer: int) -> None:
            os.write(writer, b"begun")
            time.sleep(600)

        with child.forked(told):
            time.sleep(600)

    with child.forked(parent):
        assert os.read(reader, 5) == b"begun"
    os.close(writer)
    assert os.read(reader, 1) == b"", "somebody still holds the other end"
    os.close(reader)


def test_an_error_crosses_as_itself() -> None:
    error = child.error_in(child.told(TrustError("bad", "try again")))
    assert type(error) is TrustError
    assert (error.message, error.hint) == ("bad", "try again")
    assert child.error_in({"value": 1}) is None
