"""Bytes on their way from an archive to the child that works on them: hashed, decompressed, handed over.

    file --(we hash)--> pipe [--> xz -dc --> pipe] --> confined child

The bytes that are hashed are the bytes that are used, so nobody can change the
file in between.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from machinespawn import shell
from machinespawn.build.archive import detect
from machinespawn.build.archive.confine import Outcome, Work, confined
from machinespawn.build.archive.tar import CHUNK
from machinespawn.errors import BuildError, ProgramError, TrustError
from machinespawn.text import _


@dataclass(frozen=True)
class Span:
    """A run of bytes in an open file, and what to call it in an error."""

    descriptor: int
    offset: int
    size: int
    name: str

    def head(self) -> bytes:
        """The first bytes, enough to tell what it is."""
        return os.pread(self.descriptor, min(detect.HEAD, self.size), self.offset)


_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


@dataclass(frozen=True)
class Digest:
    """A content digest as OCI writes it."""

    algorithm: str
    value: str
    """Lower-case hex."""

    @classmethod
    def parse(cls, text: object) -> Digest:
        """From sha256:HEX or sha512:HEX."""
        if not isinstance(text, str) or not _DIGEST.fullmatch(text):
            raise TrustError(
                _("{text!r} is no digest that can be checked").format(text=str(text)[:200]),
                _("an image whose blobs have sha256 or sha512 digests is wanted"),
            )
        return cls(*text.split(":", 1))

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"


def run(span: Span, expected: Digest | None, root: Path, work: Work, *, keep: tuple[int, ...] = ()) -> dict[str, int]:
    """Have work read the span, decompressed, in a child confined to root; give what it reports.

    Raises TrustError when the bytes are not those of the expected digest,
    whatever else went wrong, and BuildError when they are damaged.
    """
    program = detect.decompressor(span.head())
    try:
        with contextlib.ExitStack() as stack:
            reader, writer = os.pipe()
            data: IO[bytes] = stack.enter_context(open(reader, "rb", buffering=0))
            sink = stack.enter_context(open(writer, "wb", buffering=0))
            _widen(sink)
            if program:
                compressed = data
                data = stack.enter_context(shell.stream(program.argv, compressed, ok=program.ok))
                compressed.close()
                _widen(data)
            stack.callback(sink.close)  # before the decompressor is waited for
            with confined(root, data.fileno(), work, keep=keep) as answer:
                data.close()  # its end must be seen at the other end
                found = _pour(span, sink.fileno(), expected.algorithm if expected else "sha256")
                sink.close()
                outcome = answer()
            _check(span, expected, found)
            if outcome.error:
                raise _named(outcome, span)
    except ProgramError as error:
        raise BuildError(
            _("{name} is damaged: {output}").format(name=span.name, output=error.output or error.message), _hint()
        ) from error
    if outcome.damaged:
        raise BuildError(_("{name} is damaged: {why}").format(name=span.name, why=outcome.damaged), _hint())
    return outcome.numbers


def _hint() -> str:
    return _("fetch it again; if its checksum is right, its maker has to know")


def _named(outcome: Outcome, span: Span) -> Exception:
    """The child does not know what the archive is called."""
    assert outcome.error is not None
    return type(outcome.error)(f"{span.name}: {outcome.error.message}", outcome.error.hint)


def _widen(pipe: IO[bytes]) -> None:
    """A bigger buffer, so that both ends are woken less often; a kernel that says no is fine."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, CHUNK)


def _pour(span: Span, sink: int, algorithm: str) -> str:
    """Write the span to sink while somebody reads there, hash all of it, and give the hash in hex."""
    taken = hashlib.new(algorithm)
    offset, end, wanted = span.offset, span.offset + span.size, True
    while offset < end:
        chunk = os.pread(span.descriptor, min(CHUNK, end - offset), offset)
        if not chunk:
            break  # it became shorter: the digest, or whoever reads it, says so
        taken.update(chunk)
        offset += len(chunk)
        view = memoryview(chunk)
        while wanted and view:
            try:
                view = view[os.write(sink, view) :]
            except BrokenPipeError:
                wanted = False
    return taken.hexdigest()


def _check(span: Span, expected: Digest | None, found: str) -> None:
    if expected and found != expected.value:
        raise TrustError(
            _("{name} has {algorithm} {found}, not {expected}").format(
                name=span.name, algorithm=expected.algorithm, found=found, expected=expected.value
            ),
            _("it was changed or damaged on the way: fetch it again, and compare the digest with its maker's"),
        )
