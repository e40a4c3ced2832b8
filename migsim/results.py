"""Results read from wherever they are kept: folders of sweeps, files of rows, exported tables."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migsim.errors import InputError
from migsim.store import Row, frame, read_rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ROWS_NAME", "TABLE_ENDS", "load_results", "load_rows", "rows_files"]

ROWS_NAME = "rows.jsonl"
"""The file of rows in the folder of a sweep."""

TABLE_ENDS = (".csv", ".csv.gz", ".parquet")
"""How the names of exported tables end that can be read again."""

_TEXTS = ("label", "key", "algorithm", "workload", "link", "status", "error")
"""Columns of text where nothing is an empty text, not a gap."""


def rows_files(path: Path) -> list[Path]:
    """Return the files of rows that ``path`` stands for: itself, or those in or one folder below.

    Raises `InputError` where there are none, or no such path.
    """
    if not path.exists():
        raise InputError(f"{path}: cannot be read: No such file or directory")
    if not path.is_dir():
        return [path]
    if (path / ROWS_NAME).exists():
        return [path / ROWS_NAME]
    below = sorted(path.glob(f"*/{ROWS_NAME}"))
    if not below:
        raise InputError(f"{path}: there is no {ROWS_NAME} in it or in the folders of it")
    return below


def load_rows(paths: Path | Iterable[Path]) -> dict[str, Row]:
    """Return the rows of one or more folders or files of rows, by key, as they come.

    Raises `InputError` where they cannot be read, or disagree about a task.
    """
    listed = [paths] if isinstance(paths, Path) else paths
    return read_rows(file for path in listed for file in rows_files(path))


def load_results(path: Path) -> pd.DataFrame:
    """Return the table of a results folder, a file of rows, or a table in CSV or Parquet.

    A folder is that of one sweep, or holds such folders. Columns and their types are those of
    `migsim.store.frame`; only exported tables have a column ``label``. Text parameters that are
    empty come back from CSV as gaps. Raises `InputError`.
    """
    if path.is_dir() or not path.name.endswith(TABLE_ENDS):
        if path.is_file() and path.suffix not in {".jsonl", ".json"}:
            ends = ", ".join((".jsonl", *TABLE_ENDS))
            raise InputError(f"{path}: expected a folder or a name that ends in {ends}")
        return frame(load_rows(path).values())
    try:
        path.open("rb").close()  # pandas tells what is missing in its own way
        table = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read: {reason}") from None
    except (ValueError, EOFError) as error:  # pandas and pyarrow derive theirs from ValueError
        raise InputError(f"{path}: is no table of results: {error}") from None
    for name in ("key", "algorithm", "workload", "status"):
        if name not in table:
            raise InputError(f"{path}: is no table of results: there is no column '{name}'")
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    """Read texts and convert them here: pandas' own numbers may differ in the last bit."""
    import pandas as pd

    texts = pd.read_csv(path, dtype=str, keep_default_na=False)
    return pd.DataFrame(
        {
            str(name): column if _is_text(str(name)) else _converted(column)
            for name, column in texts.items()
        }
    )


def _is_text(name: str) -> bool:
    return name in _TEXTS or name.endswith("_digest")


def _converted(texts: pd.Series) -> pd.Series:
    """Return a column as `frame` would have it: of the narrowest type that all its values have."""
    import pandas as pd

    gaps = texts == ""
    known = set(texts[~gaps])
    values: dict[str, Any] = {"": math.nan}
    if known and known <= {"True", "False"}:
        values |= {"True": True, "False": False}
    else:
        for kind in (int, float):
            try:
                values |= {text: kind(text) for text in known}
                break
            except ValueError:
                continue
    if len(values) == 1:
        return texts.mask(gaps) if known else pd.Series(math.nan, texts.index, name=texts.name)
    return pd.Series([values[text] for text in texts], texts.index, name=texts.name)


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    table = pd.read_parquet(path)
    for name in (name for name in table if table[name].dtype.kind == "O"):
        table[name] = table[name].where(table[name].notna())  # a gap is NaN here, None there
    return table
