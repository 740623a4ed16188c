"""Imports go downward only, and what starts programs, talks to D-Bus, prints or exits is where it belongs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command_line import CHECKOUT

PACKAGE = CHECKOUT / "machinespawn"
LAYERS = (
    ("cli", "__main__"),
    ("machines", "build.pipeline", "host.doctor"),
    ("build",),
    ("fetch",),
    ("runtimes", "store"),
    ("host",),
    ("recipe", "machines.spec"),
    ("config", "architecture"),
    ("document",),
    ("nodes",),
    ("errors", "shell", "files", "progress", "text", ""),
)
"""Highest first; a module belongs to the entry with its longest prefix, and '' is the package itself."""
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix("."): path
    for path in PACKAGE.rglob("*.py")
}
HEIGHT = {entry: len(LAYERS) - index for index, layer in enumerate(LAYERS) for entry in layer}


def height(module: str) -> int:
    name = module
    while name not in HEIGHT:
        name, _dot, _last = name.rpartition(".")
        assert name, f"{module} is in no layer"
    return HEIGHT[name]


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module or name that is imported, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if of_ours(name) else node.module


def of_ours(name: str) -> str | None:
    """The module of ours that importing name reaches."""
    inner = name.removeprefix("machinespawn").removeprefix(".")
    return inner if name.partition(".")[0] == "machinespawn" and inner in MODULES else None


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_downward(module: str) -> None:
    names = {of_ours(name) for name in imports(ast.parse(MODULES[module].read_text()))} - {None}
    upward = sorted(name for name in names if name is not None and height(name) > height(module))
    assert upward == []


def importers(*packages: str) -> set[str]:
    return {
        module
        for module, path in MODULES.items()
        if {name.partition(".")[0] for name in imports(ast.parse(path.read_text()))} & set(packages)
    }


def test_who_may_import_what() -> None:
    assert importers("pystemd") <= {"runtimes.bus"}
    assert importers("sh", "subprocess") <= {"shell"}
    assert {module.partition(".")[0] for module in importers("click", "rich")} == {"cli"}


def calls(path: Path) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}


def test_nothing_below_cli_prints_or_exits() -> None:
    below = {module: path for module, path in MODULES.items() if module.partition(".")[0] not in ("cli", "__main__")}
    forbidden = {"print", "sys.exit", "exit", "quit", "os.system", "os.popen", "os.chdir"}
    found = {(module, call) for module, path in below.items() for call in calls(path) & forbidden}
    assert found <= {("build.archive.confine", "os.chdir")}  # in a child that pivots its root


def loaded_after(*argv: str) -> set[str]:
    code = (
        "import sys\n"
        "from machinespawn.cli.main import status_of\n"
        f"status_of({list(argv)!r})\n"
        "sys.__stdout__.write('\\n'.join(['', *sys.modules]))\n"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return set(told.stdout.splitlines())


HEAVY = {"sh", "jinja2", "requests", "rich", "pystemd", "yaml"}


@pytest.mark.parametrize("argv", [["list"], ["exec", "no-such-machine", "--", "true"], ["--help"], ["--version"]])
def test_what_must_be_instant_loads_nothing_heavy(tmp_path: Path, argv: list[str]) -> None:
    modules = loaded_after("--root", str(tmp_path), *argv)
    assert "machinespawn.cli.main" in modules
    assert modules & HEAVY == set()


def test_help_loads_no_command() -> None:
    ours = {name for name in loaded_after("--help") if name.startswith("machinespawn.")}
    assert ours <= {f"machinespawn.{name}" for name in ("cli", "cli.main", "cli.answer", "cli.call", "cli.voice")} | {
        f"machinespawn.{name}" for name in ("errors", "text", "progress")
    }
