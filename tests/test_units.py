"""Quantities: read exactly, refused in one sentence, printed as they are read."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import InputError, did_you_mean
from migsim.units import Dimension, format_rate, format_seconds, format_size, parse

GOOD: list[tuple[str, Dimension, float]] = [
    ("4GiB", "size", 4 * 2**30),
    ("4 GiB ", "size", 4 * 2**30),
    ("64kB", "size", 64_000),
    ("2.3MB", "size", 2_300_000),
    ("0.5KiB", "size", 512),
    ("4096", "size", 4096),
    ("4_096", "size", 4096),
    ("1e3B", "size", 1000),
    ("1TiB", "size", 2**40),
    ("300ms", "time", 0.3),
    ("5us", "time", 5e-6),
    ("5µs", "time", 5e-6),
    ("7ns", "time", 7e-9),
    ("2min", "time", 120),
    ("1.5h", "time", 5400),
    ("0", "time", 0),
    ("inf", "time", math.inf),
    ("1Gbit/s", "byte rate", 125e6),
    ("1Gbps", "byte rate", 125e6),
    ("8b/s", "byte rate", 1),
    ("125MB/s", "byte rate", 125e6),
    ("1MiB/s", "byte rate", 2**20),
    ("unlimited", "byte rate", math.inf),
    ("20k", "page rate", 20_000),
    ("50MB/s", "page rate", 50e6 / 4096),
    ("8Mbit/s", "page rate", 1e6 / 4096),
    ("20%", "fraction", 0.2),
    (".25", "fraction", 0.25),
    ("1", "fraction", 1),
    ("25%", "memory share", 2**28),
    ("1MiB", "memory share", 2**20),
    ("-3", "number", -3),
    ("1e-3", "number", 0.001),
]


@pytest.mark.parametrize(("text", "dimension", "value"), GOOD)
def test_read(text: str, dimension: Dimension, value: float) -> None:
    found = parse(text, dimension, page_size=4096, memory=2**30)
    assert found == value
    assert isinstance(found, int) == (dimension in {"size", "memory share"})


BAD: list[tuple[str, Dimension, str]] = [
    ("", "size", "expected a size"),
    ("4G", "size", "expected a size"),  # GB or GiB?
    ("4k", "byte rate", "expected a rate"),
    ("4GB/s", "size", "expected a size"),
    ("4s", "size", "expected a size"),
    ("4gib", "size", "expected a size"),
    ("1.5B", "size", "no whole number of bytes"),
    ("-1GiB", "size", "negative"),
    ("-1s", "time", "negative"),
    ("inf", "size", "expected a size"),
    ("inf", "page rate", "expected pages per second"),
    ("nan", "time", "expected a time"),
    ("1_", "size", "expected a size"),
    ("1__0", "size", "expected a size"),
    ("_1", "size", "expected a size"),
    ("1e999", "size", "too large"),
    ("1e999", "time", "too large"),
    ("1e9999999999", "time", "expected a time"),
    ("1,5s", "time", "expected a time"),
    ("1 2", "number", "expected a number"),
    ("0x10", "number", "expected a number"),
    ("1m", "time", "expected a time"),
    ("10%", "time", "expected a time"),
    ("1.01", "fraction", "expected a fraction"),
    ("101%", "fraction", "expected a fraction"),
    ("-1%", "fraction", "negative"),
    ("101%", "memory share", "expected a size"),
    ("٣", "number", "expected a number"),
]


@pytest.mark.parametrize(("text", "dimension", "problem"), BAD)
def test_refused(text: str, dimension: Dimension, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, dimension, page_size=4096, memory=2**30)
    assert problem in str(caught.value)
    assert f"'{text}'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_needs_a_context() -> None:
    with pytest.raises(InputError, match="plain pages per second"):
        parse("50MB/s", "page rate")
    with pytest.raises(InputError, match="expected a size"):
        parse("25%", "memory share")


@given(st.text(max_size=12), st.sampled_from(get_args(Dimension)))
def test_any_text_is_read_or_refused(text: str, dimension: Dimension) -> None:
    try:
        value = parse(text, dimension, page_size=4096, memory=2**30)
    except InputError:
        return
    assert not math.isnan(value)
    assert value >= 0 or dimension == "number"


@given(st.integers(0, 10**9), st.integers(0, 9))
def test_spellings_of_one_quantity(digits: int, places: int) -> None:
    """To the bit: 2.3MB/s, 2300kB/s and 2300000 name one link, and must give one key."""
    exact = Fraction(digits, 10**places)
    plain = f"{digits}e-{places}"
    point = f"{digits // 10**places}.{digits % 10**places:0{places}d}" if places else str(digits)
    assert parse(plain + "s", "time") == parse(point + "s", "time") == float(exact)
    assert parse(plain + "MB/s", "byte rate") == float(exact * 10**6)
    assert parse(point + "Mbit/s", "byte rate") == parse(
        f"{digits * 125}e-{places}kB/s", "byte rate"
    )
    assert parse(f"{digits}ms", "time") == parse(f"{digits}e-3", "time") == digits / 1000


@given(st.floats(0, 1e30))
def test_floats_survive(value: float) -> None:
    assert parse(repr(value), "time") == value


@given(st.integers(0, 2**60))
def test_sizes_survive(size: int) -> None:
    assert parse(str(size), "size") == size


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (format_size(0), "0 B"),
        (format_size(1023), "1023 B"),
        (format_size(1024), "1 KiB"),
        (format_size(3 * 2**40), "3 TiB"),
        (format_rate(1), "8 bit/s"),
        (format_rate(125e6), "1 Gbit/s"),
        (format_rate(math.inf), "unlimited"),
        (format_seconds(0), "0 s"),
        (format_seconds(1.5e-9), "1.5 ns"),
        (format_seconds(2e-6), "2 us"),
        (format_seconds(0.25), "250 ms"),
        (format_seconds(90), "90 s"),
    ],
)
def test_printed(found: str, expected: str) -> None:
    assert found == expected


@given(st.integers(1, 9999), st.sampled_from(["B", "KiB", "MiB", "GiB", "TiB"]))
def test_what_is_printed_can_be_read(number: int, unit: str) -> None:
    size = parse(f"{number}{unit}", "size")
    if number < 1024:
        assert format_size(size) == f"{number} {unit}"
    assert parse(format_size(size)[:-1] + "B/s", "byte rate") == pytest.approx(size, rel=1e-3)


def test_suggestions() -> None:
    assert did_you_mean("zipff", ["zipf", "idle"]) == "did you mean 'zipf'?"
    assert did_you_mean("q", []) == "there are none"
