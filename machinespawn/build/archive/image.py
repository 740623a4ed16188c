"""Container images: which manifest is meant, and its layers, each with the digest that proves it.

OCI image-spec (image-layout, index, manifest, config) and what docker save writes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from machinespawn.build.archive import blobs as parts
from machinespawn.build.archive.blobs import Blobs
from machinespawn.build.archive.flow import Digest
from machinespawn.errors import BuildError, NotFoundError, TrustError
from machinespawn.text import _

DOCUMENT_MAX = 8 << 20
"""Bytes of a manifest or a config; registries take 4 MiB."""
NESTED_MAX = 4
"""Indexes within indexes."""

_PLATFORMS = {
    "amd64": ("amd64", ("", "v1")),
    "arm64": ("arm64", ("", "v8")),
    "armel": ("arm", ("v6", "v5")),
    "armhf": ("arm", ("v7", "", "v8")),
    "i386": ("386", ("",)),
    "loong64": ("loong64", ("",)),
    "mips64el": ("mips64le", ("",)),
    "mipsel": ("mipsle", ("",)),
    "ppc64el": ("ppc64le", ("",)),
    "riscv64": ("riscv64", ("",)),
    "s390x": ("s390x", ("",)),
}
"""Debian's name -> Go's, and the variants that run on it, the best first."""


@dataclass(frozen=True)
class Layer:
    """One layer: the part that holds it and what proves it."""

    part: str
    stored: Digest | None
    """Of the bytes as they lie there."""
    unpacked: Digest | None
    """Of the tar within."""
    size: int | None = None


@dataclass(frozen=True)
class Image:
    """What is to be unpacked. ``digest`` is the manifest's (docker-archive: the config's)."""

    digest: Digest
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class _Found:
    """A manifest or an image of several, for choosing one."""

    digest: Digest
    architecture: str
    variant: str
    title: str
    document: dict[str, Any]


def is_layout(blobs: Blobs) -> bool:
    """Whether it is an OCI layout."""
    return blobs.has("oci-layout") and blobs.has("index.json")


def is_image(blobs: Blobs) -> bool:
    """Whether it is an image at all."""
    return is_layout(blobs) or blobs.has("manifest.json")


def read(blobs: Blobs, architecture: str) -> Image:
    """The image for the architecture (Debian's name)."""
    try:
        return _oci(blobs, architecture) if is_layout(blobs) else _docker(blobs, architecture)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise BuildError(
            _("{image} is no image that can be read: {error}").format(
                image=blobs.title, error=f"{type(error).__name__} {error}"[:200]
            ),
            _("make it anew: skopeo copy docker://IMAGE oci-archive:FILE"),
        ) from error


def _oci(blobs: Blobs, architecture: str) -> Image:
    index = json.loads(parts.read(blobs, "index.json", DOCUMENT_MAX))
    chosen = _choose(blobs, list(_manifests(blobs, index, NESTED_MAX)), architecture)
    layers = tuple(
        Layer(_part(Digest.parse(each["digest"])), Digest.parse(each["digest"]), None, int(each["size"]))
        for each in chosen.document["layers"]
    )
    return Image(chosen.digest, layers)


def _manifests(blobs: Blobs, index: dict[str, Any], depth: int) -> Iterator[_Found]:
    """Every image of the index and of those within it; what is no image, such as an attestation, is passed over."""
    for descriptor in index["manifests"]:
        document = _document(blobs, descriptor)
        if "manifests" in document:
            if depth:
                yield from _manifests(blobs, document, depth - 1)
        elif "layers" in document and "config" in document:
            config = _document(blobs, document["config"])
            platform = {**config, **descriptor.get("platform", {})}
            title = descriptor.get("annotations", {}).get("org.opencontainers.image.ref.name", "")
            digest = Digest.parse(descriptor["digest"])
            yield _Found(digest, platform.get("architecture", ""), platform.get("variant", ""), title, document)


def _document(blobs: Blobs, descriptor: dict[str, Any]) -> dict[str, Any]:
    digest = Digest.parse(descriptor["digest"])
    data = parts.read(blobs, _part(digest), DOCUMENT_MAX)
    if len(data) != int(descriptor["size"]) or hashlib.new(digest.algorithm, data).hexdigest() != digest.value:
        raise _wrong(blobs, digest)
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError(_("{digest} is no JSON object").format(digest=digest))
    return found


def _wrong(blobs: Blobs, digest: Digest) -> TrustError:
    return TrustError(
        _("{image}: a blob is not what its digest {digest} says").format(image=blobs.title, digest=digest),
        _("it was changed or damaged: fetch the image again"),
    )


def _part(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.value}"


_CONFIG_NAME = re.compile(r"(?:.*/)?(?:sha256:)?([0-9a-f]{64})(?:\.json)?")


def _docker(blobs: Blobs, architecture: str) -> Image:
    found = []
    for entry in json.loads(parts.read(blobs, "manifest.json", DOCUMENT_MAX)):
        data = parts.read(blobs, entry["Config"], DOCUMENT_MAX)
        digest = Digest("sha256", hashlib.sha256(data).hexdigest())
        named = _CONFIG_NAME.fullmatch(entry["Config"])
        if named and named[1] != digest.value:
            raise _wrong(blobs, Digest("sha256", named[1]))
        config = json.loads(data)
        document = {"layers": entry["Layers"], "diffs": config["rootfs"]["diff_ids"]}
        title = " ".join(entry.get("RepoTags") or ())
        found.append(_Found(digest, config.get("architecture", ""), config.get("variant", ""), title, document))
    chosen = _choose(blobs, found, architecture)
    pairs = zip(chosen.document["layers"], chosen.document["diffs"], strict=True)
    return Image(chosen.digest, tuple(Layer(part, None, Digest.parse(diff)) for part, diff in pairs))


def _choose(blobs: Blobs, found: list[_Found], architecture: str) -> _Found:
    name, variants = _PLATFORMS.get(architecture, (architecture, ("",)))
    for variant in variants:
        suitable = {each.digest: each for each in found if (each.architecture or name, each.variant) == (name, variant)}
        if len(suitable) > 1:
            raise BuildError(
                _("{image} holds {count} images for {architecture}: {names}").format(
                    image=blobs.title,
                    count=len(suitable),
                    architecture=architecture,
                    names=", ".join(each.title or str(each.digest) for each in suitable.values()),
                ),
                _("take one out: skopeo copy oci-archive:FILE:NAME oci-archive:ONE"),
            )
        if suitable:
            return next(iter(suitable.values()))
    others = sorted({f"{each.architecture}{each.variant and '/' + each.variant}" for each in found})
    raise NotFoundError(
        _("{image} has no image for {architecture}").format(image=blobs.title, architecture=architecture),
        _("it has: {others}; choose with --arch").format(others=", ".join(others) or _("none at all")),
    )
