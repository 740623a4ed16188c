"""Finding recipes by name, alias and path; what the list shows; whose files are trusted."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest

from machinespawn.config import Config, share
from machinespawn.errors import MachinespawnError, NotFoundError, RecipeError, TrustError
from machinespawn.recipe.catalog import Entry, entries, find
from machinespawn.recipe.load import load
from machinespawn.recipe.names import COMMANDS

MINIMAL = "distribution: d\nversion: 1\ntarball: {url: http://a.example.org/x}\n"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    return Config(recipe_path=(first, second, tmp_path / "not-there"))


def write(directory: Path, name: str, text: str, mode: int = 0o644) -> Path:
    path = directory / f"{name}.yaml"
    path.write_text(text)
    path.chmod(mode)
    return path


def own(config: Config) -> dict[str, Entry]:
    return {entry.name: entry for entry in entries(config) if entry.origin == "user"}


def test_by_name_alias_and_path(config: Config, tmp_path: Path) -> None:
    first, second = config.recipe_path[:2]
    mine = write(second, "mine", "aliases: [m, mine-1]\n" + MINIMAL)
    write(first, "other", "aliases: [o]\n# mine-1 is not ours\n" + MINIMAL)
    elsewhere = write(tmp_path, "elsewhere", MINIMAL)
    assert find("mine", config) == find("m", config) == find("mine-1", config) == mine
    assert find(str(elsewhere), config) == elsewhere
    write(first, "mine", MINIMAL)
    assert find("mine", config) == first / "mine.yaml", "the first directory wins"
    assert find("m", config) == first / "mine.yaml", "also by an alias of the one it stands before"
    write(first, "m", MINIMAL)
    assert find("m", config) == first / "m.yaml", "a name goes before an alias"


UNKNOWN = {
    "close": ("mnie-1", "there is no recipe 'mnie-1'", "did you mean mine-1?"),
    "not close": ("zzzzzz", "there is no recipe 'zzzzzz'", "machinespawn recipes list"),
    "empty": ("", "there is no recipe ''", ""),
    "option": ("-x", "there is no recipe '-x'", ""),
    "upwards": ("..", "there is no recipe '..'", ""),
    "file": ("./gone.yaml", "there is no recipe file ./gone.yaml", ""),
    "file without slash": ("gone.yaml", "there is no recipe file gone.yaml", ""),
    "directory": ("/etc/", "there is no recipe file /etc/", ""),
    "device": ("/dev/zero", "there is no recipe file /dev/zero", ""),
    "endless": ("a" * 100_000, "there is no recipe", ""),
    "NUL": ("a\0b", "there is no recipe", ""),
}


@pytest.mark.parametrize(("name", "message", "hint"), UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_names(config: Config, name: str, message: str, hint: str) -> None:
    write(config.recipe_path[0], "mine", "aliases: [mine-1]\n" + MINIMAL)
    with pytest.raises(NotFoundError) as caught:
        find(name, config)
    assert message in caught.value.message and hint in caught.value.hint
    assert len(caught.value.message) < 200


def test_one_alias_of_two_recipes(config: Config) -> None:
    first, second = config.recipe_path[:2]
    write(first, "a", "aliases: [x]\n" + MINIMAL)
    write(first, "b", "# b\naliases: [y, x]\n" + MINIMAL)
    write(second, "c", "aliases: [y]\n" + MINIMAL)
    with pytest.raises(RecipeError, match=r"b.yaml:2: aliases: x is an alias in .*a.yaml:1 too"):
        find("x", config)
    assert find("y", config) == first / "b.yaml", "the first directory wins"


def test_entries(config: Config) -> None:
    first, second = config.recipe_path[:2]
    write(
        second,
        "release",
        "extends: base\ndescription: Release 1\naliases: [r]\nversion: 1\ncodename: one\n"
        "end_of_life: 2030-01-31\nunproven: nobody saw it\n",
    )
    write(second, "base", "abstract: true\ndistribution: d\ndescription: never seen\n")
    write(first, "mine", "extends: r\n")
    shown = own(config)
    assert shown == {
        "mine": Entry(
            name="mine",
            path=str(first / "mine.yaml"),
            origin="user",
            distribution="d",
            version="1",
            codename="one",
            end_of_life=date(2030, 1, 31),
            unproven="nobody saw it",
        ),
        "release": Entry(
            name="release",
            path=str(second / "release.yaml"),
            origin="user",
            description="Release 1",
            aliases=("r",),
            distribution="d",
            version="1",
            codename="one",
            end_of_life=date(2030, 1, 31),
            unproven="nobody saw it",
        ),
    }
    assert [entry.name for entry in entries(config)] == sorted(entry.name for entry in entries(config))
    assert {entry.name for entry in entries(config, abstract=True)} >= {"base", "mine", "release"}


def test_a_recipe_that_stands_before_another_shows_it(config: Config) -> None:
    first, second = config.recipe_path[:2]
    write(first, "a", "aliases: [x]\n" + MINIMAL)
    write(second, "a", "aliases: [x, y]\n" + MINIMAL)
    entry = own(config)["a"]
    assert (entry.path, entry.shadows) == (str(first / "a.yaml"), str(second / "a.yaml"))
    assert entry.aliases == ("x", "y")


def test_a_wrong_recipe_does_not_hide_the_others(config: Config) -> None:
    first = config.recipe_path[0]
    write(first, "broken", "aliases: [b\n")
    write(first, "unknown", "pakages: []\n" + MINIMAL)
    write(first, "orphan", "extends: nobody\n")
    write(first, "writable", MINIMAL, 0o666)
    write(first, "run", MINIMAL)
    write(first, "alias", "aliases: [list]\n" + MINIMAL)
    write(first, "My Recipe", MINIMAL)
    write(first, "fine", "aliases: [b]\n" + MINIMAL)
    (first / "dir.yaml").mkdir()
    os.mkfifo(first / "fifo.yaml")
    write(first, ".hidden", "broken")
    (first / "notes.txt").write_text("no recipe")
    errors = {name: entry.error for name, entry in own(config).items()}
    assert errors.pop("fine") == ""
    assert {name: bool(error) for name, error in errors.items()} == dict.fromkeys(
        ("broken", "unknown", "orphan", "writable", "run", "alias", "My Recipe", "dir", "fifo"), True
    )
    assert "broken.yaml:2: is not YAML" in errors["broken"]
    assert find("b", config) == first / "fine.yaml"
    with pytest.raises(RecipeError, match=r"My Recipe.yaml:1: 'My Recipe' cannot be the name"):
        load("My Recipe", config)


@pytest.mark.parametrize("command", COMMANDS)
def test_recipes_named_like_commands_are_refused(config: Config, tmp_path: Path, command: str) -> None:
    path = write(config.recipe_path[0], command, MINIMAL)
    with pytest.raises(RecipeError, match=rf"{command}.yaml:1: {command} is a command of machinespawn"):
        load(command, config)
    with pytest.raises(RecipeError, match="is a command"):
        load(str(path), config)
    aliased = write(tmp_path, "aliased", f"# x\naliases: [a, {command}]\n{MINIMAL}")
    with pytest.raises(RecipeError, match=rf"aliased.yaml:2: aliases\[1\]: {command} is a command"):
        load(str(aliased), config)


def test_every_command_there_is_is_reserved() -> None:
    from machinespawn.cli.main import COMMANDS as there_are

    assert set(there_are) <= set(COMMANDS)


def test_what_everybody_can_write_is_refused(config: Config, tmp_path: Path) -> None:
    first = config.recipe_path[0]
    named, given = write(first, "named", MINIMAL, 0o666), write(tmp_path, "given", MINIMAL, 0o646)
    for name in ("named", str(named), str(given)):
        with pytest.raises(TrustError, match="can be written by everybody") as caught:
            load(name, config)
        assert "chmod o-w" in caught.value.hint
    named.chmod(0o644)
    assert load("named", config).name == "named"
    write(first, "child", f"extends: {given}\n")
    with pytest.raises(TrustError, match=r"given.yaml can be written"):
        load("child", config)
    first.chmod(0o777)
    with pytest.raises(TrustError, match="everybody can put recipes into"):
        load("named", config)
    first.chmod(0o1777)
    assert load("named", config).name == "named", "in a sticky directory nobody can replace it"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_another_user_is_refused_unless_given_by_path(config: Config, tmp_path: Path) -> None:
    named, given = write(config.recipe_path[0], "named", MINIMAL), write(tmp_path, "given", MINIMAL)
    os.chown(named, 1234, 1234)
    os.chown(given, 1234, 1234)
    with pytest.raises(TrustError, match=r"named.yaml belongs to user 1234") as caught:
        load("named", config)
    assert "chown root" in caught.value.hint
    assert "belongs to user 1234" in own(config)["named"].error
    assert load(str(given), config).name == "given"


def test_a_path_without_directory_is_a_file_here(config: Config, tmp_path: Path) -> None:
    """In a process of its own: the working directory is everybody's."""
    import subprocess
    import sys

    write(tmp_path, "here", MINIMAL)
    code = (
        "from machinespawn.config import Config; from machinespawn.recipe.load import load;"
        "print(load('here.yaml', Config()).path)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment, check=True
    )
    assert result.stdout.strip() == str(tmp_path / "here.yaml")


