"""Every error a user can meet, and the exit code of each.

Raise these below cli/; only cli/ prints them and exits. The message says what
happened and to what, the hint what to do next.
"""

from __future__ import annotations


class MachinespawnError(Exception):
    """What went wrong, what to do next, and the status to exit with."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def code(self) -> str:
        """The stable name of the error in JSON: the class name without 'Error'."""
        return type(self).__name__.removesuffix("Error").lower()


class UsageError(MachinespawnError):
    """The command line or the configuration cannot mean anything."""

    exit_code = 2


class RecipeError(MachinespawnError):
    """A recipe is wrong; the message names file, line and key."""

    exit_code = 3


class NotFoundError(MachinespawnError):
    """No such machine, recipe, layer or file."""

    exit_code = 4


class ExistsError(MachinespawnError):
    """A machine of that name is there already."""

    exit_code = 5


class BusyError(MachinespawnError):
    """Somebody else holds it: another build, a running machine."""

    exit_code = 6


class MissingToolError(MachinespawnError):
    """The host lacks a program, a keyring or a kernel feature; the hint installs it."""

    exit_code = 7


class TrustError(MachinespawnError):
    """A signature, a checksum or a date is not what it must be."""

    exit_code = 8


class NetworkError(MachinespawnError):
    """A mirror or a server did not give what was asked for."""

    exit_code = 9


class BuildError(MachinespawnError):
    """A stage of a build failed."""

    exit_code = 10


class NotRunningError(MachinespawnError):
    """The machine would have to run for that."""

    exit_code = 11


class BootError(MachinespawnError):
    """The machine did not come up, or has nothing to boot."""

    exit_code = 12


class NotRootError(MachinespawnError):
    """Only root can do that."""

    exit_code = 13


class ProgramError(MachinespawnError):
    """A program that we started failed.

    ``status`` is its exit status (negative: ended by that signal), ``output``
    the end of what it printed.
    """

    exit_code = 14

    def __init__(self, message: str, hint: str = "", status: int = 1, output: str = "") -> None:
        super().__init__(message, hint)
        self.status = status
        self.output = output


class OutdatedError(MachinespawnError):
    """An archive no longer is what it was when the build was planned, or locked."""

    exit_code = 15


EXEC_FAILED = 125
"""Exit status of exec and ``run -- CMD`` where machinespawn itself failed, as docker and podman have it."""


def classes() -> dict[str, type[MachinespawnError]]:
    """Every error by its class name: the table of the docs, and how an error crosses from a build."""
    everything: list[type[MachinespawnError]] = [MachinespawnError, *MachinespawnError.__subclasses__()]
    return {cls.__name__: cls for cls in everything}
