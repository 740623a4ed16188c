"""An archive, whatever its form, unpacked into a tree."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from machinespawn import progress, shell
from machinespawn.build.archive import blobs, detect, flow, image, tree
from machinespawn.build.archive.flow import Digest, Span
from machinespawn.build.archive.tar import Damaged, Reader, members, parts
from machinespawn.build.archive.tree import Bounds, Rules
from machinespawn.errors import BuildError, ProgramError, TrustError
from machinespawn.text import _

PEEK = 64 << 20
"""How many unpacked bytes are looked at to find the first member's name."""


@dataclass(frozen=True)
class How:
    """How an archive is to be unpacked."""

    digest: Digest | None
    """What the file must have; for a layout directory, the manifest. None: take it as it is."""
    architecture: str
    """Debian's name: which image of several."""
    strip: int = 0
    """Leading directories to drop from the names in a plain tar."""


def unpack(source: Path, target: Path, how: How, scratch: Path) -> int:
    """Unpack source (a file or an OCI layout directory) into the directory target; give the number of entries.

    Nothing outside target can be touched. Raises TrustError for a wrong digest
    or a hostile member, and leaves target half filled then: remove it. Images
    are decompressed to a nameless file in the directory scratch first.
    """
    if source.is_dir():
        return _image(blobs.InDirectory(source), target, how)
    with open(source, "rb") as file:
        whole = Span(file.fileno(), 0, os.fstat(file.fileno()).st_size, str(source))
        if not _may_be_image(whole):
            return _plain(whole, target, how)
        with _spooled(whole, target, how, scratch) as copy:
            found = blobs.in_tar(str(source), copy.descriptor, copy.size)
            checked = replace(how, digest=None)
            return _image(found, target, checked) if image.is_image(found) else _plain(copy, target, checked)


def manifest(source: Path, architecture: str) -> Digest:
    """The digest of the image for the architecture in an OCI layout directory."""
    layout = blobs.InDirectory(source)
    if not image.is_layout(layout):
        raise BuildError(
            _("{path} is a directory, but no OCI layout").format(path=source),
            _("one has index.json and oci-layout; a mere tree is packed with: tar -C {path} -cf FILE .").format(
                path=source
            ),
        )
    return image.read(layout, architecture).digest


def _may_be_image(whole: Span) -> bool:
    """Whether the first member that is not the top directory could be an image's."""
    os.lseek(whole.descriptor, 0, os.SEEK_SET)
    head = whole.head()
    program = detect.decompressor(head)
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open(os.dup(whole.descriptor), "rb", buffering=0))
            data = stack.enter_context(shell.stream(program.argv, file, ok=program.ok)) if program else file
            named = ("/".join(parts(member.name)) for member in members(Reader(data.fileno(), PEEK)))
            return detect.is_image_member(next(filter(None, named), ""))
    except Damaged as error:
        raise detect.not_an_archive(head, whole.name) from error
    except (ProgramError, BuildError):
        return False  # damaged, or no end of headers: the child that reads all of it says so


@contextlib.contextmanager
def _spooled(whole: Span, target: Path, how: How, scratch: Path) -> Iterator[Span]:
    """The archive without its compression, where its parts can be read in any order."""
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=scratch) as file:
        work = partial(_copy, sink=file.fileno(), limit=_bounds(scratch).bytes)
        flow.run(whole, how.digest, target, work, keep=(file.fileno(),))
        yield Span(file.fileno(), 0, os.fstat(file.fileno()).st_size, whole.name)


def _copy(data: int, sink: int, limit: int) -> dict[str, int]:
    """Runs in the child: a limit on what comes is kept there."""
    Reader(data, limit).drain(sink)
    return {}


def _image(found: blobs.Blobs, target: Path, how: How) -> int:
    """The layers of the image, the lowest first."""
    wanted = image.read(found, how.architecture)
    if how.digest and how.digest != wanted.digest:
        raise TrustError(
            _("{image} holds {found}, not {wanted}").format(image=found.title, found=wanted.digest, wanted=how.digest),
            _("it was changed in between: run it again"),
        )
    numbers = [_layer(found, layer, target) for layer in wanted.layers]
    _tell(sum(left for _entries, left in numbers))
    return sum(entries for entries, _left in numbers)


def _layer(found: blobs.Blobs, layer: image.Layer, target: Path) -> tuple[int, int]:
    rules = Rules(_bounds(target), layer=True)
    if layer.unpacked:
        rules = replace(rules, algorithm=layer.unpacked.algorithm, digest=layer.unpacked.value)
    with found.opened(layer.part) as span:
        if layer.size is not None and layer.size != span.size:
            raise TrustError(
                _("{name} has {found} bytes, not {wanted}").format(name=span.name, found=span.size, wanted=layer.size),
                _("it was changed or damaged: fetch the image again"),
            )
        return _numbers(flow.run(span, layer.stored, target, partial(tree.extract, rules=rules)))


def _plain(whole: Span, target: Path, how: How) -> int:
    rules = Rules(_bounds(target), strip=how.strip)
    entries, left_out = _numbers(flow.run(whole, how.digest, target, partial(tree.extract, rules=rules)))
    if not entries:
        raise BuildError(
            _("{name} is empty").format(name=whole.name),
            _("nothing is left with {strip} leading directories dropped").format(strip=how.strip)
            if how.strip
            else _("it was perhaps cut short where it was made: fetch it again"),
        )
    _tell(left_out)
    return entries


def _numbers(answer: dict[str, int]) -> tuple[int, int]:
    return answer["entries"], answer["left_out"]


def _tell(left_out: int) -> None:
    if left_out:
        progress.note(_("{count} device nodes and pipes left out").format(count=left_out))


def _bounds(directory: Path) -> Bounds:
    """What is free for everybody: the part that is root's own is not to be filled."""
    status = os.statvfs(directory)
    return Bounds(status.f_bavail * status.f_frsize, status.f_favail if status.f_files else 1 << 40)
