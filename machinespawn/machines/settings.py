"""The text that systemd reads of a machine: its .nspawn file, rendered from units/."""

from __future__ import annotations

from pathlib import Path

from machinespawn import config as configuration
from machinespawn.config import Config
from machinespawn.files import write_atomic
from machinespawn.machines import spec
from machinespawn.machines.spec import MachineSpec


def path(config: Config, name: str) -> Path:
    """Where systemd-nspawn looks for the settings of a machine first, and trusts all of them."""
    return config.root / "etc/systemd/nspawn" / f"{name}.nspawn"


def render(config: Config, wanted: MachineSpec) -> str:
    """Text of the .nspawn file."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(configuration.share() / "units"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 (not HTML; systemd's own quoting below)
        keep_trailing_newline=True,
    )
    environment.filters["quoted"] = quoted
    source = spec.directory(config, wanted.name) / spec.SPEC_FILE
    return environment.get_template("machine.nspawn.j2").render(settings=wanted.settings, path=source)


def quoted(text: str) -> str:
    """As one word of a systemd setting (systemd.syntax(7)), specifiers kept as they are."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def write(config: Config, wanted: MachineSpec) -> None:
    """Write the .nspawn file; written again from the same spec it is the same."""
    target = path(config, wanted.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, render(config, wanted))


def remove(config: Config, name: str) -> None:
    """Remove the .nspawn file."""
    path(config, name).unlink(missing_ok=True)
