"""The wheel brings recipes and units along, and what is installed from it finds them."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.command_line import CHECKOUT


def run(*argv: str | Path, cwd: Path) -> str:
    told = subprocess.run([str(each) for each in argv], cwd=cwd, env={}, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with nothing but the wheel; what the package depends on is lent from ours."""
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", place, CHECKOUT, cwd=place)
    (wheel,) = place.glob("machinespawn-*.whl")
    environment = place / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=place)
    python = environment / "bin/python"
    run(*pip, "--python", python, "install", "-q", "--no-deps", wheel, cwd=place)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place).strip())
    (site / "lent.pth").write_text("\n".join(sysconfig.get_path(name) for name in ("purelib", "platlib")))
    return environment


def test_recipes_are_found_from_anywhere(installed: Path, tmp_path: Path) -> None:
    answer = json.loads(run(installed / "bin/machinespawn", "recipes", "--json", cwd=tmp_path))
    names = {entry["name"]: entry["path"] for entry in answer["data"]}
    assert "debian-bookworm" in names
    assert Path(names["debian-bookworm"]).is_relative_to(installed)


@pytest.mark.parametrize("folder", ["recipes", "units"])
def test_every_file_is_shipped(installed: Path, tmp_path: Path, folder: str) -> None:
    code = "from machinespawn.config import share; print(share())"
    share = Path(run(installed / "bin/python", "-c", code, cwd=tmp_path).strip())
    assert share.is_relative_to(installed)
    listed = [
        {str(path.relative_to(top / folder)) for path in (top / folder).rglob("*") if path.is_file()}
        for top in (share, CHECKOUT)
    ]
    assert listed[0] == listed[1] != set()
