"""All figures, in one style: each algorithm has its label, colour, mark, line and hatch everywhere.

Figures are made for paper: 7.0 in wide, or 3.4 in for one column, with no text below 6.5 pt.
"""

from __future__ import annotations

from migsim.plotting.choices import choice_panels
from migsim.plotting.dots import dot_panels
from migsim.plotting.heat import heat_panels
from migsim.plotting.identity import OKABE_ITO, Look, look_of, ordered
from migsim.plotting.lines import line_panels
from migsim.plotting.panel import Panel, matrix
from migsim.plotting.style import COLUMN, PAGE, save_figure, use_style
from migsim.plotting.tiles import tile_panels
from migsim.plotting.transfer import transfer_figure

__all__ = [
    "COLUMN",
    "OKABE_ITO",
    "PAGE",
    "Look",
    "Panel",
    "choice_panels",
    "dot_panels",
    "heat_panels",
    "line_panels",
    "look_of",
    "matrix",
    "ordered",
    "save_figure",
    "tile_panels",
    "transfer_figure",
    "use_style",
]
