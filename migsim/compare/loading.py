"""One side of a comparison, from files and folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from migsim.errors import InputError
from migsim.results import ROWS_NAME, load_results

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Side", "load_side"]


@dataclass(frozen=True)
class Side:
    """One of the two sets of results.

    Attributes:
        name: what it is called in reports.
        results: a table as of `migsim.store.frame`, with labels where they are known.
        broken: claims that its experiment found broken, as sentences with their evidence.
    """

    name: str
    results: pd.DataFrame
    broken: tuple[str, ...] = ()


def load_side(path: Path) -> Side:
    """Return the results of a file, of an experiment's folder, or of a folder of such folders.

    In the folder of an experiment the table of its last run, ``NAME/NAME.csv``, is read rather than
    the rows, among which may be older ones of the same tasks. Raises `InputError`.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    if not path.is_dir():
        return _side(path, [path])
    folders = [path]
    if not _is_experiment(path):
        folders = sorted(each for each in path.iterdir() if each.is_dir() and _is_experiment(each))
    if not folders:
        raise InputError(f"{path}: there are no results in it, neither {ROWS_NAME} nor folders "
                         "of experiments")  # fmt: skip
    return _side(path, [_table(folder) or folder for folder in folders])


def _is_experiment(folder: Path) -> bool:
    return (folder / ROWS_NAME).exists() or _table(folder) is not None


def _table(folder: Path) -> Path | None:
    path = folder / f"{folder.resolve().name}.csv"
    return path if path.exists() else None


def _side(path: Path, parts: list[Path]) -> Side:
    import pandas as pd

    results = pd.concat([load_results(part) for part in parts], ignore_index=True)
    if results.empty:
        raise InputError(f"{path}: there are no results in it")
    for name in ("seed", "total_seconds", "downtime_seconds", "bytes_sent"):
        if name not in results:
            raise InputError(f"{path}: is no table of results: there is no column '{name}'")
    return Side(str(path), results)
