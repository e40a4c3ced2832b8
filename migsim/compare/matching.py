"""Which results of two sets belong together: those of the same task, whoever computed them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from migsim.errors import InputError
from migsim.result import Result

if TYPE_CHECKING:
    import pandas as pd

    from migsim._types import Bools

__all__ = ["SOURCES", "Pairs", "match"]

SOURCES = ("algorithm_digest", "workload_digest", "link_digest", "codec_costs_digest", "model")
"""Columns that name the sources of a result: no part of what it is a result of."""
_PLAIN = ("algorithm", "workload", "link", "seed", "limit_seconds", "limit_acts")
_PARTS = ("algorithm.", "workload.", "content.", "link.", "vm.")
# A traceback names lines of the source; it is told, not measured.
_MEASURED = [item.name for item in dataclasses.fields(Result) if item.name != "error"]


@dataclass(frozen=True)
class Pairs:
    """The results of the same tasks, in the order of the first set.

    Attributes:
        base, head: as many rows each; row i of one is of the same task as row i of the other.
        only_base, only_head: rows whose task the other set lacks.
        scenario: a number for each pair, equal where tasks differ by nothing but the seed.
        added: parameters that only one of the two sets knows, and that were not compared.
    """

    base: pd.DataFrame
    head: pd.DataFrame
    only_base: pd.DataFrame
    only_head: pd.DataFrame
    scenario: np.ndarray[Any, np.dtype[np.int64]]
    added: tuple[str, ...]

    @property
    def same(self) -> Bools:
        """Whether all measurements of a pair are equal to the bit."""
        return _equal(self.base, self.head, [n for n in _MEASURED if n in self.base])

    @property
    def same_sources(self) -> Bools:
        """Whether neither algorithm, workload, link, codec costs nor model version differ."""
        return _equal(self.base, self.head, [name for name in SOURCES if name in self.base])


def match(base: pd.DataFrame, head: pd.DataFrame) -> Pairs:
    """Return the pairs of rows of one task, told apart by all parameters but no digest.

    A parameter that one side does not have, because its algorithm, its workload or the engine
    learnt it meanwhile, is left out where tasks do not match with it. Raises `InputError` where a
    side has two different results of one task.
    """
    texts = [_texts(base), _texts(head)]
    keys = [_keys(table, table.columns) for table in texts]
    tables = [_without_repeats(base, keys[0], "BASE"), _without_repeats(head, keys[1], "HEAD")]
    keys = [key.loc[table.index] for key, table in zip(keys, tables, strict=True)]
    added = set[str]()
    rest = [key[~key.isin(other)].index for key, other in (keys, keys[::-1])]
    for name in set(tables[0].loc[rest[0], "algorithm"]) & set(tables[1].loc[rest[1], "algorithm"]):
        places = [
            index[(table.loc[index, "algorithm"] == name).to_numpy()]
            for table, index in zip(tables, rest, strict=True)
        ]
        dropped = _one_sided(tables, texts, places)
        if not dropped:
            continue
        loose = [
            _keys(text.loc[place], [c for c in text.columns if c not in dropped])
            for text, place in zip(texts, places, strict=True)
        ]
        if all(key.is_unique for key in loose) and loose[0].isin(loose[1]).any():
            added |= dropped
            for key, found in zip(keys, loose, strict=True):
                key.loc[found.index] = found
    return _paired(tables, texts, keys, tuple(sorted(added)))


def _paired(
    tables: Sequence[pd.DataFrame],
    texts: Sequence[pd.DataFrame],
    keys: Sequence[pd.Series[str]],
    added: tuple[str, ...],
) -> Pairs:
    base, head = keys
    both = base[base.isin(head)]
    place_of = {key: place for place, key in head.items()}
    partner = [place_of[key] for key in both]
    scenario = _keys(texts[0].loc[both.index], [c for c in texts[0].columns if c != "seed"])
    return Pairs(
        tables[0].loc[both.index].reset_index(drop=True),
        tables[1].loc[partner].reset_index(drop=True),
        tables[0].loc[base[~base.isin(head)].index],
        tables[1].loc[head[~head.isin(base)].index],
        scenario.factorize()[0].astype(np.int64),
        added,
    )


def _one_sided(
    tables: Sequence[pd.DataFrame], texts: Sequence[pd.DataFrame], places: Sequence[pd.Index[Any]]
) -> set[str]:
    """Return the parameters that are blank in all of these rows of one side, and none of the other.

    Only where the source of what has the parameter changed too: else it was varied, not added.
    """
    dropped = set()
    for column in set(texts[0].columns) | set(texts[1].columns):
        part = column.partition(".")[0]
        if f"{part}." not in _PARTS:
            continue
        blank = [
            bool((text.loc[place, column] == "").all()) if column in text else True
            for text, place in zip(texts, places, strict=True)
        ]
        if blank[0] == blank[1]:
            continue
        if part in {"algorithm", "workload"}:
            digests = [
                set(table.loc[place].get(f"{part}_digest", ()))
                for table, place in zip(tables, places, strict=True)
            ]
            if digests[0] & digests[1]:
                continue
        elif all(column in text for text in texts):
            continue
        dropped.add(column)
    return dropped


def _texts(table: pd.DataFrame) -> pd.DataFrame:
    """Return what identifies each row's task, as texts that any kind of file gives alike."""
    import pandas as pd

    names = [name for name in table.columns if name in _PLAIN or name.startswith(_PARTS)]
    columns = {}
    for name in names:
        codes, values = pd.factorize(table[name].astype(object), use_na_sentinel=False)
        told = np.array([_told(value) for value in values], dtype=object)
        columns[name] = told[codes]
    return pd.DataFrame(columns, index=table.index)


