"""The keys that say what is put into the tree, who may log in, and how the machine is run."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from machinespawn.document import read_text
from machinespawn.errors import TrustError
from machinespawn.nodes import Place
from machinespawn.recipe.model import File, MachineSettings, Pairs, Services, User
from machinespawn.recipe.names import (
    ACCOUNT,
    ENVIRONMENT,
    LINE,
    OWNER,
    PARAMETER,
    PASSWORD_HASH,
    PATH,
    SHELL,
    SOURCE,
    SSH_KEY,
    SUPERVISOR_ENVIRONMENT,
    TEXT,
    UNIT,
    UNIT_SUFFIXES,
)
from machinespawn.recipe.section import Section
from machinespawn.text import _

FILE_KEYS = ("content", "group", "mode", "owner", "path", "source", "template")
USER_KEYS = ("groups", "home", "name", "password_hash", "shell", "ssh_keys", "sudo", "uid")
ROOT_KEYS = ("password_hash", "ssh_keys")
SERVICES_KEYS = ("disable", "enable", "mask")
MACHINE_KEYS = (
    "degraded",
    "environment",
    "parameters",
    "private_users",
    "supervisor_environment",
    "unified_cgroup",
)
LAST_UID = 65533
"""65534 is nobody, and a machine has 65536 of them."""


def files(recipe: Section) -> tuple[File, ...]:
    """The files; a child's takes the place of its parent's at the same path."""
    found: dict[str, tuple[File, Place]] = {}
    for section in recipe.sections("files", FILE_KEYS):
        file = _file(section)
        _check_new(section, "path", file.path, found.get(file.path))
        found[file.path] = file, section.table.place
    return tuple(file for file, _place in found.values())


def _file(section: Section) -> File:
    section.need("path")
    if ("content" in section) == ("source" in section):
        raise section.fault("", _("needs either content or source"))
    template = section.switch("template", "content" in section)
    source, content = "", section.text("content", TEXT, template=template)
    if "source" in section:
        source = str(_source(section))
        if template and section.render:
            place = Place(source, 1)
            content, source = section.render.text(read_text(Path(source))[0], place, section.key), ""
    return File(
        path=section.text("path", PATH, empty=False),
        content=content,
        source=source,
        mode=section.octal("mode", 0o644),
        owner=section.text("owner", OWNER, "root", empty=False),
        group=section.text("group", OWNER, "root", empty=False),
    )


def _source(section: Section) -> Path:
    """The file to copy, relative to the recipe's file that names it."""
    name = section.text("source", SOURCE, empty=False)
    path = (Path(section.place("source").file).parent / name).absolute()
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        problem = _("{path} cannot be read: {problem}").format(path=path, problem=error.strerror)
        raise section.fault("source", problem, _("it is looked for beside the recipe's file")) from None
    if not stat.S_ISREG(mode):
        raise section.fault("source", _("{path} is no regular file").format(path=path))
    if mode & stat.S_IWOTH:
        raise TrustError(
            _("{path} can be written by everybody, and a recipe puts it into machines").format(path=path),
            _("look at what it says, then: chmod o-w {path}").format(path=path),
        )
    return path


def users(recipe: Section) -> tuple[User, ...]:
    """The accounts; a child's takes the place of its parent's of the same name."""
    found: dict[str, tuple[User, Place]] = {}
    for section in recipe.sections("users", USER_KEYS):
        user = _user(section)
        _check_new(section, "name", user.name, found.get(user.name))
        found[user.name] = user, section.table.place
    return tuple(user for user, _place in found.values())


def _user(section: Section) -> User:
    section.need("name")
    name = section.text("name", ACCOUNT, empty=False)
    if name == "root":
        raise section.fault("name", _("root is there already"), _("its keys and password stand under root:"))
    return User(
        name=name,
        uid=section.number("uid", 1, LAST_UID),
        groups=section.texts("groups", ACCOUNT),
        shell=section.text("shell", SHELL, "/bin/bash", empty=False),
        home=section.text("home", SHELL),
        password_hash=section.text("password_hash", PASSWORD_HASH),
        sudo=section.switch("sudo", False),
        ssh_keys=section.texts("ssh_keys", SSH_KEY),
    )


def _check_new(section: Section, name: str, text: str, earlier: tuple[object, Place] | None) -> None:
    """Twice in one file is a mistake; in a child's, it is meant."""
    if earlier and earlier[1].file == section.table.place.file:
        problem = _("{text} is there already, in line {line}").format(text=text, line=earlier[1].line)
        raise section.fault(name, problem, _("keep one of them"))


def root(recipe: Section) -> tuple[str, tuple[str, ...]]:
    """Root's password hash and ssh keys."""
    section = recipe.section("root", ROOT_KEYS)
    return section.text("password_hash", PASSWORD_HASH), section.texts("ssh_keys", SSH_KEY)


def services(recipe: Section) -> Services:
    """The units to enable, disable and mask."""
    section = recipe.section("services", SERVICES_KEYS)
    return Services(**{name: tuple(map(_unit, section.texts(name, UNIT))) for name in SERVICES_KEYS})


def machine(recipe: Section) -> MachineSettings:
    """How the machine is run."""
    section = recipe.section("machine", MACHINE_KEYS)
    degraded: Pairs = section.pairs("degraded", UNIT, LINE)
    return MachineSettings(
        private_users=section.switch("private_users", True),
        unified_cgroup=section.switch("unified_cgroup", True),
        parameters=section.texts("parameters", PARAMETER),
        environment=section.pairs("environment", ENVIRONMENT, LINE, empty=True),
        supervisor_environment=section.pairs("supervisor_environment", SUPERVISOR_ENVIRONMENT, LINE, empty=True),
        degraded=tuple((_unit(unit), reason) for unit, reason in degraded),
    )


def _unit(name: str) -> str:
    """As systemctl completes it."""
    return name if name.endswith(UNIT_SUFFIXES) else f"{name}.service"
