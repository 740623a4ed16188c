"""Machines to run, and a look at what is left of them."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from machinespawn.config import Config
from machinespawn.errors import NotFoundError, NotRunningError
from machinespawn.files import remove_tree
from machinespawn.machines import lifecycle
from machinespawn.runtimes import console
from tests import left
from tests.roots import Root

RECIPE = "debian-bookworm"


@pytest.fixture(scope="session")
def machine_tree(root: Root) -> Path:
    """A tree that boots; nobody changes it."""
    root.build(RECIPE, "mstest-original", "--replace")
    return root.tree("mstest-original")


@pytest.fixture(scope="session")
def config(root: Root) -> Config:
    """The configuration of the run's root."""
    return Config(root=root.path)


@contextlib.contextmanager
def _copied(config: Config, tree: Path) -> Iterator[str]:
    name = f"mstest-{secrets.token_hex(2)}"
    subprocess.run(["cp", "--archive", "--reflink=auto", tree, config.machines / name], check=True)
    (config.machines / name / "etc/hostname").write_text(f"{name}\n")
    try:
        yield name
    finally:
        with contextlib.suppress(NotRunningError, NotFoundError):
            lifecycle.kill(config, name)
        remove_tree(config.machines / name)
        console.remove(config, name)


@pytest.fixture
def machine(config: Config, machine_tree: Path) -> Iterator[str]:
    """A stopped machine of the test's own, to change as it likes."""
    with _copied(config, machine_tree) as name:
        yield name


def _ended(config: Config, name: str) -> None:
    with contextlib.suppress(NotRunningError):
        lifecycle.kill(config, name)


@pytest.fixture(scope="module")
def shared(config: Config, machine_tree: Path) -> Iterator[str]:
    """A machine that the tests of a module share."""
    with _copied(config, machine_tree) as name:
        yield name


@pytest.fixture
def stopped(config: Config, shared: str) -> Iterator[str]:
    """A stopped machine to boot and to end, but whose tree stays as it is."""
    yield shared
    _ended(config, shared)


@pytest.fixture(scope="module")
def booted(config: Config, machine_tree: Path) -> Iterator[str]:
    """A running machine that the tests of a module share."""
    with _copied(config, machine_tree) as name:
        lifecycle.start(config, name)
        lifecycle.wait_until_booted(config, name)
        yield name


@pytest.fixture
def nothing_left(root: Root) -> Iterator[Callable[[], None]]:
    """Fails the test if it leaves mounts, control groups, machines, states or systemd-nspawn; may be asked before."""
    before = left.look(root.path)

    def check() -> None:
        assert left.look(root.path) == before

    yield check
    check()


@pytest.fixture
def small_tree(config: Config) -> Iterator[str]:
    """A machine that is only files: for what is read of it, not run."""
    name = f"mstest-{secrets.token_hex(2)}"
    tree = config.machines / name
    for directory in ("etc", "usr/lib"):
        (tree / directory).mkdir(parents=True)
    yield name
    shutil.rmtree(tree, ignore_errors=True)
