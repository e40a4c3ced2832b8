"""The names of a fleet's things: given once, counted out, and referred to from elsewhere."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from migsim.errors import did_you_mean
from migsim.fleet.lines import Place
from migsim.fleet.mistakes import Mistakes, shown

__all__ = ["Names"]

_NAME = re.compile(r"[\w.-]+")


class Names:
    """Names of one kind of thing.

    A table with a count of 3 and the name ``web`` stands for ``web-1``, ``web-2`` and ``web-3``;
    whoever refers to ``web`` or to ``web-*`` means all of them.

    Attributes:
        places: where each thing comes from.
    """

    def __init__(self, kind: str, mistakes: Mistakes) -> None:
        """Take names of a ``kind`` such as ``host``, as sentences call it."""
        self._kind = kind
        self._mistakes = mistakes
        self._groups: dict[str, tuple[str, ...]] = {}
        self.places: dict[str, Place] = {}

    def add(self, name: str, count: int | None, place: Place) -> tuple[str, ...]:
        """Return the things that a table stands for, and note where others have such a name."""
        if not _NAME.fullmatch(name):
            self._mistakes.note(
                place, f"got the name '{name}', expected letters, digits, '-', '_' and '.' only"
            )
        members = (name,) if count is None else tuple(f"{name}-{i}" for i in range(1, count + 1))
        for taken in dict.fromkeys((name, *members)):
            other = self._home(taken)
            if other is not None:
                line = self._mistakes.line_of(other)
                self._mistakes.note(
                    place, f"'{taken}' is a name of {shown(other)} (line {line}), expected another"
                )
                break
        self._groups[name] = members
        self.places |= {member: place for member in members if member not in self.places}
        return members

    def __contains__(self, name: str) -> bool:
        return name in self._groups or name in self.places

    def _home(self, name: str) -> Place | None:
        if name in self.places:
            return self.places[name]
        return self.places[self._groups[name][0]] if name in self._groups else None

    def several(self, text: str, place: Place) -> tuple[str, ...]:
        """Return the things that a name or a pattern stands for; none where that is a mistake."""
        if text in self._groups:
            return self._groups[text]
        if text in self.places:
            return (text,)
        found = tuple(name for name in self.places if fnmatchcase(name, text))
        if not found:
            known = [*self._groups, *self.places]
            hint = did_you_mean(text, known if len(known) <= 12 else list(self._groups))
            self._mistakes.note(place, f"there is no {self._kind} '{text}', {hint}")
        return found

    def one(self, text: str, place: Place) -> str | None:
        """Return the one thing of that name; None where that is a mistake."""
        found = self.several(text, place)
        if len(found) > 1:
            self._mistakes.note(
                place, f"'{text}' stands for {len(found)} {self._kind}s, expected one of them"
            )
        return found[0] if len(found) == 1 else None

    def all_of(self, texts: tuple[str, ...], place: Place) -> tuple[str, ...]:
        """Return all that names and patterns stand for, each thing once."""
        found: dict[str, None] = {}
        for number, text in enumerate(texts):
            found |= dict.fromkeys(self.several(text, (*place, number)))
        return tuple(found)
