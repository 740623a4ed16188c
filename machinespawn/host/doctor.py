"""Whether this host has what machinespawn wants, what each thing is for, and the one command that brings the rest."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from machinespawn import shell
from machinespawn.config import Config
from machinespawn.errors import MachinespawnError
from machinespawn.host import apt, architecture, kernel, keyfiles
from machinespawn.text import _, quantity

ENOUGH_SPACE = 2_000_000_000
"""Bytes: room for a first machine, its layers and its downloads."""
ENOUGH_INOTIFY = 8192
"""With the kernel's default of 128 sixteen machines come up and the rest time out (systemd issue 6232)."""


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    group: str
    """tools, kernel, keyrings, systemd or storage."""
    ok: bool
    purpose: str
    found: str = ""
    """Version, path or amount; what is in its place where it is not ok."""
    package: str = ""
    """The Debian package that brings it."""
    command: str = ""
    """What brings it where no package does."""
    needed: bool = True
    """False: machines can be built and run without it."""

    @property
    def fix(self) -> str:
        """The command that brings this one; empty where it is there, or nothing can be done."""
        if self.ok:
            return ""
        return self.command or (f"apt-get install {self.package}" if self.package else "")


def examine(config: Config) -> tuple[Check, ...]:
    """Everything, looked at now. Nothing is changed and nothing asks the network."""
    return (*_tools(), *_kernel(config), *_keyrings(config), _machined(), *_storage(config))


def fix(checks: tuple[Check, ...]) -> str:
    """The one command that brings all that is missing and can be brought; empty: nothing."""
    missing = [check for check in checks if not check.ok]
    packages = tuple(dict.fromkeys(check.package for check in missing if check.package and not check.command))
    known = apt.candidates(packages) if packages else {}
    there = [package for package in packages if known[package]]
    install = apt.install_hint(*(there or packages)) if packages else ""
    commands = dict.fromkeys(check.command for check in missing if check.command)
    return " && ".join(command for command in (install, *commands) if command)


@dataclass(frozen=True)
class _Tool:
    program: str
    purpose: str
    needed: bool = True
    one_of: str = ""
    """Tools with the same word stand in for each other."""


def _list_of_tools() -> tuple[_Tool, ...]:
    return (
        _Tool("debootstrap", _("builds Debian and Ubuntu"), one_of="bootstrap"),
        _Tool("mmdebstrap", _("builds Debian and Ubuntu, faster"), one_of="bootstrap"),
        _Tool("apt-get", _("fetches package lists and packages")),
        _Tool("dpkg-deb", _("unpacks packages")),
        _Tool("gpgv", _("checks the signatures of archives")),
        _Tool("systemd-nspawn", _("runs machines, and commands in trees")),
        _Tool("nsenter", _("runs commands in running machines")),
        _Tool("journalctl", _("reads the logs of machines")),
        _Tool("tar", _("unpacks packages")),
        _Tool("xz", _("unpacks archives and packages")),
        _Tool("zstd", _("unpacks archives, and Ubuntu's packages"), needed=False),
    )


_PACKAGES = {**shell.PACKAGE_OF, "dpkg-deb": "dpkg"}


def _tools() -> tuple[Check, ...]:
    checks = {tool: _tool(tool) for tool in _list_of_tools()}
    served = {tool.one_of for tool, check in checks.items() if check.ok}
    return tuple(
        replace(check, needed=False) if tool.one_of and tool.one_of in served else check
        for tool, check in checks.items()
    )


def _tool(tool: _Tool) -> Check:
    path = shutil.which(tool.program, path=shell.CLEAN_ENVIRONMENT["PATH"])
    return Check(
        tool.program,
        "tools",
        ok=path is not None,
        purpose=tool.purpose,
        found=_version(path) if path else _("not installed"),
        package=_PACKAGES[tool.program],
        needed=tool.needed,
    )


def _version(program: str) -> str:
    """What the program says of itself, else its path."""
    result = shell.run([program, "--version"], check=False)
    match = re.search(r"\d+(\.\d+)+\S*|(?<=systemd )\d+", result.stdout + result.stderr)
    return match[0].rstrip(",)") if match and result.status == 0 else program


