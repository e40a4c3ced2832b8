"""``python -m migsim``."""

from migsim.cli import main

main()
