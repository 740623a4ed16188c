"""Throwaway OpenPGP keys, with an agent that ends with them."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Signer:
    """One key in a GnuPG home of its own."""

    home: Path
    fingerprint: str

    def export(self, path: Path, *, armoured: bool = False) -> Path:
        """Write the public key to path."""
        path.write_bytes(_gpg(self.home, *(["--armor"] if armoured else []), "--export", self.fingerprint))
        return path

    def clearsign(self, text: str | bytes, *, at: str = "", digest: str = "SHA512") -> bytes:
        """An InRelease of text, as signed at that time (YYYYMMDDTHHMMSS); default now."""
        options = ["--faked-system-time", at] if at else []
        data = text.encode() if isinstance(text, str) else text
        argv = (*options, "--digest-algo", digest, "--local-user", self.fingerprint, "--clearsign")
        return _gpg(self.home, *argv, stdin=data)

    def sign(self, data: bytes) -> bytes:
        """A detached, armoured signature, as in Release.gpg."""
        return _gpg(self.home, "--armor", "--local-user", self.fingerprint, "--detach-sign", stdin=data)

    def revoke(self) -> None:
        """Withdraw the key; its public part says so from now on."""
        certificate = (self.home / "openpgp-revocs.d" / f"{self.fingerprint}.rev").read_text()
        _gpg(self.home, "--import", stdin=certificate.replace(":-----BEGIN", "-----BEGIN").encode())


@contextlib.contextmanager
def signer(name: str = "Throwaway", *, created: str = "", expires: str = "never") -> Iterator[Signer]:
    """A new key without passphrase. created is YYYYMMDDTHHMMSS, expires as gpg has it: never, 1y, a date."""
    with tempfile.TemporaryDirectory(prefix="lab-gpg.") as directory:
        home = Path(directory)
        options = ["--faked-system-time", created] if created else []
        try:
            _gpg(home, *options, "--quick-generate-key", f"{name} <lab@example.org>", "ed25519", "sign", expires)
            listing = _gpg(home, "--with-colons", "--list-keys").decode()
            yield Signer(home, next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr")))
        finally:
            for action in (["--kill", "all"], ["--remove-socketdir"]):
                subprocess.run(["gpgconf", "--homedir", directory, *action], check=False, capture_output=True)


def _gpg(home: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    argv = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--yes", "--no-tty", "--pinentry-mode", "loopback"]
    done = subprocess.run([*argv, "--passphrase", "", *arguments], input=stdin, capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"gpg {arguments}: {done.stderr.decode()}")
    return done.stdout
