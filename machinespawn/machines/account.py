"""Whom commands run as in a machine, and in what environment: read from the machine's own files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from machinespawn.errors import NotFoundError
from machinespawn.runtimes import terminal
from machinespawn.runtimes.enter import Account
from machinespawn.store import inside
from machinespawn.text import _

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LOCALES = ("etc/locale.conf", "etc/default/locale")
_LANG = re.compile(r'^LANG="?([A-Za-z0-9_.@-]+)"?\s*$', re.MULTILINE)


def find(tree: Path, user: str) -> Account:
    """The account of that name or number in the machine. Raises NotFoundError."""
    for fields in _entries(tree, "etc/passwd", 7):
        name, _password, uid, gid, _gecos, home, shell = fields[:7]
        if user in (name, uid) and uid.isdigit() and gid.isdigit():
            return Account(name, int(uid), int(gid), _groups(tree, name, int(gid)), home or "/", shell or "/bin/sh")
    if user in ("root", "0"):
        return Account()
    if user.isdigit():
        return Account(user, int(user), int(user), (int(user),), "/")
    raise NotFoundError(
        _("there is no user {user} in the machine").format(user=user),
        _("its users are in {path}").format(path=tree / "etc/passwd"),
    )


def _groups(tree: Path, name: str, own: int) -> tuple[int, ...]:
    others = (int(gid) for _name, _pw, gid, members in _four(tree) if name in members.split(",") and gid.isdigit())
    return tuple(dict.fromkeys((own, *others)))


def _four(tree: Path) -> list[tuple[str, str, str, str]]:
    return [(fields[0], fields[1], fields[2], fields[3]) for fields in _entries(tree, "etc/group", 4)]


def _entries(tree: Path, path: str, least: int) -> list[list[str]]:
    lines = (inside.read(tree, path) or "").splitlines()
    return [fields for line in lines if len(fields := line.split(":")) >= least]


def home(tree: Path, account: Account) -> str:
    """The account's home if it is there, else /."""
    return account.home if account.home.startswith("/") and inside.exists(tree, account.home) else "/"


def environment(tree: Path, account: Account, more: Mapping[str, str]) -> dict[str, str]:
    """What a command finds in its environment: nothing of ours but the kind of terminal, and ``more``."""
    texts = (inside.read(tree, path) or "" for path in LOCALES)
    lang = next((match[1] for match in map(_LANG.search, texts) if match), "C.UTF-8")
    term = {"TERM": os.environ.get("TERM", "dumb")} if terminal.ours() else {}
    return {
        "PATH": PATH,
        "HOME": account.home,
        "USER": account.name,
        "LOGNAME": account.name,
        "SHELL": account.shell,
        "LANG": lang,
        **term,
        **more,
    }
