"""The command line: ``migsim COMMAND``. Commands are imported when they are called."""

from migsim.cli.main import main

__all__ = ["main"]
