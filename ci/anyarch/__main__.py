"""``python -m anyarch``."""

from anyarch.cli.main import main

main()
