"""What a recipe adds to a tree, what no layer may hold, and what makes a copy a machine of its own."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

from machinespawn import shell
from machinespawn.build import apt
from machinespawn.build.plan import Archives, Plan
from machinespawn.errors import BuildError
from machinespawn.progress import step
from machinespawn.recipe.model import File, Recipe, Services, User
from machinespawn.store import inside
from machinespawn.text import _

OWN_KEYRING = "usr/share/keyrings/machinespawn-archive-keyring.gpg"


def apply(plan: Plan, tree: Path, log: Path) -> None:
    """Apply everything of the recipe but its packages."""
    recipe = plan.recipe
    if plan.apt:
        _sources(plan.apt, tree)
    if recipe.locale:
        _locale(recipe.locale, tree, log)
    if recipe.timezone:
        _timezone(recipe.timezone, tree)
    _root(recipe, tree, log)
    for user in recipe.users:
        _user(user, tree, log)
    for file in recipe.files:
        _file(file, tree)
    _services(recipe.services, tree, log)
    for command in recipe.commands:
        with step(_("command: {first}").format(first=command.strip().splitlines()[0])):
            shell.run(["/bin/sh", "-eu", "-c", command], shell.Chroot(tree), log=log)


def _sources(archives: Archives, tree: Path) -> None:
    """The machine's own sources.list: the archives that it was built from."""
    keyring = ""
    if archives.own_keyring:
        inside.write(tree, OWN_KEYRING, archives.own_keyring)
        keyring = f"/{OWN_KEYRING}"
    inside.write(tree, "etc/apt/sources.list", apt.sources(archives.indexes, keyring, check_dates=archives.keep_dates))


def _locale(locale: str, tree: Path, log: Path) -> None:
    language, _dot, charset = locale.partition(".")
    if inside.exists(tree, "usr/sbin/locale-gen"):
        inside.write(tree, "etc/locale.gen", f"{locale} {charset or 'ISO-8859-1'}\n")
        shell.run(["locale-gen"], shell.Chroot(tree), log=log)
    elif language not in ("C", "POSIX"):
        known = shell.run(["locale", "-a"], shell.Chroot(tree), log=log).stdout.lower().replace("-", "").split()
        if locale.lower().replace("-", "") not in known:
            raise BuildError(
                _("locale {locale} is not in the tree").format(locale=locale),
                _("add the package that has it to the recipe's packages (Fedora: glibc-langpack-…)"),
            )
    inside.write(tree, "etc/locale.conf", f"LANG={locale}\n")
    if inside.exists(tree, "etc/default"):
        inside.write(tree, "etc/default/locale", f"LANG={locale}\n")


def _timezone(timezone: str, tree: Path) -> None:
    if not inside.exists(tree, f"usr/share/zoneinfo/{timezone}"):
        raise BuildError(
            _("time zone {timezone} is not in the tree").format(timezone=timezone),
            _("'timedatectl list-timezones' lists them; the tree needs the package tzdata"),
        )
    inside.link(tree, "etc/localtime", f"../usr/share/zoneinfo/{timezone}")
    if inside.exists(tree, "etc/debian_version"):
        inside.write(tree, "etc/timezone", f"{timezone}\n")


def _root(recipe: Recipe, tree: Path, log: Path) -> None:
    if recipe.root_password_hash:
        _password("root", recipe.root_password_hash, tree, log)
    if recipe.root_ssh_keys:
        _ssh_keys("root", recipe.root_ssh_keys, tree)