def _told(value: object) -> str:
    """Return one text for 8, 8.0 and "8", for True and "True", and for all that is missing."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool | np.bool_) or value in ("True", "False"):
        return str(value).lower()
    for kind in (int, float):
        try:
            number = kind(str(value))
        except (ValueError, OverflowError):
            continue
        return str(int(number)) if math.isfinite(number) and number == int(number) else str(number)
    return str(value)


def _keys(texts: pd.DataFrame, columns: Sequence[Any] | pd.Index[Any]) -> pd.Series[str]:
    import pandas as pd

    named = sorted(str(column) for column in columns)
    lists = [texts[name].tolist() for name in named]
    keys = [
        "\n".join(f"{name}={text}" for name, text in zip(named, row, strict=True) if text)
        for row in zip(*lists, strict=True)
    ]
    return pd.Series(keys, index=texts.index, dtype=object)


def _without_repeats(table: pd.DataFrame, keys: pd.Series[str], side: str) -> pd.DataFrame:
    """Return the first row of each task. Raises `InputError` where another one differs."""
    repeated = keys[keys.duplicated()]
    if repeated.empty:
        return table
    first = {key: place for place, key in keys[::-1].items()}
    before, after = table.loc[[first[key] for key in repeated]], table.loc[repeated.index]
    differing = ~_equal(before, after, [name for name in _MEASURED if name in table])
    if differing.any():
        row = after.iloc[int(np.argmax(differing))]
        raise InputError(
            f"{side} has two different results of {row['algorithm']} on {row['workload']} over "
            f"{row['link']}, seed {row['seed']}, of different sources; run it into an empty folder"
        )
    return table.loc[~keys.duplicated()]


def _equal(a: pd.DataFrame, b: pd.DataFrame, columns: Sequence[str]) -> Bools:
    equal = np.ones(len(a), np.bool_)
    for name in columns:
        if name not in b:
            continue
        left, right = a[name].to_numpy(object), b[name].to_numpy(object)
        try:  # files differ in whether a column of whole numbers has a decimal point
            first, second = left.astype(np.float64), right.astype(np.float64)
        except ValueError:
            equal &= left.astype(str) == right.astype(str)
        else:
            equal &= (first == second) | (np.isnan(first) & np.isnan(second))
    return equal
