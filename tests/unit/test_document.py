"""Strict YAML: what is refused, where it is said to stand, and that hostile documents end soon."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from machinespawn.config import load as load_config
from machinespawn.document import MAX_BYTES, parse, read_settings, read_text
from machinespawn.errors import NotFoundError, RecipeError, UsageError
from machinespawn.nodes import Items, Scalar, Table, did_you_mean, dotted

REFUSED = {
    "empty": ("", "f:1: is empty", ""),
    "only a comment": ("# nothing\n", "f:2: is empty", ""),
    "null": ("~\n", "f:1: is empty", ""),
    "a list": ("- a\n- b\n", "f:1: is no mapping", "key: value"),
    "a text": ("hello\n", "f:1: is no mapping", "key: value"),
    "two documents": ("a: 1\n---\nb: 2\n", "f:2: holds a second document", "---"),
    "key twice": ("a: 1\nb: 2\na: 3\n", "f:3: a: is said twice, first in line 1", "keep one"),
    "key twice inside": (
        "x:\n  - {y: 1}\n  - z: 1\n    z: 2\n",
        "f:4: x[1].z: is said twice, first in line 3",
        "keep one",
    ),
    "merge key twice": ("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n", "f:4: b.<<: is said twice", "keep one"),
    "number for a key": ("a:\n  1: x\n", "f:2: a: key '1' is no text", '"1"'),
    "switch for a key": ("true: x\n", "f:1: key 'true' is no text", '"true"'),
    "null for a key": ("~: x\n", "f:1: key '~' is no text", '"~"'),
    "list for a key": ("? [a]\n: x\n", "f:1: has a key that is no text", ""),
    "mapping for a key": ("a:\n  b: {{ x }}\n", "f:2: a.b: has a mapping for a key", '"{{ name }}"'),
    "alias of a list for a key": ("a: &a [x]\n*a : 1\n", "f:2: has a key that is no text", ""),
    "tab": ("a:\n\tb: 1\n", "f:2: is not YAML", "spaces"),
    "unclosed": ("a: [1, 2\n", "f:2: is not YAML", ""),
    "python object": ("a: !!python/object/apply:os.system [id]\n", "f:1: a: unknown tag", "!replace and !append"),
    "own tag": ("a: !include x\n", "f:1: a: unknown tag '!include'", "!replace and !append"),
    "replace on a text": ("a: !replace x\n", "f:1: a: unknown tag '!replace'", "before a list or mapping"),
    "binary": ("a: !!binary aGVsbG8=\n", "f:1: a: unknown tag", "!replace"),
    "control character": ("a: \x07\n", "f: is not YAML", ""),
    "unknown anchor": ("a: *b\n", "f:1: a: there is no anchor &b above", ""),
    "anchor in itself": ("a: &a\n  b: [*a]\n", "f:2: a.b[0]: *a contains itself", ""),
    "merge of a text": ("a: {<<: x}\n", "f:1: a.<<: takes a mapping", ""),
    "merge of a list of texts": ("a: {<<: [x]}\n", "f:1: a.<<: takes a mapping", ""),
}


@pytest.mark.parametrize(("text", "message", "hint"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_names_file_line_and_key(text: str, message: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(text, "f")
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_values_keep_how_they_were_written_and_where() -> None:
    table = parse('version: 22.10\nmode: 0644\n"true": "true"\nlist:\n  - on\n  - |\n    a\n    b\n', "f")
    version, mode, quoted, items = table.entries.values()
    assert isinstance(version, Scalar) and version.text == "22.10" and version.kind == "number"
    assert isinstance(mode, Scalar) and mode.text == "0644"
    assert isinstance(quoted, Scalar) and quoted.kind == "text"
    assert isinstance(items, Items)
    first, second = items.items
    assert isinstance(first, Scalar) and (first.text, first.place.line) == ("on", 5)
    assert isinstance(second, Scalar) and second.block and second.text == "a\nb\n"
    assert str(table.places["list"]) == "f:4"


def test_anchors_and_merge_keys() -> None:
    table = parse("a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc:\n  z: 9\n  <<: [*a, *b]\n", "f")
    merged = table.entries["c"]
    assert isinstance(merged, Table)
    texts = {name: node.text for name, node in merged.entries.items() if isinstance(node, Scalar)}
    assert texts == {"x": "1", "y": "2", "z": "9"}
    assert merged.places["x"].line == 1 and merged.places["z"].line == 4


def _laughs(levels: int) -> str:
    lines = ["l0: &l0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    for level in range(1, levels):
        lines.append(f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 9)}]")
    return "\n".join(lines)


HOSTILE = {
    "a billion laughs": _laughs(12),
    "a quadratic blow-up": f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 10_000)}]",
    "merged again and again": "a0: &a0 {x: 1}\n"
    + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 60)),
    "lists in lists": "a: " + "[" * 100_000,
    "mappings in mappings": "{a: " * 100_000,
    "ever more to the right": "".join(f"{' ' * depth}a:\n" for depth in range(1400)),
    "dashes": "a:\n  " + "- " * 200_000,
    "question marks": "? " * 200_000,
    "a million small values": "a: [" + "a," * 500_000 + "]",
    "a million keys": "".join(f"k{i}:\n" for i in range(100_000)),
    "a long key": "k" * 1_000_000 + ": 1",
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_documents_are_refused_soon(text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(text[:MAX_BYTES], "f")
    assert len(caught.value.message) < 500


def test_a_large_honest_document_is_read() -> None:
    content = "x" * 500_000
    table = parse(f"files:\n  - content: {content}\n" + "".join(f"k{i}: v\n" for i in range(5_000)), "f")
    assert len(table.entries) == 5_001


def test_reading_files(tmp_path: Path) -> None:
    (tmp_path / "fine").write_bytes(b"\xef\xbb\xbfa: \xc3\xa4\n")
    assert read_text(tmp_path / "fine")[0] == "a: ä\n"
    (tmp_path / "latin").write_bytes(b"a: 1\nb: \xe4\n")
    with pytest.raises(RecipeError, match=r"latin:2: is not UTF-8"):
        read_text(tmp_path / "latin")
    (tmp_path / "large").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(RecipeError, match="is larger than"):
        read_text(tmp_path / "large")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(RecipeError, match="no regular file"):
        read_text(tmp_path / "fifo")
    with pytest.raises(RecipeError, match="Is a directory"):
        read_text(tmp_path)
    with pytest.raises(RecipeError, match="no regular file"):
        read_text(Path("/dev/zero"))
    with pytest.raises(NotFoundError, match="missing does not exist"):
        read_text(tmp_path / "missing")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_text(tmp_path / "loop")


def test_words_of_an_attacker_do_not_reach_the_terminal() -> None:
    assert dotted("a", "\x1b[31mred") == r"a.'\x1b[31mred'"
    assert did_you_mean("k" * 1_000_000, ["packages"]) == ""


def test_settings(tmp_path: Path) -> None:
    path = tmp_path / "machinespawn.yaml"
    path.write_text(
        "driver: auto\nrefresh: 24h\noffline: yes\nproxy: none\n"
        "mirrors:\n  debian: http://mirror.example.org/debian\nrecipe_path: [/a, 12]\n"
    )
    known = ("driver", "refresh", "offline", "proxy", "mirrors", "recipe_path")
    assert read_settings(path, known) == {
        "driver": ("auto", f"{path}:1"),
        "refresh": ("24h", f"{path}:2"),
        "offline": (True, f"{path}:3"),
        "proxy": ("none", f"{path}:4"),
        "mirrors": ({"debian": "http://mirror.example.org/debian"}, f"{path}:5"),
        "recipe_path": (["/a", 12], f"{path}:7"),
    }


SETTINGS_REFUSED = {
    "unknown": ("driver: auto\nofline: true\n", "yaml:2: ofline: unknown key", "did you mean offline?"),
    "not close to any": ("zzz: true\n", "yaml:1: zzz: unknown key", "known are: driver, offline"),
    "no value": ("driver:\n", "yaml:1: driver: has no value", "remove the line"),
    "twice": ("driver: a\ndriver: b\n", "yaml:2: driver: is said twice", ""),
    "broken": ("driver: [\n", "is not YAML", ""),
}


@pytest.mark.parametrize(("text", "message", "hint"), SETTINGS_REFUSED.values(), ids=SETTINGS_REFUSED)
def test_wrong_settings_are_usage_errors(tmp_path: Path, text: str, message: str, hint: str) -> None:
    path = tmp_path / "machinespawn.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_settings(path, ("driver", "offline"))
    assert message in caught.value.message and hint in caught.value.hint


def test_settings_that_are_all_commented_out(tmp_path: Path) -> None:
    path = tmp_path / "machinespawn.yaml"
    path.write_text("# driver: auto\n\n# offline: true\n")
    assert read_settings(path, ("driver",)) == {}


def test_the_configuration_is_read_through_it(tmp_path: Path) -> None:
    path = tmp_path / "machinespawn.yaml"
    path.write_text("refresh: 90\noffline: true\n")
    config, settings = load_config({}, {"MACHINESPAWN_CONFIG": str(path)})
    assert (config.refresh, config.offline) == (90, True)
    assert {setting.origin for setting in settings if setting.name == "refresh"} == {f"{path}:1"}
