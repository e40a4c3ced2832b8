"""Two sets of results side by side: which algorithms changed, in what, and by how much.

Nothing is random in a simulator, so an algorithm that did not change gives the same results to the
bit, and there is nothing to test. Where results differ, the same guests were met with the same
seeds, so that each pair of results is a block, and what the blocks have in common is the change.
"""

from __future__ import annotations

from migsim.compare.loading import Side, load_side
from migsim.compare.measures import MEASURES, Measure, Thresholds, parse_thresholds
from migsim.compare.verdicts import Change, Comparison, Finding, compare

__all__ = [
    "MEASURES",
    "Change",
    "Comparison",
    "Finding",
    "Measure",
    "Side",
    "Thresholds",
    "compare",
    "load_side",
    "parse_thresholds",
]
