"""machinespawn: systemd-nspawn machines from recipes."""

__version__ = "0.1.0"
