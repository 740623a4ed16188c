"""The only module that speaks D-Bus, through pystemd."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from machinespawn.errors import MachinespawnError, MissingToolError
from machinespawn.text import _

_MACHINED = (b"org.freedesktop.machine1", b"/org/freedesktop/machine1", b"org.freedesktop.machine1.Manager")


def machines() -> tuple[str, ...]:
    """Names of the machines that systemd-machined has registered, sorted; without .host, which is the host itself.

    MissingToolError where no system bus or no machined answers.
    """
    with _system() as bus:
        rows = bus.call_method(*_MACHINED, b"ListMachines", []).body  # name, class, service, object path
    names = (name.decode() for name, _class, _service, _path in rows)
    return tuple(sorted(name for name in names if not name.startswith(".")))


@contextlib.contextmanager
def _system() -> Iterator[Any]:
    """The system bus, closed at the end: pystemd does not close what it collects."""
    try:
        from pystemd.dbusexc import DBusBaseError
        from pystemd.dbuslib import DBus
    except ImportError as error:
        raise MissingToolError(
            _("pystemd cannot be used: {error}").format(error=error),
            _("apt-get install libsystemd0, then install machinespawn anew"),
        ) from error
    bus = DBus()
    try:
        try:
            bus.open()
        except DBusBaseError as error:
            raise MissingToolError(
                _("there is no system bus here: {error}").format(error=_told(error)),
                _("start systemd as the first process of this host, or do without: run, exec and stop need none"),
            ) from error
        try:
            yield bus
        except DBusBaseError as error:
            raise _translated(error) from error
    finally:
        bus.close()


_ABSENT = ("org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner")


def _translated(error: Any) -> MachinespawnError:
    name = _text(error.err_name)
    if name in _ABSENT:
        return MissingToolError(
            _("systemd-machined does not answer: {error}").format(error=_told(error)),
            "apt-get install systemd-container",
        )
    return MachinespawnError(
        _("the system bus refused: {error}").format(error=_told(error)),
        _("see what systemd says: journalctl -u systemd-machined -n 20"),
    )


def _told(error: Any) -> str:
    return _text(error.err_message) or _text(error.err_name)


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
