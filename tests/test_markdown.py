"""Tables and plug-ins as Markdown."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.markdown import describe, significant, table
from migsim.registry import find, names


@given(st.floats(1e-6, 1e12))
def test_three_digits_are_within_half_a_percent(value: float) -> None:
    shown = significant(value)
    assert "e" not in shown
    assert float(shown) == pytest.approx(value, rel=0.005)
    assert significant(-value) == f"-{shown}"


def test_a_table_has_a_line_for_each_row_and_keeps_its_cells() -> None:
    frame = pd.DataFrame({"": ["a|b", "c"], "x (s)": [1.23456, math.nan], "n": [7, 8]})
    assert table(frame) == (
        "|  | x (s) | n |\n| --- | ---: | ---: |\n| a\\|b | 1.23 | 7 |\n| c | - | 8 |\n"
    )


@pytest.mark.parametrize("name", names("algorithm"))
def test_an_algorithm_is_described_by_what_it_does_and_each_parameter(name: str) -> None:
    plugin = find("algorithm", name)
    text = describe(plugin)
    assert text.startswith(plugin.summary.replace("``", "`"))
    assert "``" not in text
    for parameter in plugin.parameters:
        assert f"`{parameter.name}=" in text