def _user(user: User, tree: Path, log: Path) -> None:
    arguments = ["useradd", "--create-home", f"--shell={user.shell}"]
    arguments += [f"--uid={user.uid}"] if user.uid is not None else []
    arguments += [f"--home-dir={user.home}"] if user.home else []
    arguments += [f"--groups={','.join(user.groups)}"] if user.groups else []
    shell.run([*arguments, user.name], shell.Chroot(tree), log=log)
    if user.password_hash:
        _password(user.name, user.password_hash, tree, log)
    if user.ssh_keys:
        _ssh_keys(user.name, user.ssh_keys, tree)
    if user.sudo:
        inside.write(tree, f"etc/sudoers.d/{user.name}", f"{user.name} ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)


def _password(name: str, hashed: str, tree: Path, log: Path) -> None:
    shell.run(["chpasswd", "--encrypted"], shell.Chroot(tree), stdin=f"{name}:{hashed}\n", log=log)


def _ssh_keys(name: str, keys: Sequence[str], tree: Path) -> None:
    uid, gid, home = _account(tree, name)
    directory = f"{home.strip('/')}/.ssh"
    inside.make_directory(tree, directory, 0o700, (uid, gid))
    inside.write(tree, f"{directory}/authorized_keys", "".join(f"{key}\n" for key in keys), 0o600, (uid, gid))


def _file(file: File, tree: Path) -> None:
    content = Path(file.source).read_bytes() if file.source else file.content
    owner = _number(tree, "passwd", file.owner), _number(tree, "group", file.group)
    inside.write(tree, file.path, content, file.mode, owner)


def _services(services: Services, tree: Path, log: Path) -> None:
    for verb, units in (("enable", services.enable), ("disable", services.disable), ("mask", services.mask)):
        if units:
            shell.run(["systemctl", verb, *units], shell.Chroot(tree), log=log)


def _account(tree: Path, name: str) -> tuple[int, int, str]:
    fields = _entry(tree, "passwd", name)
    return int(fields[2]), int(fields[3]), fields[5]


def _number(tree: Path, database: str, name: str) -> int:
    """The tree's own number of a user or group."""
    if name == "root":
        return 0
    return int(name) if name.isdigit() else int(_entry(tree, database, name)[2])


def _entry(tree: Path, database: str, name: str) -> list[str]:
    for line in (inside.read(tree, f"etc/{database}") or "").splitlines():
        fields = line.split(":")
        if fields[0] == name:
            return fields
    raise BuildError(
        _("{name} is not in the tree's /etc/{database}").format(name=name, database=database),
        _("make it with users: in the recipe, or name a number"),
    )


BUILD_LEFTOVERS = (
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "etc/hostname",
    "etc/resolv.conf",
    "var/lib/dbus/machine-id",
    "var/cache/ldconfig/aux-cache",
    "var/log/alternatives.log",
    "var/log/bootstrap.log",
    "var/log/dpkg.log",
)
"""What the tools leave of the host and of the moment; a machine gets its own."""
BUILD_DIRECTORIES = ("var/cache/apt", "var/lib/apt/lists", "var/log/apt", "tmp", "var/tmp", "run", "dev")


def tidy(tree: Path, *, sources: bool) -> None:
    """Take out of a tree what the build has put there: caches, logs, host names, ids, keys, its sources of packages."""
    for path in BUILD_LEFTOVERS:
        if path != "etc/resolv.conf" or not inside.is_link(tree, path):
            inside.remove(tree, path)
    for path in BUILD_DIRECTORIES:
        inside.empty(tree, path)
    if sources:  # those of the build: the last stage writes the machine's own
        inside.remove(tree, "etc/apt/sources.list")
        inside.empty(tree, "etc/apt/sources.list.d")
    for name in inside.names(tree, "etc/ssh"):
        if name.startswith("ssh_host_"):
            inside.remove(tree, f"etc/ssh/{name}")
    if inside.read(tree, "etc/machine-id") != "":
        inside.write(tree, "etc/machine-id", "", 0o444)


def identify(tree: Path, hostname: str) -> None:
    """Give a copy a machine-id, a host name and ssh host keys of its own."""
    inside.write(tree, "etc/machine-id", f"{uuid.uuid4().hex}\n", 0o444)
    inside.write(tree, "etc/hostname", f"{hostname}\n")
    inside.write(
        tree,
        "etc/hosts",
        f"127.0.0.1\tlocalhost\n127.0.1.1\t{hostname}\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    )
    if inside.exists(tree, "usr/sbin/sshd") and inside.exists(tree, "usr/bin/ssh-keygen"):
        shell.run(["ssh-keygen", "-A"], shell.Chroot(tree))
