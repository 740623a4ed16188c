"""``python -m machinespawn``."""

from machinespawn.cli.main import main

main()
