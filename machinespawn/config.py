"""Settings of this host and this call: defaults, /etc/machinespawn.yaml, MACHINESPAWN_*, options.

Every path hangs off one root, so that a test can give its own.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machinespawn.errors import UsageError
from machinespawn.text import _

CONFIG_FILE = "etc/machinespawn.yaml"
PREFIX = "MACHINESPAWN_"


@dataclass(frozen=True)
class Config:
    """What holds for every command. Times in seconds."""

    root: Path = Path("/")
    cache_dir: Path | None = None
    """Instead of /var/cache/machinespawn: a pipeline's own, such as the checkout's cache/."""
    recipe_path: tuple[Path, ...] = (Path("/etc/machinespawn/recipes"),)
    """Directories with recipes of the user's own, searched before the shipped ones."""
    driver: str = "auto"
    proxy: str = "auto"
    """auto, none, or the URL of an apt proxy."""
    refresh: int = 24 * 3600
    """How long package indexes are trusted before they are asked for again."""
    offline: bool = False
    mirrors: tuple[tuple[str, str], ...] = ()
    """(distribution, URL): before the host's own and the recipe's."""

    @property
    def state(self) -> Path:
        """Specs, layers, locks: what must not be lost."""
        return self.root / "var/lib/machinespawn"

    @property
    def layers(self) -> Path:
        """Sealed layers, one directory per key."""
        return self.state / "layers"

    @property
    def locks(self) -> Path:
        """Lock files, one per thing locked."""
        return self.state / "locks"

    @property
    def machines(self) -> Path:
        """The machines' trees, where machined looks for them."""
        return self.root / "var/lib/machines"

    @property
    def cache(self) -> Path:
        """Downloads only; may be deleted at any time."""
        return self.cache_dir or self.root / "var/cache/machinespawn"

    @property
    def run(self) -> Path:
        """What is known of running machines; gone after a reboot of the host."""
        return self.root / "run/machinespawn"

    @property
    def logs(self) -> Path:
        """Consoles of the machines, one file each."""
        return self.root / "var/log/machinespawn"


@dataclass(frozen=True)
class Setting:
    """One setting and where its value came from."""

    name: str
    value: Any
    origin: str


def share() -> Path:
    """Where recipes/ and units/ are: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).parent
    shipped = package / "share"
    return shipped if shipped.is_dir() else package.parent


def load(
    options: Mapping[str, Any],
    environment: Mapping[str, str] = os.environ,
) -> tuple[Config, tuple[Setting, ...]]:
    """The configuration, and where each value came from.

    ``options`` are those given on the command line (None: not given). Raises
    UsageError, with file and line, for what cannot be read or is unknown.
    """
    root = Path(options.get("root") or environment.get(f"{PREFIX}ROOT") or "/")
    file = Path(environment.get(f"{PREFIX}CONFIG") or root / CONFIG_FILE)
    given = _from_file(file)
    settings = []
    for field in dataclasses.fields(Config):
        default, variable = field.default, PREFIX + field.name.upper()
        if options.get(field.name) is not None:
            value, origin = options[field.name], _("option --{name}").format(name=field.name.replace("_", "-"))
        elif variable in environment:
            value, origin = environment[variable], _("environment {name}").format(name=variable)
        elif field.name in given:
            value, origin = given[field.name]
        else:
            settings.append(Setting(field.name, default, _("default")))
            continue
        settings.append(Setting(field.name, _parsed(field.name, value, origin), origin))
    return Config(**{setting.name: setting.value for setting in settings}), tuple(settings)


def _from_file(path: Path) -> dict[str, tuple[Any, str]]:
    """Name -> (value, file:line) of the configuration file; empty where there is none."""
    if not path.exists():
        return {}
    from machinespawn import document

    return document.read_settings(path, [field.name for field in dataclasses.fields(Config)])


_DURATION = re.compile(r"(\d+)\s*(s|m|h|d|w|)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def duration(text: str, origin: str) -> int:
    """Seconds of 90, 90s, 15m, 24h, 7d, 1w."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            _("{origin}: {text!r} is no duration").format(origin=origin, text=text),
            _("write a number and a unit: 90s, 15m, 24h, 7d, 1w"),
        )
    return int(match[1]) * _SECONDS[match[2]]


_TRUE, _FALSE = ("true", "yes", "1", "on"), ("false", "no", "0", "off", "")


def _parsed(name: str, value: Any, origin: str) -> Any:
    match name:
        case "root" | "cache_dir":
            return Path(str(value)).absolute()
        case "recipe_path":
            parts = value.split(":") if isinstance(value, str) else [str(part) for part in _listed(value)]
            return tuple(Path(part).absolute() for part in parts if part)
        case "refresh":
            return duration(str(value), origin)
        case "offline":
            return _switch(name, value, origin)
        case "mirrors":
            return _mirrors(value, origin)
        case _:
            return str(value)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _switch(name: str, value: Any, origin: str) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in _TRUE:
        return True
    if str(value).lower() in _FALSE:
        return False
    raise UsageError(
        _("{origin}: {name} is {value!r}").format(origin=origin, name=name, value=value),
        _("write true or false"),
    )


def _mirrors(value: Any, origin: str) -> tuple[tuple[str, str], ...]:
    """From {distribution: URL}, or 'debian=URL ubuntu=URL' in the environment."""
    if isinstance(value, Mapping):
        return tuple((str(key), str(url)) for key, url in value.items())
    pairs = [part.partition("=") for part in str(value).split()]
    if not all(name and url for name, _sep, url in pairs):
        raise UsageError(
            _("{origin}: {value!r} names no mirrors").format(origin=origin, value=value),
            _("write DISTRIBUTION=URL, such as debian=http://mirror.example.org/debian"),
        )
    return tuple((name, url) for name, _sep, url in pairs)
