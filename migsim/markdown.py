"""Tables and plug-ins as Markdown, for generated pages."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING

from migsim.parameters import shown_default
from migsim.registry import Plugin

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["describe", "significant", "table"]


def significant(value: float) -> str:
    """Return a number with three significant digits and no exponent; a dash for a missing one.

    >>> [significant(value) for value in (0.0123456, 9.1541, 742.57, 16384.0, 0.0)]
    ['0.0123', '9.15', '743', '16384', '0']
    """
    if math.isnan(value):
        return "-"
    if value == 0 or math.isinf(value):
        return f"{value:g}"
    places = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{max(0, places)}f}"


def table(frame: pd.DataFrame) -> str:
    """Return a table as Markdown: numbers to the right, with three significant digits."""
    numeric = [frame[name].dtype.kind in "if" for name in frame.columns]
    lines = [
        [_cell(name) for name in frame.columns],
        ["---:" if number else "---" for number in numeric],
        *(
            [significant(value) if isinstance(value, float) else _cell(value) for value in row]
            for row in frame.itertuples(index=False, name=None)
        ),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def describe(plugin: Plugin) -> str:
    """Return what a plug-in's documentation says, and its parameters with defaults."""
    paragraphs = [
        " ".join(paragraph.split()).replace("``", "`")
        for paragraph in inspect.cleandoc(plugin.call.__doc__ or "").split("\n\n")
    ]
    shown = ", ".join(f"`{shown_default(each)}`" for each in plugin.parameters) or "none"
    return "\n\n".join([*paragraphs, f"Parameters: {shown}."]) + "\n"


def _cell(value: object) -> str:
    """Return text that does not end its cell."""
    return str(value).replace("|", "\\|")
