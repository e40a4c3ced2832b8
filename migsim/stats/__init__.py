"""Means with intervals, paired tests, effect sizes, corrections, ranks and profiles.

What is compared here is paired: algorithms, or two versions of one, that met the same guests over
the same links with the same seeds. A *block* is what a pair has in common: a scenario and a seed.
"""

from __future__ import annotations

from migsim.stats.effects import cohen_dz, rank_biserial, vargha_delaney
from migsim.stats.intervals import (
    Interval,
    bca_interval,
    bootstrap_interval,
    mean_interval,
    paired_difference,
)
from migsim.stats.multiple import holm
from migsim.stats.paired import SignFlip, paired_blocks, sign_flip
from migsim.stats.profiles import performance_profile
from migsim.stats.ranking import Ranking, rank

__all__ = [
    "Interval",
    "Ranking",
    "SignFlip",
    "bca_interval",
    "bootstrap_interval",
    "cohen_dz",
    "holm",
    "mean_interval",
    "paired_blocks",
    "paired_difference",
    "performance_profile",
    "rank",
    "rank_biserial",
    "sign_flip",
    "vargha_delaney",
]
