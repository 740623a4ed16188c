"""Where keyrings lie: beside the user's recipes, beside ours, and where packages put them."""

from __future__ import annotations

from pathlib import Path

from machinespawn.config import Config, share

SYSTEM_DIRECTORIES = (Path("/usr/share/keyrings"), Path("/etc/apt/keyrings"), Path("/etc/apt/trusted.gpg.d"))


def places(name: str, config: Config) -> tuple[Path, ...]:
    """The paths at which a keyring of that name is looked for, in order; a name with a slash is a path."""
    if "/" in name:
        return (Path(name),)
    beside = (directory / "keyrings" for directory in (*config.recipe_path, share() / "recipes"))
    return tuple(directory / name for directory in (*beside, *SYSTEM_DIRECTORIES))


def locate(name: str, config: Config) -> Path | None:
    """The keyring's file, or None."""
    return next((path for path in places(name, config) if path.is_file()), None)
