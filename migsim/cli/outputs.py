"""Where a command is to write: told to be impossible before any work is done."""

from __future__ import annotations

import os
from pathlib import Path

from migsim.errors import InputError

__all__ = ["check_figure", "check_file"]

_FORMATS = (".png", ".svg", ".pdf")


def check_file(option: str, path: Path | None) -> None:
    """Raise `InputError` where no file can be written."""
    if path is None:
        return
    if path.is_dir():
        raise InputError(f"{option} {path}: is a directory, expected a file")
    if not path.resolve().parent.is_dir():
        raise InputError(f"{option} {path}: there is no such directory")
    if not os.access(path if path.exists() else path.resolve().parent, os.W_OK):
        raise InputError(f"{option} {path}: cannot be written")


def check_figure(option: str, path: Path | None) -> None:
    """Raise `InputError` where no figure can be written, or of none of the known formats."""
    check_file(option, path)
    if path is not None and path.suffix not in _FORMATS:
        raise InputError(f"{option} {path}: expected a name that ends in {', '.join(_FORMATS)}")