def _shipped() -> list[Entry]:
    return [entry for entry in entries(Config(recipe_path=())) if entry.origin == "shipped"]


@pytest.mark.parametrize("entry", _shipped(), ids=lambda entry: entry.name)
def test_every_shipped_recipe_loads_for_each_of_its_architectures(entry: Entry) -> None:
    config = Config(recipe_path=())
    assert entry.error == ""
    for architecture in _architectures(entry, config):
        recipe = load(entry.name, config, architecture=architecture)
        assert recipe.path == str(share() / "recipes" / f"{entry.name}.yaml")
        assert recipe.description and recipe.architectures
    for alias in entry.aliases:
        assert find(alias, config) == Path(entry.path)


def _architectures(entry: Entry, config: Config) -> list[str]:
    from machinespawn.recipe.catalog import chain
    from machinespawn.recipe.merge import merged
    from machinespawn.recipe.names import ARCHITECTURE, ITS_ARCHITECTURE
    from machinespawn.recipe.section import Section

    table = merged([source.table for source in chain(Path(entry.path), config)])
    return [name for name, _ in Section(table, "", None).pairs("architectures", ARCHITECTURE, ITS_ARCHITECTURE)]


def test_no_two_shipped_recipes_share_a_name() -> None:
    names = [name for entry in _shipped() for name in (entry.name, *entry.aliases)]
    assert len(names) == len(set(names))


def test_errors_are_ours(config: Config) -> None:
    """Whatever stands in a file, it is a refusal, never a traceback."""
    first = config.recipe_path[0]
    for number, text in enumerate(("a: [", "\x00", "[]", "a", "aliases: {}", "extends: {}", "aliases: [[]]", "- - -")):
        write(first, f"r{number}", text)
        with pytest.raises(MachinespawnError):
            load(f"r{number}", config)
