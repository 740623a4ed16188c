"""Loading recipes: what comes out of a right one, and what is said of a wrong one."""

from __future__ import annotations

import dataclasses
import os
from datetime import date
from pathlib import Path

import pytest

from machinespawn.config import Config
from machinespawn.errors import MachinespawnError, RecipeError, TrustError, UsageError
from machinespawn.recipe.load import load
from machinespawn.recipe.model import AptSource, File, MachineSettings, Recipe, Services, Suite, TarSource, User

BASE = """\
abstract: true
description: What all of them share
distribution: mydebian
architectures: {amd64: amd64, arm64: arm64}
base_packages: [systemd, dbus]
packages: [less]
apt:
  suites:
    - "{{ codename }}"
    - {suite: "{{ codename }}-security", archive: security, components: [updates/main]}
  components: [main]
  mirrors:
    main: http://mirror.example.org/debian/
    security: [http://a.example.org/s, http://b.example.org/s]
  keyrings: [one.gpg]
  keyring_package: debian-archive-keyring
  script: sid
  snapshot: http://snapshot.example.org/{archive}/{date}/
"""
RELEASE = "extends: mybase\nversion: 12\ncodename: bookworm\n"
KEY = "ssh-ed25519 " + "A" * 68
HASH = "$6$saltsalt$" + "h" * 86
TARBALL = "distribution: d\nversion: 1\n"


class Shelf:
    """A directory of recipes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = Config(recipe_path=(path,))
        self.add("mybase", BASE)

    def add(self, name: str, text: str) -> Path:
        path = self.path / f"{name}.yaml"
        path.write_text(text)
        path.chmod(0o644)
        return path

    def load(self, text: str, architecture: str = "amd64", **variables: str) -> Recipe:
        self.add("web", text)
        return load("web", self.config, variables=variables, architecture=architecture)

    def refused(self, text: str, **variables: str) -> MachinespawnError:
        with pytest.raises(MachinespawnError) as caught:
            self.load(text, **variables)
        return caught.value


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_a_release(shelf: Shelf) -> None:
    recipe = shelf.load(
        RELEASE
        + "description: Debian 12\naliases: [w, web-12]\nend_of_life: 2028-06-30\nsystemd: 252\nunproven: none saw\n"
    )
    assert recipe == Recipe(
        name="web",
        path=str(shelf.path / "web.yaml"),
        description="Debian 12",
        distribution="mydebian",
        version="12",
        codename="bookworm",
        aliases=("w", "web-12"),
        unproven="none saw",
        end_of_life=date(2028, 6, 30),
        systemd=252,
        apt=AptSource(
            suites=(Suite("bookworm"), Suite("bookworm-security", "security", ("updates/main",))),
            components=("main",),
            mirrors=(
                ("main", ("http://mirror.example.org/debian",)),
                ("security", ("http://a.example.org/s", "http://b.example.org/s")),
            ),
            keyrings=("one.gpg",),
            keyring_package="debian-archive-keyring",
            script="sid",
            snapshot="http://snapshot.example.org/{archive}/{date}/",
        ),
        architectures=(("amd64", "amd64"), ("arm64", "arm64")),
        base_packages=("systemd", "dbus"),
        packages=("less",),
    )


def test_everything_that_a_user_may_say(shelf: Shelf) -> None:
    (shelf.path / "files").mkdir()
    (shelf.path / "files/motd").write_text("welcome to {{ codename }}\n")
    recipe = shelf.load(
        RELEASE
        + f"""
variables: {{port: 80, ssh: true}}
variant: standard
packages: [nginx-light, less, "{{% if ssh %}}openssh-server{{% endif %}}", "vim=2:9.0.1~a-1", python3/bookworm]
files:
  - path: /etc/port
    content: "{{{{ port }}}}\\n"
    mode: 0600
    owner: www-data
    group: 33
  - {{path: /etc/motd, source: files/motd, template: true, mode: "755"}}
  - {{path: /etc/raw, source: files/motd}}
  - {{path: /etc/as-is, content: "{{{{ no }}}}", template: false, mode: 0o4755}}
  - {{path: /etc/empty, content: ""}}
commands: ["touch /{{{{ arch }}}}"]
users:
  - {{name: ada, uid: 1000, groups: [adm, sudo], shell: /bin/sh, home: /srv/ada, password_hash: "{HASH}", sudo: yes,
     ssh_keys: ["{KEY} ada@example.org", 'from="10.0.0.0/8",no-pty {KEY}']}}
  - {{name: bob}}
