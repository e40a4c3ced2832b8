"""All mistakes of one file, each told in a sentence with its line."""

from __future__ import annotations

from collections.abc import Mapping

from migsim.errors import InputError
from migsim.fleet.lines import Place

__all__ = ["Mistakes", "shown"]

_MOST = 20
"""Sentences at most: whoever has more mistakes than that has made one of them many times."""


class Mistakes:
    """Collects mistakes, so that one reading of a file tells all of them."""

    def __init__(self, file: str, lines: Mapping[Place, int]) -> None:
        """Collect for ``file``, whose keys stand on ``lines`` (`key_lines`)."""
        self._file = file
        self._lines = lines
        self._found: dict[tuple[int, str], None] = {}

    def __len__(self) -> int:
        return len(self._found)

    def note(self, place: Place, sentence: str) -> None:
        """Add a mistake at a place, or in the table that lacks it."""
        self._found[self.line_of(place), f"{shown(place)}: {sentence}"] = None

    def line_of(self, place: Place) -> int:
        """Return the line of a place, or of the innermost table around it that the file has."""
        while place and place not in self._lines:
            place = place[:-1]
        return self._lines.get(place, 1)

    def tell(self) -> None:
        """Raise an `InputError` of a sentence for each mistake, by line; nothing if there is none.

        At most 20 are told, and then how many more there are.
        """
        found = sorted(self._found, key=lambda mistake: mistake[0])
        told = [f"{self._file}:{line}: {sentence}" for line, sentence in found[:_MOST]]
        if len(found) > _MOST:
            told.append(f"{self._file}: {len(found) - _MOST} more mistakes")
        if told:
            raise InputError("\n".join(told))


def shown(place: Place) -> str:
    """Return a place as people write it.

    >>> shown(("vms", "web", "workload_args")), shown(("rules", 0, "vms"))
    ('vms.web.workload_args', 'rules[0].vms')
    """
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".") or "the file"
