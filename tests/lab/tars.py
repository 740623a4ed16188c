"""Archives for tests: plain ones member by member, hostile ones too, and images in every form."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One member, as it is to stand in the archive, however strange."""

    name: str
    data: bytes = b""
    type: bytes = tarfile.REGTYPE
    link: str = ""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: float = 1_600_000_000
    pax: dict[str, str] = field(default_factory=dict)

    def info(self) -> tarfile.TarInfo:
        info = tarfile.TarInfo(self.name)
        info.size, info.type, info.linkname, info.mode = len(self.data), self.type, self.link, self.mode
        info.uid, info.gid, info.mtime, info.pax_headers = self.uid, self.gid, self.mtime, dict(self.pax)
        return info


def directory(name: str, mode: int = 0o755, **more: Any) -> Entry:
    return Entry(name, type=tarfile.DIRTYPE, mode=mode, **more)


def symlink(name: str, target: str) -> Entry:
    return Entry(name, type=tarfile.SYMTYPE, link=target, mode=0o777)


def hardlink(name: str, target: str) -> Entry:
    return Entry(name, type=tarfile.LNKTYPE, link=target)


def tar(*entries: Entry, format: int = tarfile.PAX_FORMAT) -> bytes:
    """A plain tar of the entries in their order."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format, errors="surrogateescape") as archive:
        for entry in entries:
            archive.addfile(entry.info(), io.BytesIO(entry.data))
    return stream.getvalue()


def compressed(data: bytes, how: str) -> bytes:
    match how:
        case "plain":
            return data
        case "gzip":
            return gzip.compress(data)
        case "xz":
            return lzma.compress(data)
        case "zstd":
            return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout
    raise ValueError(how)


COMPRESSIONS = ("plain", "gzip", "xz", "zstd")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Layout:
    """The files of an OCI layout while it is being made."""

    files: dict[str, bytes] = field(default_factory=dict)
    manifests: list[dict[str, Any]] = field(default_factory=list)

    def blob(self, data: bytes, kind: str, **more: Any) -> dict[str, Any]:
        """Add a blob, and give its descriptor."""
        digest = sha256(data)
        self.files[f"blobs/sha256/{digest}"] = data
        return {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": f"sha256:{digest}",
            "size": len(data),
            **more,
        }

    def document(self, content: object, kind: str, **more: Any) -> dict[str, Any]:
        return self.blob(json.dumps(content).encode(), kind, **more)

    def image(
        self, layers: Sequence[bytes], architecture: str = "amd64", how: str = "gzip", **more: Any
    ) -> dict[str, Any]:
        """An image's manifest, not yet in any index."""
        diffs = [f"sha256:{sha256(layer)}" for layer in layers]
        config = {"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": diffs}}
        manifest = {
            "schemaVersion": 2,
            "config": self.document(config, "config.v1+json"),
            "layers": [self.blob(compressed(layer, how), "layer.v1.tar") for layer in layers],
        }
        return self.document(manifest, "manifest.v1+json", **more)

    def finished(self) -> dict[str, bytes]:
        index = {"schemaVersion": 2, "manifests": self.manifests}
        return {
            **self.files,
            "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
            "index.json": json.dumps(index).encode(),
        }


def oci(*layers: bytes, architecture: str = "amd64", how: str = "gzip") -> dict[str, bytes]:
    """The files of a layout with one image."""
    layout = Layout()
    layout.manifests.append(layout.image(layers, architecture, how))
    return layout.finished()


def docker(*layers: bytes, architecture: str = "amd64", how: str = "plain") -> dict[str, bytes]:
    """The files of a docker-archive with one image, as podman and skopeo write it."""
    diffs = [f"sha256:{sha256(layer)}" for layer in layers]
    config = json.dumps({"architecture": architecture, "rootfs": {"type": "layers", "diff_ids": diffs}}).encode()
    names = [f"{sha256(layer)}.tar" for layer in layers]
    manifest = [{"Config": f"{sha256(config)}.json", "RepoTags": ["lab:latest"], "Layers": names}]
    parts = {name: compressed(layer, how) for name, layer in zip(names, layers, strict=True)}
    return {**parts, f"{sha256(config)}.json": config, "manifest.json": json.dumps(manifest).encode()}


def packed(files: dict[str, bytes], *more: Entry) -> bytes:
    """The files as members of a tar."""
    return tar(*(Entry(name, data) for name, data in files.items()), *more)


def spread(files: dict[str, bytes], path: Path) -> Path:
    """The files as a directory."""
    for name, data in files.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return path
