"""Where keys stand in a TOML text, against what `tomllib` reads from it."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.fleet.lines import Place, key_lines

KEYS = st.text("ab-1", min_size=1, max_size=2) | st.sampled_from(
    ["x.y", "a b", "#", "[k]", "=", ""]
)
TEXTS = st.sampled_from(
    ["plain", "", 'say "x"', "it's", "[no]\nheader = 1 # here", "a, ] } # b", "three '' two", "\\"]
)
LEAVES = TEXTS | st.integers(-9, 9) | st.booleans() | st.just(1.5)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


class Writer:
    """Writes data as TOML in ways that hypothesis chooses, with blank lines and comments."""

    def __init__(self, draw: st.DataObject) -> None:
        self._draw = draw
        self._count = 0
        self.numbered = self.choose(False, True)

    def choose(self, *ways: Any) -> Any:
        return self._draw.draw(st.sampled_from(ways))

    def named_apart(self, value: Any) -> Any:
        """Return data whose keys are all different, if this writer is such."""
        if isinstance(value, dict):
            named = {}
            for key, item in value.items():
                self._count += 1
                named[f"{key}-{self._count}" if self.numbered else key] = self.named_apart(item)
            return named
        return [self.named_apart(item) for item in value] if isinstance(value, list) else value

    def key(self, key: str) -> str:
        bare = key != "" and all(letter in "ab-1" or letter.isdigit() for letter in key)
        return str(self.choose(f'"{key}"', f"'{key}'", *([key] if bare else [])))

    def text(self, text: str) -> str:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        ways = ['"' + escaped.replace("\n", "\\n") + '"', f'"""\n{escaped}"""', f'"""{escaped}"""']
        if "'" not in text and "\n" not in text:
            ways.append(f"'{text}'")
        ways.append(f"'''\n{text}'''")
        if not text.endswith("\\"):
            ways.append('"""' + text.replace('"""', "") + '"""')
        return str(self.choose(*ways))

    def inline(self, value: Any) -> str:
        if isinstance(value, dict):
            pairs = (f"{self.key(k)} = {self.inline(v)}" for k, v in value.items())
            return "{" + ", ".join(pairs) + "}"
        if isinstance(value, list):
            gap = str(self.choose("", " ", "\n", " # ]\n "))
            end = gap + "," if value and self.choose(False, True) else gap
            return "[" + gap + f",{gap}".join(map(self.inline, value)) + end + gap + "]"
        if isinstance(value, str):
            return self.text(value)
        return f"{value}".lower()

    def document(self, table: dict[str, Any], place: tuple[str, ...] = ()) -> str:
        """Return the lines of a table: simple values first, then tables of their own."""
        head, tail = "", ""
        for key, value in table.items():
            name = self.key(key)
            full = self.choose(".", " . ").join([*map(self.key, place), name])
            tables = isinstance(value, list) and value and all(isinstance(v, dict) for v in value)
            if tables and self.choose(False, True):
                for item in value:
                    tail += f"[[ {full} ]]\n" + self.document(item, (*place, key))
            elif isinstance(value, dict) and self.choose(False, True):
                tail += f"{self.choose('', chr(10))}[{full}] # a = 1\n"
                tail += self.document(value, (*place, key))
            elif isinstance(value, dict) and value and self.choose(False, True):
                head += "".join(
                    f"{name}.{self.key(k)} = {self.inline(v)}\n" for k, v in value.items()
                )
            else:
                head += f"{self.choose('', '# [c]', '  ')}\n{name} = {self.inline(value)}\n"
        return head + tail


def places(value: Any, place: Place = ()) -> set[Place]:
    """Return the places of all keys and elements."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        items = list(value.items() if isinstance(value, dict) else enumerate(value))
    return {p for key, item in items for p in ({(*place, key)} | places(item, (*place, key)))}


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.data())
def test_every_place_that_tomllib_has_is_found(drawn: dict[str, Any], draw: st.DataObject) -> None:
    writer = Writer(draw)
    data = writer.named_apart(drawn)
    text = writer.document(data)
    assert tomllib.loads(text) == data
    lines = key_lines(text)
    assert set(lines) == places(data)
    texts = text.split("\n")
    for place, line in lines.items():
        if isinstance(place[-1], str):
            assert place[-1] in texts[line - 1]
        else:
            assert lines[place[:-1]] <= line
            inside = [lines[p] for p in lines if p[: len(place)] == place]
            assert min(inside) == line


@pytest.mark.parametrize(
    ("text", "place", "line"),
    [
        ("\n[hosts.a]\n\ncores = 4", ("hosts", "a", "cores"), 4),
        ("[[t]]\n[t.u]\nv = 1\n[[t]]\n[[t.w]]\nk = 1.5", ("t", 1, "w", 0, "k"), 6),
        ('a = """\n[b]\nc = 1\n"""""\nd = 2', ("d",), 5),
        ('"\\u0061\\"" . b = 1', ('a"', "b"), 1),
        ("a = [1,\n 2, # ]\n {b = 1979-05-27 07:32:00}]\nc = 1", ("a", 2, "b"), 3),
        ("a = {b.c = 1, d = 2}\r\ne = 1", ("e",), 2),
    ],
)
def test_lines_of_hard_texts(text: str, place: Place, line: int) -> None:
    assert set(key_lines(text)) == places(tomllib.loads(text))
    assert key_lines(text)[place] == line