root: {{password_hash: "{HASH}", ssh_keys: ["{KEY}"]}}
locale: de_DE.UTF-8
timezone: America/Argentina/Buenos_Aires
hostname: www.example.org
services: {{enable: [nginx, getty@tty1.service], disable: [cron.service], mask: [apt-daily.timer]}}
machine:
  private_users: no
  unified_cgroup: "{{{{ not ssh }}}}"
  parameters: [systemd.mask=dev-hugepages.mount]
  environment: {{TZ: "", A: 1}}
  supervisor_environment: {{SYSTEMD_SECCOMP: 0}}
  degraded: {{systemd-logind: no dbus here}}
"""
    )
    assert recipe.variant == "standard"
    assert recipe.packages == ("less", "nginx-light", "openssh-server", "vim=2:9.0.1~a-1", "python3/bookworm")
    assert recipe.files == (
        File("/etc/port", "80\n", "", 0o600, "www-data", "33"),
        File("/etc/motd", "welcome to bookworm\n", "", 0o755),
        File("/etc/raw", "", str(shelf.path / "files/motd")),
        File("/etc/as-is", "{{ no }}", "", 0o4755),
        File("/etc/empty"),
    )
    assert recipe.commands == ("touch /amd64",)
    assert recipe.users == (
        User("ada", 1000, ("adm", "sudo"), "/bin/sh", "/srv/ada", HASH, True, recipe.users[0].ssh_keys),
        User("bob"),
    )
    assert recipe.users[0].ssh_keys == (f"{KEY} ada@example.org", f'from="10.0.0.0/8",no-pty {KEY}')
    assert (recipe.root_password_hash, recipe.root_ssh_keys) == (HASH, (KEY,))
    assert (recipe.locale, recipe.timezone) == ("de_DE.UTF-8", "America/Argentina/Buenos_Aires")
    assert recipe.hostname == "www.example.org"
    assert recipe.services == Services(("nginx.service", "getty@tty1.service"), ("cron.service",), ("apt-daily.timer",))
    assert recipe.machine == MachineSettings(
        private_users=False,
        unified_cgroup=False,
        parameters=("systemd.mask=dev-hugepages.mount",),
        environment=(("TZ", ""), ("A", "1")),
        supervisor_environment=(("SYSTEMD_SECCOMP", "0"),),
        degraded=(("systemd-logind.service", "no dbus here"),),
    )


def test_a_tarball(shelf: Shelf) -> None:
    recipe = shelf.load(
        """\
distribution: arch
version: rolling
architectures: {amd64: x86_64}
packages: [NetworkManager]
variables: {date: 2026.01.01}
tarball:
  url: "https://a.example.org/{{ date }}/a-{{ distribution_arch }}.tar.zst"
  checksum: https://a.example.org/sums
  signature: https://a.example.org/sums.sig
  keyring: arch.gpg
  strip: 1
