"""What the host's own apt knows: its mirrors, its proxy, what it could install. All empty where there is no apt."""

from __future__ import annotations

import contextlib
import csv
import platform
import re
import shlex
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from machinespawn import shell

_DISTRO_INFO = Path("/usr/share/distro-info")
_MOVING_SUITES = {"debian": frozenset({"stable", "oldstable", "testing", "unstable", "sid"})}
_HELPER = Path("/usr/lib/apt/apt-helper")


@dataclass(frozen=True)
class Mirrors:
    """URLs without a slash at the end, by the names that AptSource.mirrors has; empty: not in the host's sources."""

    main: str = ""
    security: str = ""
    ports: str = ""


@dataclass(frozen=True)
class Source:
    """One suite of one archive among the host's sources. origin and label are empty before the first update."""

    url: str
    suite: str
    architecture: str
    origin: str = ""
    label: str = ""

    def archive(self) -> str:
        """Which of Mirrors it is. Ubuntu keeps all but x86 in an archive of its own, whatever a mirror calls it."""
        if self.origin.lower() == "ubuntu" and self.architecture not in ("amd64", "i386", "all"):
            return "ports"
        security = self.label.lower().endswith("-security") or self.suite.endswith(("-security", "/updates"))
        return "security" if security else "main"


def mirrors(distribution: str) -> Mirrors:
    """The mirrors that this host's apt uses for the distribution (a short name: debian, ubuntu)."""
    return chosen(distribution, _fetched() or _written(distribution))


def sources_changed() -> tuple[tuple[str, int], ...]:
    """When each file of the host's apt sources was last changed (ns): mirrors() answers the same while this does."""
    apt = Path("/etc/apt")
    files = (apt / "sources.list", *sorted(apt.glob("sources.list.d/*")))
    return tuple((str(file), file.stat().st_mtime_ns) for file in files if file.exists())


def candidate(package: str) -> str:
    """The version of the package that apt here would install now; empty: it knows none."""
    return candidates((package,))[package]


def candidates(packages: Iterable[str]) -> dict[str, str]:
    """Of each package the version that apt here would install now, empty where it knows none.

    One question for all: apt needs a second for each where it keeps no cache of its lists.
    """
    versions = dict.fromkeys(packages, "")
    current = ""
    for line in _output("apt-cache", "policy", "--", *versions).splitlines():
        if not line.startswith(" "):
            current = line.rstrip(":")
        elif line.startswith("  Candidate: ") and not line.endswith("(none)") and current in versions:
            versions[current] = line.split()[1]
    return versions


def install_hint(*packages: str) -> str:
    """The command that installs the packages here, or empty where apt here has not all of them."""
    if all(candidates(packages).values()):
        return f"apt-get install {' '.join(packages)}"
    if shutil.which("apt-get") and not _fetched():
        return f"apt-get update && apt-get install {' '.join(packages)}"
    return ""


def configured_proxy(scheme: str = "http") -> str:
    """The proxy in apt's configuration; DIRECT where it says so, empty where it says nothing."""
    printed = _output("apt-config", "shell", "PROXY", f"Acquire::{scheme}::Proxy").strip()
    return shlex.split(printed.removeprefix("PROXY="))[0] if printed else ""


def detected_proxy(url: str) -> str:
    """What apt's Proxy-Auto-Detect, or its setting for that one host, says for the URL; DIRECT as apt means it."""
    if not _HELPER.exists():
        return ""
    match = re.match(r"Using proxy '(.*)' for URL", _output(str(_HELPER), "auto-detect-proxy", url))
    return match[1] if match else ""


def service(name: str) -> tuple[tuple[str, int], ...]:
    """(host, port) of a DNS SRV record, the ones to try first in front."""
    if not _HELPER.exists():
        return ()
    printed = _output(str(_HELPER), "srv-lookup", name, env={"RES_OPTIONS": "timeout:1 attempts:1"})
    rows = [line.split("\t") for line in printed.splitlines()]  # host, priority, weight, port; sorted
    return tuple((row[0].rstrip("."), int(row[3])) for row in rows if len(row) == 4 and row[3].isdigit())


def chosen(distribution: str, sources: Iterable[Source]) -> Mirrors:
    """The mirrors among sources: those whose Release says that they are the distribution itself."""
    found: dict[str, str] = {}
    for source in sources:
        labels = (distribution, f"{distribution}-security")
        if source.origin.lower() != distribution or source.label.lower() not in labels:
            continue
        if urlsplit(source.url).scheme in ("http", "https"):
            found.setdefault(source.archive(), source.url.rstrip("/"))
    return Mirrors(**found)


def written(distribution: str, codenames: frozenset[str], print_uris: str) -> tuple[Source, ...]:
    """Sources from what ``apt-get update --print-uris`` prints, judged by path, suite and component.

    Others publish for a release under its codename too, but not its component
    main below a directory called debian or ubuntu.
    """
    pattern = re.compile(r"^'([^']+/(\w+)[^/']*)/dists/([^']+)/main/binary-([a-z0-9]+)/Packages", re.M)
    found = []
    for url, directory, suite, architecture in pattern.findall(print_uris):
        release = re.sub(r"(-updates|-security|/updates)$", "", suite)
        if directory == distribution and release in codenames and architecture != "all":
            label = f"{distribution}-security" if suite != release and "-updates" not in suite else distribution
            found.append(Source(url, suite, architecture, distribution, label))
    return tuple(found)


def _fetched() -> tuple[Source, ...]:
    """From the Release files that apt has fetched; empty before the first update."""
    form = "$(REPO_URI)\t$(RELEASE)\t$(ARCHITECTURE)\t$(ORIGIN)\t$(LABEL)"
    filters = ("Created-By: Packages", "Component: main")
    lines = _output("apt-get", "indextargets", "--format", form, *filters).splitlines()
    return tuple(Source(*fields) for fields in (line.split("\t") for line in lines) if len(fields) == 5)


def _written(distribution: str) -> tuple[Source, ...]:
    """From apt's sources alone."""
    printed = _output("apt-get", "update", "--print-uris")
    return written(distribution, _codenames(distribution), printed)


def _codenames(distribution: str) -> frozenset[str]:
    """Releases of the distribution, as far as the host knows them."""
    known = set(_MOVING_SUITES.get(distribution, ()))
    table = _DISTRO_INFO / f"{distribution}.csv"
    if table.exists():
        with table.open(newline="") as stream:
            known.update(row["series"] for row in csv.DictReader(stream))
    with contextlib.suppress(OSError):
        host = platform.freedesktop_os_release()
        if host["ID"] == distribution:
            known.add(host.get("VERSION_CODENAME", ""))
    return frozenset(known)


def _output(program: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """What an apt program prints; nothing where it is not installed or does not like its configuration."""
    if shutil.which(program) is None:
        return ""
    result = shell.run([program, *arguments], env=env, check=False)
    return result.stdout if result.status == 0 else ""
