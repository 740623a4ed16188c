"""What a name, a URL, a path or a date in a recipe may look like.

All of them reach argument lists and configuration files of programs that run
as root, so each is matched as a whole, and none begins with '-'.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from machinespawn.document import MAX_BYTES
from machinespawn.text import _

COMMANDS = (
    "backup",
    "bind",
    "boot",
    "bootstrap",
    "clean-cache",
    "clone",
    "config",
    "console",
    "copy-from",
    "copy-to",
    "disable",
    "doctor",
    "enable",
    "exec",
    "export",
    "export-tar",
    "help",
    "kill",
    "list",
    "logs",
    "pause",
    "plan",
    "pool",
    "pull-tar",
    "reboot",
    "recipes",
    "remove",
    "rename",
    "restart",
    "restore",
    "rollback",
    "run",
    "set",
    "shell",
    "show",
    "snapshot",
    "start",
    "stop",
    "unbind",
    "unpause",
    "upgrade",
    "version",
    "wait",
)
"""First words of the command line that are no recipes, those of commands still to come among them."""

VARIANTS = ("minbase", "important", "standard", "buildd")
ARCHIVES = ("main", "security", "ports")
UNIT_SUFFIXES = tuple(
    f".{kind}"
    for kind in (
        *("service", "socket", "timer", "path", "mount", "automount"),
        *("swap", "target", "device", "slice", "scope"),
    )
)


@dataclass(frozen=True)
class Rule:
    """What a text must match as a whole, what to call it, and one that does."""

    pattern: str
    what: str
    example: str
    longest: int = 4096
    """Characters."""

    def fits(self, text: str) -> bool:
        """Whether the whole text matches."""
        return len(text) <= self.longest and re.fullmatch(self.pattern, text) is not None


def _rule(pattern: str, what: str, example: str, longest: int = 4096) -> Rule:
    return Rule(pattern, what, example, longest)


_URL_CHARACTERS = r"[A-Za-z0-9._~:/?#@!$&()*+,;=%-]*"
_HOST = r"(?:[A-Za-z0-9._~%:-]+@)?(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
_URL = rf"(?:https?://{_HOST}(?:/{_URL_CHARACTERS})?|file:///{_URL_CHARACTERS})"
_PRINTABLE = r"[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
_KEY_TYPES = r"ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com"
_DEBIAN_PACKAGE = r"[a-z0-9](?:[a-z0-9+.-]*[a-z0-9+.])?"

TEXT = _rule(r"[^\x00\ud800-\udfff]*", _("a text without NUL"), "hello", MAX_BYTES)
LINE = _rule(rf"{_PRINTABLE}*", _("one line of text"), "hello")
RECIPE = _rule(r"[a-z0-9][a-z0-9._-]*", _("the name of a recipe"), "debian-bookworm")
PARENT = _rule(rf"(?!-){_PRINTABLE}+", _("the name or path of a recipe"), "debian-bookworm")
VARIABLE = _rule(r"[a-z][a-z0-9_]*", _("the name of a variable"), "port")
DISTRIBUTION = _rule(r"[a-z][a-z0-9-]*", _("the name of a distribution"), "debian")
VERSION = _rule(r"[A-Za-z0-9][A-Za-z0-9._~+-]*", _("a version"), "22.04")
CODENAME = _rule(r"[a-z0-9][a-z0-9._-]*", _("a codename"), "bookworm")
ARCHITECTURE = _rule(r"[a-z0-9]+(?:-[a-z0-9]+)*", _("Debian's name of an architecture"), "amd64")
ITS_ARCHITECTURE = _rule(r"[A-Za-z0-9][A-Za-z0-9_-]*", _("the name of an architecture"), "x86_64")
SUITE = _rule(r"[a-z0-9][a-z0-9+._-]*(?:/[a-z0-9][a-z0-9+._-]*)*", _("the name of a suite"), "bookworm-updates")
COMPONENT = _rule(r"[a-z0-9][a-z0-9._-]*(?:/[a-z0-9][a-z0-9._-]*)*", _("the name of a component"), "main")
SCRIPT = _rule(r"[a-z0-9][a-z0-9._-]*", _("the name of one of debootstrap's scripts"), "sid")
KEYRING = _rule(r"[A-Za-z0-9][A-Za-z0-9._-]*", _("a file name without directory"), "debian-archive-keyring.gpg")
URL = _rule(_URL, _("an http, https or file URL"), "http://mirror.example.org/debian")
SNAPSHOT = _rule(
    rf"(?=.*\{{date\}})https?://{_HOST}/(?:[A-Za-z0-9._~:/?#@!$&()*+,;=%-]|\{{archive\}}|\{{date\}})*",
    _("an http or https URL that holds {date}"),
    "http://snapshot.example.org/{archive}/{date}/",
)
PRODUCT = _rule(r"[A-Za-z0-9][A-Za-z0-9._:-]*", _("the name of a product"), "fedora:44:amd64:default")
DEBIAN_PACKAGE = _rule(_DEBIAN_PACKAGE, _("the name of a Debian package"), "openssh-server")
APT_PACKAGE = _rule(
    rf"{_DEBIAN_PACKAGE}(?::[a-z0-9-]+)?(?:=[0-9A-Za-z][0-9A-Za-z.+:~-]*|/[a-z0-9][a-z0-9+._-]*)?",
    _("a Debian package, with =VERSION, /SUITE or :ARCH if need be"),
    "openssh-server",
)
PACKAGE = _rule(r"[A-Za-z0-9][A-Za-z0-9+._-]*", _("the name of a package"), "openssh-server")
UNIT = _rule(r"[A-Za-z0-9_][A-Za-z0-9:_.\\@-]*", _("the name of a unit"), "systemd-networkd.service", 247)
ACCOUNT = _rule(r"[a-z_][a-z0-9_-]{0,31}", _("the name of a user or group"), "ada")
OWNER = _rule(r"[a-z_][a-z0-9_-]{0,31}|[0-9]{1,10}", _("the name or number of a user or group"), "www-data")
PATH = _rule(rf"(?:/(?!\.{{1,2}}(?:/|$))(?:(?!/){_PRINTABLE})+)+", _("an absolute path without . or .."), "/etc/motd")
SHELL = _rule(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._+@-]+)+", _("an absolute path without . or .."), "/bin/bash")
SOURCE = _rule(rf"{_PRINTABLE}+", _("the path of a file"), "files/motd")
PASSWORD_HASH = _rule(
    r"\$[0-9a-z]{1,8}\$[A-Za-z0-9./$=,+-]{8,256}", _("a password's hash"), _("what `openssl passwd -6` prints")
)
SSH_KEY = _rule(
    rf"(?:[A-Za-z0-9@._=*?!,:/\"' -]+ )?(?:{_KEY_TYPES}) [A-Za-z0-9+/]{{40,}}={{0,3}}(?: {_PRINTABLE}*)?",
    _("a line of authorized_keys"),
    "ssh-ed25519 AAAA… ada@example.org",
)
LOCALE = _rule(r"(?:C|POSIX|[a-z]{2,3}(?:_[A-Z]{2,3})?)(?:\.[A-Za-z0-9-]+)?(?:@[a-z]+)?", _("a locale"), "de_DE.UTF-8")
TIMEZONE = _rule(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z][A-Za-z0-9_+-]*){0,2}", _("a time zone"), "Europe/Berlin")
HOST_NAME = _rule(
    r"(?=.{1,64}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*", _("a host name"), "bread"
)
PARAMETER = _rule(r"[A-Za-z0-9_][^\x00-\x20\x7f-\x9f\"'\\]*", _("an argument of init"), "systemd.log_level=debug")
ENVIRONMENT = _rule(r"[A-Za-z_][A-Za-z0-9_]*", _("the name of an environment variable"), "TZ")
SUPERVISOR_ENVIRONMENT = _rule(r"SYSTEMD_[A-Z0-9_]+", _("one of systemd's own variables"), "SYSTEMD_SECCOMP")