"""
    )
    assert recipe.apt is None
    assert recipe.tarball == TarSource(
        url="https://a.example.org/2026.01.01/a-x86_64.tar.zst",
        checksum="https://a.example.org/sums",
        signature="https://a.example.org/sums.sig",
        keyring="arch.gpg",
        strip=1,
    )
    streams = shelf.load(
        TARBALL + 'tarball: {streams: "https://i.example.org/", product: "d:{{ version }}:{{ arch }}"}', "riscv64"
    )
    assert streams.tarball == TarSource(streams="https://i.example.org", product="d:1:riscv64")


EXTENDS = {
    "lists are appended": ("packages: [vim]", "packages", ("less", "vim")),
    "unless replaced": ("packages: !replace [vim]", "packages", ("vim",)),
    "replaced by nothing": ("packages: !replace []", "packages", ()),
    "a package named twice": ("packages: [vim, less, vim]", "packages", ("less", "vim")),
    "a scalar": ("distribution: other", "distribution", "other"),
}


@pytest.mark.parametrize(("text", "field", "value"), EXTENDS.values(), ids=EXTENDS)
def test_extending(shelf: Shelf, text: str, field: str, value: object) -> None:
    assert getattr(shelf.load(f"{RELEASE}{text}\n"), field) == value


def test_lists_of_places_take_the_parents_place(shelf: Shelf) -> None:
    recipe = shelf.load(RELEASE + "apt:\n  suites: ['{{ codename }}']\n  mirrors: {main: [http://c.example.org]}\n")
    assert recipe.apt
    assert recipe.apt.suites == (Suite("bookworm"),)
    assert dict(recipe.apt.mirrors)["main"] == ("http://c.example.org",)
    assert "security" in dict(recipe.apt.mirrors), "mappings are merged key by key"
    recipe = shelf.load(
        RELEASE + "apt:\n  components: !append [contrib]\n  mirrors: {main: !append [http://c.example.org]}\n"
    )
    assert recipe.apt and recipe.apt.components == ("main", "contrib")
    assert dict(recipe.apt.mirrors)["main"] == ("http://mirror.example.org/debian", "http://c.example.org")


def test_replacing_a_mapping(shelf: Shelf) -> None:
    error = shelf.refused(RELEASE + "apt: !replace {components: [main]}\n")
    assert "web.yaml:4: apt.suites: is missing" in error.message


def test_three_generations(shelf: Shelf) -> None:
    shelf.add("mid", RELEASE + "packages: !replace [mid]\ndescription: mid\naliases: [m]\nunproven: why\n")
    recipe = shelf.load("extends: ./mid.yaml\npackages: [top]\n")
    assert recipe.packages == ("mid", "top"), "what replaced before still does"
    assert (recipe.description, recipe.aliases) == ("", ()), "these are never inherited"
    assert recipe.unproven == "why"
    assert shelf.load('extends: m\nunproven: ""\n').unproven == "", "an alias names the parent; a text is taken back"


def test_files_and_users_of_the_child_win(shelf: Shelf) -> None:
    shelf.add(
        "mid",
        RELEASE + "files: [{path: /a, content: old}, {path: /b, content: b}]\nusers: [{name: ada, sudo: true}]\n",
    )
    recipe = shelf.load(
        "extends: mid\nfiles: [{path: '/{{ v }}', content: new}]\nvariables: {v: a}\nusers: [{name: ada}]\n"
    )
    assert recipe.files == (File("/a", "new"), File("/b", "b"))
    assert recipe.users == (User("ada"),)


def test_a_source_is_beside_the_file_that_names_it(shelf: Shelf, tmp_path: Path) -> None:
    (shelf.path / "motd").write_text("hello")
    shelf.add("mid", RELEASE + "files: [{path: /a, source: motd}]\n")
    (tmp_path / "elsewhere").mkdir()
    child = tmp_path / "elsewhere/child.yaml"
    child.write_text("extends: ../mid.yaml\n")
    recipe = load(str(child), shelf.config)
    assert Path(recipe.files[0].source).read_text() == "hello"
    assert recipe.name == "child"


def test_a_recipe_of_ones_own_extends_the_one_it_stands_before(shelf: Shelf, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    shelf.add("web", RELEASE)
    (own / "web.yaml").write_text("extends: web\npackages: [vim]\n")
    recipe = load("web", Config(recipe_path=(own, shelf.path)))
    assert recipe.packages == ("less", "vim")


VARIABLES = "variables: {port: 80, tls: false, host: www, url: '{{ host }}:{{ port }}', token: null, code: 0123}\n"
RENDERED = {
    "defaults": ("{{ url }} {{ port + 1 }} {{ not tls }} {{ code }}", {}, "www:80 81 True 0123"),
    "given": ("{{ url }} {{ port + 1 }} {{ tls }}", {"port": "8080", "tls": "yes"}, "www:8080 8081 True"),
    "given where there is no default": ("{{ token }}", {"token": "t"}, "t"),
    "a value of -D is no template": ("{{ host }}", {"host": "{{ port }}"}, "{{ port }}"),
    "built in": (
        "{{ name }} {{ distribution }} {{ version }} {{ codename }} {{ arch }} {{ distribution_arch }}",
        {},
        "web mydebian 12 bookworm amd64 amd64",
    ),
    "raw": ("{% raw %}{{ x }}{% endraw %}", {}, "{{ x }}"),
    "trailing newline": ("{{ port }}\\n", {}, "80\n"),
}


@pytest.mark.parametrize(("template", "given", "text"), RENDERED.values(), ids=RENDERED)
def test_templates(shelf: Shelf, template: str, given: dict[str, str], text: str) -> None:
    recipe = shelf.load(RELEASE + VARIABLES + f'commands: ["{template}"]\n', **given)
    assert recipe.commands == (text,)


def test_a_childs_variable_overrides_its_parents(shelf: Shelf) -> None:
    shelf.add("mid", RELEASE + VARIABLES + "commands: ['{{ url }}']\n")
    assert shelf.load("extends: mid\nvariables: {host: other}\n").commands == ("other:80",)


WRONG_DEFINITIONS = {
    "undeclared": ({"prot": "1"}, "-D prot: the recipe declares no such variable", "did you mean port?"),
    "built in": ({"arch": "x"}, "-D arch: this variable cannot be set", "known are"),
    "not a switch": ({"tls": "maybe"}, "-D tls: 'maybe' is neither true nor false", ""),
    "not a number": ({"port": "http"}, "-D port: 'http' is no whole number", ""),
    "a NUL": ({"host": "a\0b"}, "-D host: holds a NUL", ""),
}


@pytest.mark.parametrize(("given", "message", "hint"), WRONG_DEFINITIONS.values(), ids=WRONG_DEFINITIONS)
def test_wrong_definitions(shelf: Shelf, given: dict[str, str], message: str, hint: str) -> None:
    error = shelf.refused(RELEASE + VARIABLES, **given)
    assert isinstance(error, UsageError)
    assert message in error.message and hint in error.hint


def test_architectures(shelf: Shelf) -> None:
    shelf.add("web", RELEASE)
    with pytest.raises(UsageError, match="web is not there for architecture 'mips'") as caught:
        load("web", shelf.config, architecture="mips")
    assert caught.value.hint == "it is there for: amd64, arm64"
    shelf.add("web", RELEASE + "architectures: {arm64: aarch64}\ncommands: ['{{ distribution_arch }}']\n")
    assert load("web", shelf.config, architecture="arm64").commands == ("aarch64",)
    shelf.add("any", TARBALL + "tarball: {url: 'http://a.example.org/{{ arch }}'}\n")
    with pytest.raises(UsageError):
        load("any", shelf.config, architecture="-x")
    assert load("any", shelf.config, architecture="s390x").tarball == TarSource(url="http://a.example.org/s390x")


# What is appended to RELEASE, whose three lines come first; what is said; what is hinted.
WRONG = {
    "unknown key": ("pakages: [a]", "web.yaml:4: pakages: unknown key", "did you mean packages?"),
    "unknown key inside": ("apt: {mirors: {}}", "web.yaml:4: apt.mirors: unknown key", "did you mean mirrors?"),
    "unknown key in a list": (
        "files:\n  - path: /a\n    contents: b",
        "web.yaml:6: files[0].contents: unknown key",
        "did you mean content?",
    ),
    "unknown archive": ("apt: {mirrors: {other: http://a}}", "apt.mirrors.other: unknown key", "known are: main"),
    "text for a list": ("packages: vim", "web.yaml:4: packages: is no list", "[a, b]"),
    "list for a text": ("locale: [C]", "web.yaml:4: locale: is a list or mapping, not a locale", ""),
    "list for a mapping": ("apt: []", "web.yaml:4: apt: is no mapping", "its keys are: accept_expired_keys"),
    "mapping for a list": ("packages: {vim: 1}", "web.yaml:4: packages: is no list", ""),
    "no value": ("packages:", "web.yaml:4: packages: is no list", ""),
    "no text": ("locale:", "web.yaml:4: locale: has no value", "remove the line"),
    "switch for a text": ("hostname: true", "web.yaml:4: hostname: is true or false", 'quotes: "true"'),
    "text for a switch": ("users: [{name: a, sudo: 'true'}]", "users[0].sudo: 'true' is neither", "without quotes"),
    "number for a switch": ("machine: {private_users: 1}", "machine.private_users: '1' is neither", ""),
    "text for a number": ("systemd: new", "web.yaml:4: systemd: 'new' is no whole number", ""),
    "endless number": (f"systemd: {'9' * 5000}", "web.yaml:4: systemd: '9999", ""),
    "quoted number": ("systemd: '252'", "systemd: '252' is no whole number", ""),
    "null in a list": ("packages: [vim, ]\ncommands: [~]", "web.yaml:5: commands[0]: has no value", ""),
    "empty item": ("packages: ['']", "packages[0]: '' is not", ""),
    "choice": ("variant: minbas", "variant: 'minbas' is none of the choices", "did you mean minbase?"),
    "date": ("end_of_life: 2028-13-01", "web.yaml:4: end_of_life: '2028-13-01' is no date", "2028-06-30"),
    "date without dashes": ("end_of_life: 20280630", "end_of_life: '20280630' is no date", ""),
    "mode": ("files: [{path: /a, content: '', mode: 0888}]", "files[0].mode: '0888' is no file mode", "0644"),
    "too large a mode": ("files: [{path: /a, content: '', mode: 77777}]", "files[0].mode: '77777'", ""),
    "negative mode": ("files: [{path: /a, content: '', mode: -644}]", "files[0].mode: '-644'", ""),
    "content and source": ("files: [{path: /a, content: '', source: b}]", "files[0]: needs either content or", ""),
    "neither": ("files: [{path: /a}]", "web.yaml:4: files[0]: needs either content or source", ""),
    "no path": ("files: [{content: a}]", "web.yaml:4: files[0].path: is missing", ""),
    "missing source": ("files: [{path: /a, source: gone}]", "gone cannot be read: No such file", "beside"),
    "directory as source": ("files: [{path: /a, source: .}]", "files[0].source:", ""),
    "same file twice": (
        "files:\n  - {path: /a, content: b}\n  - {path: /a, content: c}",
        "web.yaml:6: files[1].path: /a is there already, in line 5",
        "keep one",
    ),
    "same user twice": ("users: [{name: a}, {name: a}]", "users[1].name: a is there already", ""),
    "root as a user": ("users: [{name: root}]", "users[0].name: root is there already", "root:"),
    "password in clear": ("root: {password_hash: secret}", "root.password_hash: 'secret' is not", "openssl passwd"),
    "no abstract source": ("apt: {accept_expired_release: true}", "apt.accept_expired_release: is for", "end_of_life"),
    "two sources": ("tarball: {url: http://a.example.org/x}", "web.yaml:4: tarball: stands beside apt", ""),
    "suite without mirror": (
        "apt: {mirrors: !replace {main: http://a.example.org}}",
        "web.yaml:4: apt.mirrors: has no security",
        "",
    ),
    "suite twice": ("apt: {suites: [a, a]}", "apt.suites: a is in it twice", ""),
    "suite without name": ("apt: {suites: [{archive: main}]}", "apt.suites[0].suite: is missing", ""),
    "suite's archive": ("apt: {suites: [{suite: a, archive: sec}]}", "apt.suites[0].archive: 'sec'", "known are: main"),
    "no suites": ("apt: {suites: []}", "apt.suites: is empty", ""),
    "no keyrings": ("apt: {keyrings: []}", "apt.keyrings: is empty", ""),
    "snapshot without date": ("apt: {snapshot: http://a.example.org/}", "apt.snapshot: 'http://a", "{date}"),
    "undefined": (
        "commands:\n  - |\n    a\n    b {{ codenam }}",
        "web.yaml:7: commands[0]: 'codenam'",
        "mean codename?",
    ),
    "undefined, inline": ("locale: '{{ x }}'", "web.yaml:4: locale: 'x' is undefined", "declare it under variables"),
    "not given": (
        "variables: {token: ~}\nlocale: '{{ token }}'",
        "web.yaml:5: locale: 'token' is undefined",
        "-D token=VALUE",
    ),
    "broken template": ("commands:\n  - |\n    a\n    {% if %}", "web.yaml:7: commands[0]: wrong template", "raw"),
    "template that fails": ("locale: '{{ 1 // 0 }}'", "web.yaml:4: locale: template failed: ZeroDivisionError", ""),
    "template that grows": (
        "commands: ['{% for a in range(9999) %}{{ \"x\" * 999 }}{% endfor %}']",
        "commands[0]: the template's text is larger",
        "",
    ),
    "range without end": ("locale: '{% for a in range(10 ** 12) %}{% endfor %}'", "OverflowError", ""),
    "template that looks around": (
        "locale: \"{{ ''.__class__.__mro__ }}\"",
        "locale: template failed: SecurityError",
        "",
    ),
    "template that includes": ("locale: \"{% include '/etc/shadow' %}\"", "locale: template failed", ""),
    "template where none may be": ("description: '{{ x }}'", "web.yaml:4: description: takes no template", ""),
    "template in codename": ("unproven: '{{ x }}'", "web.yaml:4: unproven: takes no template", ""),
    "switch from a template": ("machine: {private_users: '{{ codename }}'}", "'bookworm' is neither true", ""),
    "list as a variable": ("variables: {a: [b]}", "web.yaml:4: variables.a: is a list or mapping", ""),
    "variable's name": ("variables: {A-b: c}", "web.yaml:4: variables.A-b: cannot be the name", "lower-case"),
    "built-in variable": ("variables: {arch: c}", "web.yaml:4: variables.arch: is there already", ""),
    "variable used before": ("variables: {a: '{{ b }}', b: 1}", "variables.a: 'b' is undefined", ""),
    "environment's name": ("machine: {environment: {A=B: c}}", "machine.environment.'A=B'", "such as: TZ"),
    "environment of the supervisor": (
        "machine: {supervisor_environment: {LD_PRELOAD: /x}}",
        "machine.supervisor_environment.LD_PRELOAD: 'LD_PRELOAD' is not",
        "SYSTEMD_SECCOMP",
    ),
    "no reason": ("machine: {degraded: {a.service: ''}}", "machine.degraded.a.service: '' is not", ""),
    "reserved alias": ("aliases: [a, run]", "web.yaml:4: aliases[1]: run is a command", "another name"),
    "strange alias": ("aliases: [A b]", "web.yaml:4: aliases[0]: 'A b' is not the name of a recipe", ""),
    "control characters": ('description: "a\\e[31m"', r"description: 'a\x1b[31m' is not one line", ""),
}


@pytest.mark.parametrize(("text", "message", "hint"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_names_file_line_and_key(shelf: Shelf, text: str, message: str, hint: str) -> None:
    error = shelf.refused(f"{RELEASE}{text}\n")
    assert isinstance(error, RecipeError)
    assert message in error.message
    assert str(shelf.path / "web.yaml") in error.message
    assert hint in error.hint


# Values that must not reach an argument list or a configuration file: every one of them in every place of its kind.
HOSTILE_WORDS = (
    "-x",
    "--option=x",
    "a b",
    "a\nb",
    "a;b",
    "$(id)",
    "`id`",
    "a'b",
    'a"b',
    "../a",
    "a/../b",
    "\x1b[0m",
    "é",
)
PLACES = {
    "packages": "packages: [{}]",
    "base_packages": "base_packages: [{}]",
    "suite": "apt: {{suites: [{}]}}",
    "suite in a mapping": "apt: {{suites: [{{suite: {}}}]}}",
    "component": "apt: {{components: [{}]}}",
    "mirror": "apt: {{mirrors: {{main: {}}}}}",
    "keyring": "apt: {{keyrings: [{}]}}",
    "keyring_package": "apt: {{keyring_package: {}}}",
    "script": "apt: {{script: {}}}",
    "snapshot": "apt: {{snapshot: {}}}",
    "distribution": "distribution: {}",
    "alias": "aliases: [{}]",
    "architecture": "architectures: {{amd64: {}}}",
    "debian's architecture": "architectures: {{{}: amd64}}",
    "owner": "files: [{{path: /a, content: b, owner: {}}}]",
    "path": "files: [{{path: {}, content: b}}]",
    "user": "users: [{{name: {}}}]",
    "group": "users: [{{name: ada, groups: [{}]}}]",
    "shell": "users: [{{name: ada, shell: {}}}]",
    "home": "users: [{{name: ada, home: {}}}]",
    "hash": "users: [{{name: ada, password_hash: {}}}]",
    "ssh key": "users: [{{name: ada, ssh_keys: [{}]}}]",
    "root's ssh key": "root: {{ssh_keys: [{}]}}",
    "locale": "locale: {}",
    "time zone": "timezone: {}",
    "host name": "hostname: {}",
    "unit": "services: {{enable: [{}]}}",
    "unit to mask": "services: {{mask: [{}]}}",
    "degraded": "machine: {{degraded: {{{}: because}}}}",
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("word", HOSTILE_WORDS, ids=map(repr, HOSTILE_WORDS))
def test_hostile_words_are_refused_wherever_they_stand(shelf: Shelf, place: str, word: str) -> None:
    quoted = '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\x1b", "\\e") + '"'
    error = shelf.refused(f"{RELEASE}{place.format(quoted)}\n")
    assert isinstance(error, RecipeError)
    assert "\x1b" not in error.message


HOSTILE_VALUES = {
    "apt's removal": "packages: [openssh-server-]",
    "option to init": "machine: {parameters: [-x]}",
    "two arguments": "machine: {parameters: ['a b']}",
    "line break in the environment": 'machine: {environment: {A: "b\\nC=d"}}',
    "ftp": "apt: {mirrors: {main: ftp://a.example.org/}}",
    "no scheme": "apt: {mirrors: {main: a.example.org/debian}}",
    "file with a host": "apt: {mirrors: {main: file://a/b}}",
    "option in a sources.list": "apt: {mirrors: {main: 'http://a.example.org/ [trusted=yes]'}}",
    "host that is an option": "apt: {mirrors: {main: http://-a/}}",
    "root directory": "files: [{path: /, content: a}]",
    "relative path": "files: [{path: etc/motd, content: a}]",
    "path upwards": "files: [{path: /etc/../../a, content: a}]",
    "path that ends upwards": "files: [{path: /etc/.., content: a}]",
    "dot in a path": "files: [{path: /etc/./a, content: a}]",
    "double slash": "files: [{path: //etc/a, content: a}]",
    "slash at the end": "files: [{path: /etc/, content: a}]",
    "NUL": 'commands: ["a\\0b"]',
    "keyring with a directory": "apt: {keyrings: [/usr/share/keyrings/a.gpg]}",
    "colon in a hash": "root: {password_hash: '$6$salt$hash:0:0:'}",
    "uid 0": "users: [{name: ada, uid: 0}]",
    "uid of nobody": "users: [{name: ada, uid: 65534}]",
    "endless text": f"timezone: {'a' * 5000}",
}


@pytest.mark.parametrize("text", HOSTILE_VALUES.values(), ids=HOSTILE_VALUES)
def test_hostile_values_are_refused(shelf: Shelf, text: str) -> None:
    error = shelf.refused(f"{RELEASE}{text}\n")
    assert isinstance(error, RecipeError)
    assert "web.yaml:4:" in error.message


def test_templates_do_not_get_around_the_rules(shelf: Shelf) -> None:
    error = shelf.refused(RELEASE + "variables: {p: vim}\npackages: ['{{ p }}']\n", p="--purge")
    assert "web.yaml:5: packages[0]: '--purge' is not" in error.message


@pytest.mark.timeout(20)
def test_long_hostile_values_are_refused_soon(shelf: Shelf) -> None:
    for text in ("/a" * 200_000 + "/..", "a-" * 200_000, "a." * 200_000, "/" * 400_000):
        for place in PLACES.values():
            shelf.refused(f"{RELEASE}{place.format(text)}\n")


NEEDS = {
    "distribution": ("version: 1\n", "web.yaml:1: distribution: is missing"),
    "version": ("distribution: d\n", "web.yaml:1: version: is missing"),
    "a source": (TARBALL, "web.yaml:1: neither apt nor tarball is there"),
    "keyrings": (
        f"{TARBALL}apt: {{suites: [a], components: [b], mirrors: {{main: http://c}}}}\n",
        "web.yaml:3: apt.keyrings: is missing",
    ),
    "url": (TARBALL + "tarball: {strip: 1}\n", "web.yaml:3: tarball: needs either url, or streams"),
    "product": (TARBALL + "tarball: {streams: http://a}\n", "web.yaml:3: tarball.product: is missing"),
    "one of url and streams": (
        f"{TARBALL}tarball: {{streams: http://a, product: b, url: http://c}}\n",
        "web.yaml:3: tarball: needs either url, or streams",
    ),
    "keyring": (
        f"{TARBALL}tarball: {{url: http://a, signature: http://b}}\n",
        "web.yaml:3: tarball.keyring: is missing",
    ),
    "a mapping": ("- a\n", "web.yaml:1: is no mapping"),
    "anything": ("", "web.yaml:1: is empty"),
}


@pytest.mark.parametrize(("text", "message"), NEEDS.values(), ids=NEEDS)
def test_what_a_recipe_needs(shelf: Shelf, text: str, message: str) -> None:
    error = shelf.refused(text)
    assert isinstance(error, RecipeError) and message in error.message


def test_a_mistake_of_the_parent_is_told_of_the_parents_file(shelf: Shelf) -> None:
    shelf.add("mid", RELEASE + "services: {enable: [-x]}\n")
    error = shelf.refused("extends: mid\n")
    assert f"{shelf.path / 'mid.yaml'}:4: services.enable[0]: '-x' is not" in error.message
    assert f"(in what {shelf.path / 'web.yaml'} extends)" in error.message


def test_a_child_that_forgets_its_codename(shelf: Shelf) -> None:
    error = shelf.refused("extends: mybase\nversion: 12\n")
    assert f"{shelf.path / 'mybase.yaml'}:9: apt.suites[0]: 'codename' is undefined" in error.message
    assert "write a line  codename:" in error.hint


def test_circles(shelf: Shelf) -> None:
    shelf.add("a", "extends: b\n")
    shelf.add("b", "extends: ./web.yaml\n")
    error = shelf.refused("extends: a\n")
    paths = [str(shelf.path / f"{name}.yaml") for name in ("web", "a", "b", "web")]
    assert "goes round in a circle: " + " → ".join(paths) in error.message
    assert f"{paths[2]}:1: extends" in error.message
    for own in ("web", "./web.yaml", "w"):
        assert "goes round in a circle" in shelf.refused(f"aliases: [w]\nextends: {own}\n").message


PARENTS = {
    "unknown": ("mybsae", "extends: there is no recipe 'mybsae'", "did you mean mybase?"),
    "missing file": ("./gone.yaml", "extends: there is no file", ""),
    "option": ("-x", "extends: '-x' is not", ""),
    "template": ("'{{ x }}'", "extends: takes no template", ""),
    "two": ("[a, b]", "extends: is a list or mapping", ""),
    "empty": ("''", "extends: '' is not", ""),
}


@pytest.mark.parametrize(("parent", "message", "hint"), PARENTS.values(), ids=PARENTS)
def test_wrong_parents(shelf: Shelf, parent: str, message: str, hint: str) -> None:
    error = shelf.refused(f"extends: {parent}\n")
    assert isinstance(error, RecipeError)
    assert f"web.yaml:1: {message}" in error.message and hint in error.hint


def test_an_abstract_recipe_cannot_be_built(shelf: Shelf) -> None:
    shelf.add("web", RELEASE)
    with pytest.raises(RecipeError, match=r"mybase.yaml:1: abstract: .* only there to be extended") as caught:
        load("mybase", shelf.config)
    assert caught.value.hint == "build one of these: web"


def test_sources_that_everybody_can_write_are_refused(shelf: Shelf) -> None:
    source = shelf.path / "motd"
    source.write_text("hello")
    source.chmod(0o666)
    error = shelf.refused(RELEASE + "files: [{path: /a, source: motd}]\n")
    assert isinstance(error, TrustError) and "chmod o-w" in error.hint


def test_mistakes_in_a_templated_source_name_its_line(shelf: Shelf) -> None:
    (shelf.path / "motd").write_text("a\n{{ codenam }}\n")
    error = shelf.refused(RELEASE + "files: [{path: /a, source: motd, template: true}]\n")
    assert f"{shelf.path / 'motd'}:2: files[0]: 'codenam' is undefined" in error.message


def test_every_field_of_the_model_can_be_said(shelf: Shelf) -> None:
    """A field added to the model must be read, or this test told why not."""
    from machinespawn.recipe.source import KEYS

    fields = {field.name for field in dataclasses.fields(Recipe)}
    assert fields - set(KEYS) == {"name", "path", "root_password_hash", "root_ssh_keys"}
    assert set(KEYS) - fields == {"abstract", "extends", "root", "variables"}


def test_the_documentation_tells_every_key() -> None:
    from machinespawn.recipe import archives, contents
    from machinespawn.recipe.source import KEYS

    text = (Path(__file__).parents[2] / "docs/recipes.md").read_text()
    tables = (KEYS, archives.APT_KEYS, archives.SUITE_KEYS, archives.TARBALL_KEYS, contents.FILE_KEYS)
    more = (contents.USER_KEYS, contents.ROOT_KEYS, contents.SERVICES_KEYS, contents.MACHINE_KEYS)
    missing = [key for keys in (*tables, *more) for key in keys if key not in text]
    assert not missing


def test_a_recipe_without_templates_does_not_import_jinja2(shelf: Shelf) -> None:
    import subprocess
    import sys

    path = shelf.add("plain", TARBALL + "tarball: {url: http://a.example.org/x}\n")
    code = (
        "import sys; from machinespawn.config import Config; from machinespawn.recipe.load import load;"
        f"load({str(path)!r}, Config()); print({{'jinja2', 'sh', 'requests'}} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert result.stdout.strip() == "set()"


def test_the_example_of_the_documentation_loads(shelf: Shelf) -> None:
    text = (Path(__file__).parents[2] / "docs/recipes.md").read_text()
    recipe = shelf.load(text.partition("```yaml\n")[2].partition("```")[0], port="8080")
    contents = {file.path: file.content for file in recipe.files}
    assert contents["/etc/nginx/conf.d/port.conf"] == "server { listen 8080; }\n"
    assert recipe.users[0].name == "ada" and recipe.apt
