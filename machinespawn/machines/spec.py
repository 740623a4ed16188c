"""What is wanted of a machine: one file, spec.json, in /var/lib/machinespawn/machines/NAME/."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machinespawn.config import Config
from machinespawn.errors import MachinespawnError, UsageError
from machinespawn.files import write_atomic
from machinespawn.recipe.model import MachineSettings
from machinespawn.text import _

FORMAT = 1
SPEC_FILE = "spec.json"


@dataclass(frozen=True)
class MachineSpec:
    """Everything wanted of one machine."""

    name: str
    recipe: str
    """The recipe's name, or the archive it was pulled from."""
    distribution: str
    version: str
    architecture: str
    """Debian's name of it: amd64, arm64."""
    layers: tuple[str, ...]
    """Keys, the bootstrap first."""
    created: str
    """ISO 8601, UTC."""
    tree_inode: int
    """Inode of the tree's root directory: tells whether spec and tree belong together."""
    settings: MachineSettings = MachineSettings()

    @classmethod
    def parse(cls, text: str, path: Path) -> MachineSpec:
        """From the JSON of a spec file."""
        try:
            data: dict[str, Any] = json.loads(text)
            if data.pop("format") != FORMAT:
                raise ValueError(_("it is of another format"))
            settings = data.pop("settings")
            data["layers"] = tuple(data["layers"])
            return cls(settings=_settings(settings), **data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MachinespawnError(
                _("{path} cannot be read: {error}").format(path=path, error=error),
                _("it was written by another version or damaged; the machine's tree is not touched by that"),
            ) from error

    def to_json(self) -> str:
        """As it stands in the file."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=2) + "\n"


def _settings(data: dict[str, Any]) -> MachineSettings:
    def frozen(value: Any) -> Any:
        return tuple(frozen(item) for item in value) if isinstance(value, list) else value

    return MachineSettings(**{name: frozen(value) for name, value in data.items()})


def directory(config: Config, name: str) -> Path:
    """Where everything of machine NAME but its tree lies."""
    return config.state / "machines" / name


def read(config: Config, name: str) -> MachineSpec | None:
    """The spec of a machine, or None for one that we did not make."""
    path = directory(config, name) / SPEC_FILE
    try:
        return MachineSpec.parse(path.read_text(), path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def write(config: Config, spec: MachineSpec, file: str = SPEC_FILE) -> None:
    """Write the spec beside the machine."""
    path = directory(config, spec.name) / file
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(path, spec.to_json(), 0o600)


def names(config: Config) -> Iterator[str]:
    """Names of the machines that have a directory of ours."""
    try:
        yield from sorted(entry.name for entry in (config.state / "machines").iterdir())
    except FileNotFoundError:
        return


_LABEL = re.compile(r"[a-zA-Z0-9_](?:[a-zA-Z0-9_-]*[a-zA-Z0-9_])?")
HOST_NAME_MAX = 64


def check_name(name: str) -> str:
    """Give name back if machined would take it as a machine's name, else UsageError.

    machine_name_is_valid() in systemd is hostname_is_valid(): labels of
    letters, digits, - and _, divided by single dots, no - at either end of a
    label, at most 64 characters in all.
    """
    if len(name) > HOST_NAME_MAX or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise UsageError(
            _("{name!r} cannot be the name of a machine").format(name=name),
            _("use letters, digits, '-', '_' and single dots, at most 64 characters, as in a host name"),
        )
    return name
