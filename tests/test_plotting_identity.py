"""Each algorithm looks like no other, to all eyes and in grey."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from migsim.plotting import look_of
from migsim.registry import names

# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision
# deficiency" (IEEE TVCG 15, 2009), severity 1, on linear RGB.
EYES = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip
PAIRS = list(itertools.combinations(names("algorithm"), 2))


def lab(colour: str, eyes: str) -> np.ndarray:
    """Return CIE L*a*b* (D65) of ``#rrggbb`` as such eyes see it."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = XYZ @ np.clip(np.array(EYES[eyes]) @ linear, 0, 1) / np.array([0.95047, 1, 1.08883])
    x, y, z = np.where(seen > 0.008856, np.cbrt(seen), 7.787 * seen + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_known_colours() -> None:
    assert lab("#ffffff", "normal") == pytest.approx([100, 0, 0], abs=0.05)
    assert lab("#ff0000", "normal") == pytest.approx([53.2, 80.1, 67.2], abs=0.1)
    assert lab("#808080", "deuteranopia") == pytest.approx(lab("#808080", "normal"), abs=0.1)


@pytest.mark.parametrize("eyes", sorted(EYES))
def test_no_two_algorithms_have_colours_that_look_the_same(eyes: str) -> None:
    for one, two in PAIRS:
        a, b = (lab(look_of(name).colour, eyes) for name in (one, two))
        assert np.linalg.norm(a - b) >= 10, (one, two)


def test_what_is_alike_in_grey_or_to_some_eyes_differs_in_mark_and_line_and_hatch() -> None:
    alike = 0
    for one, two in PAIRS:
        a, b = look_of(one), look_of(two)
        assert (a.marker, a.filled) != (b.marker, b.filled), (one, two)
        least = min(
            float(np.linalg.norm(lab(a.colour, eyes) - lab(b.colour, eyes))) for eyes in EYES
        )
        grey = abs(float(lab(a.colour, "normal")[0] - lab(b.colour, "normal")[0]))
        if grey < 10 or least < 12:
            alike += 1
            assert a.line != b.line, (one, two)
            assert a.hatch != b.hatch, (one, two)
    assert alike > 5  # or the rule was not put to the test


def test_marks_are_not_of_one_family() -> None:
    """Octagons, hexagons and thin diamonds are circles and diamonds at the size of a mark."""
    assert not {look_of(name).marker for name in names("algorithm")} & set("8hHpd<>.,")
    for name in names("algorithm"):
        assert 0 <= lab(look_of(name).colour, "normal")[0] <= 86, f"{name} is too pale"
