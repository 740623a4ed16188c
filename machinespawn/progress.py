"""What is being done, told as it happens: lines for people, events for programs.

The voice is chosen once by cli/ (people on a terminal, plain lines, or one JSON
object per line on stderr) and reaches the code below through a context
variable, so that nothing below cli/ prints.
"""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Callable, Iterator

Voice = Callable[[str, str, int, float], None]
"""Called with (event, text, depth, seconds); event is start, done, failed, note or warning."""


def _silent(event: str, text: str, depth: int, seconds: float) -> None:
    """Say nothing: the voice of a library."""


_voice: contextvars.ContextVar[Voice] = contextvars.ContextVar("voice", default=_silent)
_depth: contextvars.ContextVar[int] = contextvars.ContextVar("depth", default=0)


def speak_with(voice: Voice) -> None:
    """From here on, tell progress to voice."""
    _voice.set(voice)


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
    """Tell that text begins, and how it ended after how many seconds."""
    voice, depth, began = _voice.get(), _depth.get(), time.monotonic()
    voice("start", text, depth, 0.0)
    token = _depth.set(depth + 1)
    try:
        yield
    except BaseException:
        voice("failed", text, depth, time.monotonic() - began)
        raise
    else:
        voice("done", text, depth, time.monotonic() - began)
    finally:
        _depth.reset(token)


def note(text: str) -> None:
    """Tell something worth knowing."""
    _voice.get()("note", text, _depth.get(), 0.0)


def warn(text: str) -> None:
    """Tell something that the user should act on; never a substitute for an error."""
    _voice.get()("warning", text, _depth.get(), 0.0)
