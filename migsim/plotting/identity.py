"""One identity for each algorithm: its label, colour, mark, line and hatch, the same everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

__all__ = ["OKABE_ITO", "Line", "Look", "look_of", "ordered"]

Line: TypeAlias = Literal["-"] | tuple[float, tuple[float, ...]]
"""A line style: solid, or an offset and the lengths of dashes and gaps, as matplotlib takes it."""

_DOTTED: Line = (0.0, (1.0, 1.2))
_DASHED: Line = (0.0, (4.0, 1.5))
_LONG: Line = (0.0, (9.0, 2.0))
_DASH_DOT: Line = (0.0, (5.0, 1.2, 1.0, 1.2))
_DASH_DOTS: Line = (0.0, (6.0, 1.2, 1.0, 1.2, 1.0, 1.2))
_SPARSE: Line = (0.0, (1.0, 3.0))
_DENSE: Line = (0.0, (2.0, 0.8))
_PAIRS: Line = (0.0, (3.0, 1.0, 3.0, 3.0))
_TRIPLES: Line = (0.0, (2.0, 1.0, 2.0, 1.0, 2.0, 3.0))


@dataclass(frozen=True)
class Look:
    """How an algorithm is drawn, and what it is called in a narrow table.

    Attributes:
        label, short: its name in a legend and in a narrow table.
        colour: as ``#rrggbb``.
        marker: as matplotlib names it.
        filled: whether the mark is filled, or white within.
        line: the style of its lines.
        hatch: the pattern of its bars.
    """

    label: str
    short: str
    colour: str
    marker: str
    filled: bool = True
    line: Line = "-"
    hatch: str = ""

    def mark(self, size: float) -> Mapping[str, Any]:
        """Return the arguments with which matplotlib draws the mark at ``size`` points."""
        strokes = self.marker in "|1234+x_"
        edge = "white" if self.filled and not strokes else self.colour
        return {
            "marker": self.marker,
            "markersize": size,
            "color": self.colour,
            "markerfacecolor": self.colour if self.filled else "white",
            "markeredgecolor": edge,
            "markeredgewidth": 1.6 if strokes else 0.4 if self.filled else 1.0,
        }

    def bar(self) -> Mapping[str, Any]:
        """Return the arguments with which matplotlib draws a bar."""
        return {
            "facecolor": self.colour,
            "hatch": self.hatch,
            "edgecolor": "white",
            "linewidth": 0.4,
        }


# Seen with normal or colour-blind eyes, any two colours differ; where they are alike in grey, mark,
# line and hatch differ (`tests/test_plotting_identity.py`). Open and filled forms of one mark go to
# relatives, such as delta and XBZRLE; those that move disks are shades of purple.
_LOOKS = {
    "stop_and_copy": Look("stop-and-copy", "stop", "#777777", "s", line=_DOTTED, hatch="...."),
    "precopy": Look("pre-copy", "pre", "#0072b2", "o"),
    "delta": Look("delta", "delta", "#56b4e9", "D", line=_DASH_DOTS, hatch="\\\\\\\\"),
    "xbzrle": Look("XBZRLE", "XBZRLE", "#0b6623", "D", False, _DOTTED, "...."),
    "compressed": Look("compressed", "compr.", "#cc79a7", "s", False, _LONG, "----"),
    "adaptive_compression": Look(
        "adaptive compression", "adaptive", "#661100", "*", line=_DASH_DOT, hatch="xxxx"
    ),
    "multifd": Look("multifd", "multifd", "#4b2a9b", "o", False),
    "dedup": Look("dedup", "dedup", "#9cb26b", "P", False, _DOTTED, "...."),
    "xen": Look("Xen", "Xen", "#e8d27a", "v", False),
    "cloud_hypervisor": Look(
        "Cloud Hypervisor", "CloudHyp", "#66d9e0", "^", False, _DASHED, "////"
    ),
    "vmotion": Look("vMotion", "vMotion", "#009e73", "^"),
    "hybrid": Look("hybrid", "hybrid", "#e69f00", "P", line=_DASH_DOT, hatch="xxxx"),
    "postcopy": Look("post-copy", "post", "#d55e00", "v", line=_DASHED, hatch="////"),
    "qemu": Look("QEMU", "QEMU", "#c8143c", "X", line=_DASHED, hatch="////"),
    "xen_postcopy": Look("Xen post-copy", "Xen post", "#f2a6a0", "X", False, _LONG, "----"),
    "storage_dbt": Look(
        "storage, dirty blocks", "st. dirty", "#501450", "+", line=_SPARSE, hatch="++++"
    ),
    "storage_mirror": Look(
        "storage, mirrored", "st. mirror", "#a000f0", "x", line=_DENSE, hatch="oooo"
    ),
    "storage_snapshot": Look(
        "storage, snapshots", "st. snap", "#a064f0", "2", line=_PAIRS, hatch="OOOO"
    ),
    "storage_postcopy": Look(
        "storage, post-copy", "st. post", "#8c3c78", "_", line=_TRIPLES, hatch="****"
    ),
    "clairvoyant": Look("clairvoyant", "clairv.", "#000000", "|", line=_DOTTED, hatch="||||"),
}
OKABE_ITO = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9")
"""Okabe and Ito's colour-blind safe palette, for what are no algorithms."""

_OTHERS = ("#882255", "#44aa99", "#b2a100", "#4477aa")
_OTHER_MARKERS = ("<", "*", "p", "1")
_OTHER_LINES: tuple[tuple[Line, str], ...] = (
    ("-", ""), (_DASHED, "////"), (_DOTTED, "...."), (_DASH_DOT, "xxxx"), (_DASH_DOTS, "\\\\\\\\"),
)  # fmt: skip


def look_of(algorithm: str, algorithms: Sequence[str] = ()) -> Look:
    """Return the look of an algorithm; one that is not ours gets one by its place in the list."""
    if algorithm in _LOOKS:
        return _LOOKS[algorithm]
    others = sorted({algorithm, *(name for name in algorithms if name not in _LOOKS)})
    place = others.index(algorithm)
    name = _short_name(algorithm, others)
    turn = place + place // len(_OTHERS)
    marker = _OTHER_MARKERS[turn % len(_OTHER_MARKERS)]
    line, hatch = _OTHER_LINES[turn % len(_OTHER_LINES)]
    return Look(name, name, _OTHERS[place % len(_OTHERS)], marker, marker != "*", line, hatch)


def _short_name(algorithm: str, others: Sequence[str]) -> str:
    """Return the shortest end of ``file.py:function`` that names no other algorithm."""
    taken = {name for look in _LOOKS.values() for name in (look.label, look.short)} | set(_LOOKS)
    for mark in (":", "/"):
        name = algorithm.rpartition(mark)[2]
        alike = sum(other.rpartition(mark)[2] == name for other in others)
        # Matplotlib leaves names that start with an underscore out of a legend.
        if alike == 1 and name not in taken and not name.startswith("_"):
            return name
    return algorithm


def ordered(algorithms: Iterable[str]) -> list[str]:
    """Return the algorithms in the order of all figures: ours from plain to bound, then others."""
    names = set(algorithms)
    known = [name for name in _LOOKS if name in names]
    return known + sorted(names - set(known))