def _kernel(config: Config) -> tuple[Check, ...]:
    def check(name: str, ok: bool, purpose: str, found: str, command: str = "", needed: bool = True) -> Check:
        return Check(name, "kernel", ok, purpose, found or kernel.release(), command=command, needed=needed)

    spaces, instances = kernel.user_namespaces(), kernel.inotify_instances()
    unified = kernel.unified_cgroups()
    why_not = kernel.why_not_idmapped(_existing(config.state))
    return (
        check("overlayfs", kernel.has_overlayfs(), _("stacks layers"), ""),
        check(
            "user namespaces",
            spaces > 0,
            _("root in a machine is nobody outside"),
            _("up to {count}").format(count=spaces),
            "sysctl -w user.max_user_namespaces=65536",
        ),
        check(
            "cgroup v2",
            unified.path is not None,
            _("freezes, counts and ends what runs in a machine"),
            str(unified.path or _("not mounted")),
            "" if unified.path else "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        ),
        _controllers(unified),
        check("id-mapped mounts", not why_not, _("machines that share layers"), why_not, needed=False),
        check("seccomp", kernel.has_seccomp(), _("keeps machines from system calls they should not make"), ""),
        check(
            "inotify instances",
            instances >= ENOUGH_INOTIFY,
            _("many machines at a time"),
            str(instances),
            f"sysctl -w fs.inotify.max_user_instances={ENOUGH_INOTIFY}",
            needed=False,
        ),
        _foreign(),
    )


def _controllers(unified: kernel.Unified) -> Check:
    wanted = ("cpu", "io", "memory", "pids")
    missing = [name for name in wanted if name not in unified.controllers]
    there = ", ".join(name for name in wanted if name in unified.controllers) or _("none")
    held = _("; version 1 holds {names}").format(names=", ".join(unified.legacy)) if missing and unified.legacy else ""
    return Check(
        "cgroup controllers",
        "kernel",
        ok=not missing,
        purpose=_("limits of memory, processor and tasks; without them limits have no effect"),
        found=there + held,
        needed=False,
    )


def _foreign() -> Check:
    names = architecture.foreign()
    registered = shutil.which("update-binfmts") and any(
        shutil.which(f"qemu-{name}") for name in ("aarch64-static", "x86_64-static", "aarch64", "x86_64")
    )
    return Check(
        "qemu-user",
        "kernel",
        ok=bool(names),
        purpose=_("machines of foreign architectures"),
        found=", ".join(names) or _("no foreign architecture is registered"),
        package="qemu-user-static",
        command="update-binfmts --enable" if registered else "",
        needed=False,
    )


_KEYRINGS = (
    ("debian-archive-keyring.gpg", "debian-archive-keyring", "Debian"),
    ("debian-archive-removed-keys.gpg", "debian-archive-keyring", _("Debian up to buster")),
    ("ubuntu-archive-keyring.gpg", "ubuntu-keyring", "Ubuntu"),
)


def _keyrings(config: Config) -> tuple[Check, ...]:
    def check(name: str, package: str, distribution: str) -> Check:
        path = keyfiles.locate(name, config)
        return Check(
            name,
            "keyrings",
            ok=path is not None,
            purpose=_("checks the signatures of {distribution}").format(distribution=distribution),
            found=str(path or _("nowhere")),
            package=package,
            needed=False,
        )

    return tuple(check(*row) for row in _KEYRINGS)


def _machined() -> Check:
    from machinespawn.runtimes import bus

    try:
        count = len(bus.machines())
        ok, found = True, _("it answers; machines registered: {count}").format(count=count)
    except MachinespawnError as error:
        ok, found = False, error.message
    return Check(
        "systemd-machined",
        "systemd",
        ok=ok,
        purpose=_("machinectl and the machines of systemd; run, exec and stop do without"),
        found=found,
        package="systemd-container" if not ok and shutil.which("machinectl") is None else "",
        needed=False,
    )


def _storage(config: Config) -> tuple[Check, ...]:
    directory = _existing(config.machines)
    usage = shutil.disk_usage(directory)
    kind = kernel.filesystem_kind(directory)
    writable = os.access(directory, os.W_OK)
    reflink = writable and kernel.can_reflink(directory)
    return (
        Check(
            _("room in {path}").format(path=directory),
            "storage",
            ok=usage.free >= ENOUGH_SPACE,
            purpose=_("machines, layers and downloads"),
            found=_("{free} of {all} free").format(free=quantity(usage.free), all=quantity(usage.total)),
            command="" if usage.free >= ENOUGH_SPACE else "machinespawn clean-cache",
        ),
        Check(
            "reflink",
            "storage",
            ok=reflink,
            purpose=_("copies of machines that take no room and no time"),
            found=_("{kind} shares blocks").format(kind=kind)
            if reflink
            else _("{kind}: copies are whole").format(kind=kind),
            needed=False,
        ),
    )


def _existing(path: Path) -> Path:
    """The path, or the nearest directory above it that is there."""
    return next(candidate for candidate in (path, *path.parents) if candidate.is_dir())
