"""Texts for people, translatable: ``_("{name} is gone").format(name=name)``."""

import gettext

_ = gettext.translation("machinespawn", fallback=True).gettext


def quantity(size: float) -> str:
    """Bytes as people read them: 512 B, 46.1 MB (powers of 1000, as apt and du --si print)."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
