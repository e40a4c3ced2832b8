"""Choosing rows and columns of tables of results, and writing them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from migsim.errors import InputError, did_you_mean
from migsim.files import replaced
from migsim.result import Result
from migsim.results import load_results

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMATS", "choose", "load_all", "write"]

FORMATS = (".csv", ".csv.gz", ".parquet", ".tex")
"""How the names of files end that can be written."""

_GZIP = {"method": "gzip", "compresslevel": 9, "mtime": 0}
"""As ``gzip -9n`` does: the same table gives the same bytes."""


def load_all(paths: Iterable[Path]) -> pd.DataFrame:
    """Return the rows of all tables, each key once, or once with each label that it has.

    Raises `InputError` where tables cannot be read, or have different measurements of one task.
    """
    import pandas as pd

    listed = list(paths)
    tables = [load_results(path) for path in listed]
    if len(tables) == 1:
        return tables[0]
    _check_agreement(listed, tables)
    table = pd.concat(tables, ignore_index=True)
    if "label" not in table:
        return table.drop_duplicates("key", ignore_index=True)
    table["label"] = table["label"].fillna("")  # of tables that have none
    named = set(table.loc[table["label"] != "", "key"])
    kept = (table["label"] != "") | ~table["key"].isin(named)
    return table[kept].drop_duplicates(["key", "label"], ignore_index=True)


def _check_agreement(paths: Sequence[Path], tables: Sequence[pd.DataFrame]) -> None:
    """Raise `InputError` where two tables have another value for a measurement of one task."""
    import pandas as pd

    measurements = [item.name for item in dataclasses.fields(Result)]
    keys = pd.concat([table["key"] for table in tables])
    doubtful = set(keys[keys.duplicated()])
    parts = []
    for place, table in enumerate(tables):
        there = table[table["key"].isin(doubtful)]
        values = there[[name for name in measurements if name in there]].astype(object)
        # A gap is a value; a column that a table has not is none.
        parts.append(values.where(values.notna(), "gap").assign(key=there["key"], place=place))
    both = pd.concat(parts, ignore_index=True)
    for name in (name for name in measurements if name in both):
        counts = both.groupby("key", sort=False)[name].nunique()
        if (counts > 1).any():
            key = counts.index[counts > 1][0]
            rows = both[(both["key"] == key) & both[name].notna()]
            one = rows.iloc[0]
            other = rows[rows[name] != one[name]].iloc[0]
            raise InputError(
                f"{paths[one['place']]} and {paths[other['place']]} have different results for "
                f"task {key[:12]}: {name} is {one[name]} and {other[name]}"
            )


def choose(
    table: pd.DataFrame, where: str | None, columns: Sequence[str], sort: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the rows for which ``where`` is true, the ``columns`` of them, sorted.

    ``where`` is in pandas' query language; names with dots may stand as they are. Raises
    `InputError`.
    """
    if where is not None:
        table = _where(table, where)
    for option, names in (("--columns", columns), ("--sort", sort)):
        for name in names:
            if name not in table:
                hint = did_you_mean(name, map(str, table.columns))
                raise InputError(f"{option}: there is no column '{name}', {hint}")
    if sort:
        table = table.sort_values(list(sort), kind="stable")
    return table[list(columns)] if columns else table


def _where(table: pd.DataFrame, where: str) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    if "@" in where:
        raise InputError(f"--where {where}: '@' is for programs, expected columns and values")
    try:
        chosen = table.eval(_quoted(where, table), engine="python")
    except Exception as error:  # whatever Python and pandas have to say about an expression
        raise InputError(f"--where {where}: {_reason(error, where, table)}") from None
    if (
        not isinstance(chosen, pd.Series)
        or not chosen.index.equals(table.index)
        or not chosen.dropna().map(lambda value: isinstance(value, bool | np.bool_)).all()
    ):
        raise InputError(f"--where {where}: expected a condition such as seed < 3")
    return table[chosen.fillna(False).astype(bool)]


def _quoted(where: str, table: pd.DataFrame) -> str:
    """Put names of columns that have dots into backticks, as pandas wants them."""
    names = {str(name) for name in table.columns}
    part = r"\"[^\"]*\"|'[^']*'|`[^`]*`|[A-Za-z_]\w*(?:\.\w+)+"
    return re.sub(part, lambda it: f"`{it[0]}`" if it[0] in names else it[0], where)


def _reason(error: Exception, where: str, table: pd.DataFrame) -> str:
    names = [str(name) for name in table.columns]
    plain = re.sub(r"\"[^\"]*\"|'[^']*'|`[^`]*`", " ", where)
    quoted = re.findall(r"`([^`]*)`", where)
    bare = re.findall(r"[A-Za-z_]\w*(?:\.\w+)*", plain)
    words = {"and", "or", "not", "in", "True", "False"}
    for name in (*quoted, *bare):
        if name not in names and name not in words:
            return f"there is no column '{name}', {did_you_mean(name, names)}"
    return f"cannot be understood: {' '.join(str(error).split()) or type(error).__name__}"


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, Parquet or LaTeX (booktabs), by its name. Raises `InputError`."""
    if not path.name.endswith(FORMATS):
        raise InputError(f"--output {path}: expected a name that ends in {', '.join(FORMATS)}")
    try:
        with replaced(path) as fresh:
            _write(table, fresh)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise InputError(f"--output {path}: cannot be written: {reason}") from None


def _write(table: pd.DataFrame, path: Path) -> None:
    if path.suffix == ".parquet":
        _unmixed(table).to_parquet(path, compression="zstd", index=False)
    elif path.suffix == ".tex":
        # pandas escapes what LaTeX reads as commands, in names and in texts.
        text = table.to_latex(index=False, escape=True, float_format="%.4g", na_rep="--")
        path.write_text(text, encoding="utf-8")
    elif path.suffix == ".gz":
        table.to_csv(path, index=False, lineterminator="\n", compression=dict(_GZIP))
    else:
        table.to_csv(path, index=False, lineterminator="\n")


def _unmixed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with text in columns of several types, which Parquet has not."""
    import pandas as pd

    mixed = {
        name: table[name].map(str, na_action="ignore")
        for name in table
        if pd.api.types.infer_dtype(table[name], skipna=True).startswith("mixed")
    }
    return table.assign(**{str(name): column for name, column in mixed.items()})
