"""bootstrap, plan, pull-tar, clean-cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from machinespawn.cli.answer import give, table
from machinespawn.cli.call import Call, command
from machinespawn.errors import UsageError
from machinespawn.progress import step
from machinespawn.text import _

if TYPE_CHECKING:
    from machinespawn.build.wanted import Built, StageReport, Wanted
    from machinespawn.config import Config

_FILE = click.Path(dir_okay=False, path_type=Path)
_KEYRING = click.Path(exists=True, dir_okay=False, path_type=Path)

_REPLACE = click.option("--replace", is_flag=True, help=_("Put it in the place of a machine of that name."))
_KEEP = click.option("--keep", is_flag=True, help=_("Keep the staging tree of a build that fails, and say where."))
_ARCH = click.option(
    "--arch",
    "architecture",
    default="",
    metavar="ARCH",
    help=_("Debian's name of it, such as arm64; default: this host's."),
)


def _build_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that decide what is built: those of bootstrap and of plan."""
    options = (
        click.option(
            "-p",
            "--package",
            "packages",
            multiple=True,
            metavar="NAME[,NAME…]",
            help=_("Install this too; repeatable."),
        ),
        click.option("--variant", default="", metavar="NAME", help=_("minbase, standard, …; default: the recipe's.")),
        _ARCH,
        click.option("--mirror", default="", metavar="URL", help=_("Archive to take the packages from.")),
        click.option("--keyring", type=_KEYRING, help=_("Keys that sign it, instead of the recipe's.")),
        click.option("--driver", metavar="NAME", help=_("auto, debootstrap or mmdebstrap.")),
        click.option("--proxy", metavar="URL", help=_("Apt proxy: a URL, auto or none.")),
        click.option(
            "-D", "--define", "variables", multiple=True, metavar="NAME=VALUE", help=_("A variable of the recipe.")
        ),
        click.option("--no-cache", is_flag=True, help=_("Build every layer anew and take no cached download.")),
        click.option("--refresh", is_flag=True, help=_("Ask the mirrors for their indexes now.")),
        click.option("--offline", is_flag=True, default=None, help=_("Never ask the mirrors: only what is cached.")),
        click.option("--lock", type=_FILE, help=_("File that pins packages; written unless --locked.")),
        click.option("--locked", is_flag=True, help=_("Build exactly what the lock file says.")),
        click.option("--snapshot", default="", metavar="DATE", help=_("The archive as it was: YYYYMMDD[THHMMSSZ].")),
        click.option(
            "--allow-expired-release", is_flag=True, help=_("Take a Release file that is past its Valid-Until.")
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def _wanted(recipe: str, options: dict[str, Any]) -> Wanted:
    """What these options ask for."""
    from machinespawn.build.wanted import Wanted

    if options["locked"] and options["lock"] is None:
        raise UsageError(_("--locked without a lock file"), _("name it: --lock FILE --locked"))
    lock, keyring = options.pop("lock"), options.pop("keyring")
    return Wanted(
        recipe,
        packages=tuple(name for given in options.pop("packages") for name in given.replace(",", " ").split()),
        variables=definitions(options.pop("variables")),
        lock=lock.absolute() if lock else None,
        keyring=str(keyring.absolute()) if keyring else "",
        use_cache=not options.pop("no_cache"),
        **options,
    )


def definitions(given: tuple[str, ...], option: str = "-D") -> tuple[tuple[str, str], ...]:
    """The pairs of ``-D NAME=VALUE``, or of another option."""
    pairs = [text.partition("=") for text in given]
    for name, equals, value in pairs:
        if not name or not equals:
            raise UsageError(
                _("{option} {given}: no value").format(option=option, given=name + equals + value),
                _("write {option} NAME=VALUE").format(option=option),
            )
    return tuple((name, value) for name, _equals, value in pairs)


def _config(call: Call, options: dict[str, Any]) -> Config:
    """The configuration, with those of the options that belong to it taken out of them."""
    return call.config(**{name: options.pop(name) for name in ("driver", "proxy", "offline")})


@command(
    "bootstrap",
    help=_(
        "Build a machine called NAME from a recipe: a name, an alias or a file.\n\n"
        "'machinespawn RECIPE NAME' is the same."
    ),
)
@click.argument("recipe")
@click.argument("name")
@_build_options
@_REPLACE
@_KEEP
def bootstrap(call: Call, recipe: str, name: str, **options: Any) -> None:
    """One build."""
    from machinespawn.build import pipeline

    config = _config(call, options)
    wanted = _wanted(recipe, {"name": name, **options})
    with step(_("{name} from {recipe}").format(name=name, recipe=recipe)):
        built = pipeline.bootstrap(wanted, config)
    give(call, built, lambda: _built(built))


@command("plan", help=_("Show the stages of a build, their keys, hit or miss, and why they miss."))
@click.argument("recipe")
@_build_options
def plan(call: Call, recipe: str, **options: Any) -> None:
    """What bootstrap would do."""
    from machinespawn.build import plan

    config = _config(call, options)
    wanted = _wanted(recipe, options)
    with step(_("plan of {recipe}").format(recipe=recipe)):
        stages = plan.explain(wanted, config)
    give(call, stages, lambda: _stages(stages))


@command(
    "pull-tar",
    help=_(
        "Make a machine called NAME from an archive.\n\n"
        "SOURCE is an http(s) URL, a file, an OCI layout directory, or the name of a recipe that comes as an archive."
    ),
)
@click.argument("source")
@click.argument("name")
@click.option("--sha256", default="", metavar="HEX", help=_("The digest it must have."))
@click.option("--no-verify", is_flag=True, help=_("Take it although nothing vouches for it."))
@_ARCH
@_REPLACE
@_KEEP
def pull_tar(call: Call, source: str, name: str, no_verify: bool, **options: Any) -> None:
    """One archive."""
    from machinespawn.build import pipeline
    from machinespawn.build.wanted import Pulled

    pulled = Pulled(source, name, verify=not no_verify, **options)
    with step(_("{name} from {source}").format(name=name, source=source)):
        built = pipeline.pull(pulled, call.config())
    give(call, built, lambda: _built(built))


@command("clean-cache", help=_("Free layers and downloads that no machine needs."))
@click.option("--dry-run", is_flag=True, help=_("Only say what would go."))
def clean_cache(call: Call, dry_run: bool) -> None:
    """Free them, or tell."""
    from machinespawn.store import clean
    from machinespawn.text import quantity

    freed = clean.clean(call.config(), dry_run=dry_run)

    def tell() -> None:
        for path in freed.paths if dry_run or call.verbosity > 0 else ():
            print(path)
        text = _("{layers} layers and {downloads} downloads, {size}")
        summary = text.format(layers=len(freed.layers), downloads=freed.downloads, size=quantity(freed.bytes))
        print(
            _("would free {summary}").format(summary=summary)
            if dry_run
            else _("freed {summary}").format(summary=summary)
        )

    give(call, freed, tell)


def _built(built: Built) -> None:
    reused = _("{hits} of {layers} layers were there already").format(hits=built.hits, layers=len(built.layers))
    print(
        _("{name} stands in {tree}: {recipe}, {seconds:.1f} s, {reused}").format(
            name=built.name, tree=built.tree, recipe=built.recipe, seconds=built.seconds, reused=reused
        )
    )
    print(_("boot it:  machinespawn run {name}").format(name=built.name))


def _stages(stages: tuple[StageReport, ...]) -> None:
    rows = [(stage.name, stage.key[:12], _("hit") if stage.hit else _("miss"), stage.why) for stage in stages]
    table((_("stage"), _("key"), _("cache"), _("why")), rows)
