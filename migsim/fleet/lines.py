"""Where each key of a TOML text stands, so that a mistake can be named with its line.

The values come from `tomllib`, which tells no positions; here the same text is walked once more,
and as it is known to be TOML, a walk needs little of the grammar.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from typing import Any, TypeAlias

__all__ = ["Place", "key_lines"]

Place: TypeAlias = tuple[str | int, ...]
"""The way to a value: keys of tables and positions in arrays, from 0."""

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\n])*"|'[^'\n]*')"""
_KEY = re.compile(rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
# The longest quotes first; a text in three of them may end with up to two that are its own.
_SCALAR = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'"
    r"|[^,\]}\n#]+",  # numbers, dates, true and false
    re.DOTALL,
)


def key_lines(text: str) -> dict[Place, int]:
    r"""Return the line, from 1, on which each key and each element of an array first stands.

    ``text`` must be TOML that `tomllib` has accepted.

    >>> key_lines("[hosts.a]\ncores = 4\n[[move]]\nto = {x = 1}")[("move", 0, "to", "x")]
    4
    """
    walk = _Walk(text)
    walk.document()
    return walk.lines


class _Walk:
    def __init__(self, text: str) -> None:
        self.lines: dict[Place, int] = {}
        self._text = text
        self._at = 0
        self._ends = [match.start() for match in re.finditer("\n", text)]
        self._tables: dict[Place, int] = {}  # how many each array of tables has so far

    def document(self) -> None:
        table: Place = ()
        while self._skip() < len(self._text):
            if self._takes("[["):
                table = self._key((), new_table=True)
                self._takes("]]")
            elif self._takes("["):
                table = self._key(())
                self._takes("]")
            else:
                self._pair(table)

    def _pair(self, table: Place) -> None:
        place = self._key(table)
        self._takes("=")
        self._value(place)

    def _value(self, place: Place) -> None:
        if self._takes("["):
            count = 0
            while not self._takes("]"):
                self._note((*place, count), self._at)
                self._value((*place, count))
                self._takes(",")
                count += 1
        elif self._takes("{"):
            while not self._takes("}"):
                self._pair(place)
                self._takes(",")
        else:
            self._match(_SCALAR)

    def _key(self, table: Place, *, new_table: bool = False) -> Place:
        """Read a dotted key and return the place that it means, of a new element if so asked."""
        self._skip()
        at = self._at
        parts = _parts(self._match(_KEY))
        place = table
        for number, part in enumerate(parts, 1):
            place = (*place, part)
            self._note(place, at)
            if new_table and number == len(parts):
                self._tables[place] = self._tables.get(place, 0) + 1
            if place in self._tables:  # later keys belong to its last element
                place = (*place, self._tables[place] - 1)
                self._note(place, at)
        return place

    def _note(self, place: Place, at: int) -> None:
        self.lines.setdefault(place, bisect_right(self._ends, at) + 1)

    def _skip(self) -> int:
        self._match(_BLANK)
        return self._at

    def _takes(self, mark: str) -> bool:
        found = self._text.startswith(mark, self._skip())
        self._at += len(mark) * found
        return found

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise ValueError(f"no TOML at character {self._at}")
        self._at = match.end()
        return match[0]


def _parts(key: str) -> list[str]:
    """Return the parts of a dotted key as `tomllib` reads them, quotes and escapes undone."""
    if '"' not in key and "'" not in key:
        return [part.strip() for part in key.split(".")]
    parts = []
    inner: Any = tomllib.loads(f"{key} = 0")
    while inner:
        ((part, inner),) = inner.items()
        parts.append(part)
    return parts
