"""What every figure has to be: within itself, legible, with no text upon another."""

from __future__ import annotations

import io
import itertools
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

SMALLEST = 6.5  # points
WIDTHS = (3.4, 7.0)  # inches


def drawn_texts(figure: Figure) -> list[Text]:
    """Return all texts that are drawn; ticks beyond the ends of an axis are not."""
    texts: list[Any] = [*figure.texts]
    legends = list(figure.legends)
    for axes in figure.axes:
        if not axes.get_visible():
            continue
        texts += [*axes.texts, axes.title, axes._left_title, axes._right_title]
        legends += [axes.get_legend()] if axes.get_legend() else []
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            texts += [axis.label, axis.get_offset_text()]
            texts += [
                label for tick in axis._update_ticks() for label in (tick.label1, tick.label2)
            ]
    for legend in legends:
        texts += [*legend.get_texts(), legend.get_title()]
    for name in ("_suptitle", "_supxlabel", "_supylabel"):
        texts += [text] if (text := getattr(figure, name, None)) is not None else []
    unique = {id(text): text for text in texts}
    return [text for text in unique.values() if text.get_visible() and text.get_text().strip()]


def check_figure(figure: Figure) -> None:
    """Assert paper width, legible texts, none of which overlaps another or leaves the figure."""
    assert round(figure.get_size_inches()[0], 3) in WIDTHS
    assert figure.get_size_inches()[1] <= 10
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    boxes = [(text, text.get_window_extent(renderer)) for text in drawn_texts(figure)]
    for text, box in boxes:
        assert text.get_fontsize() >= SMALLEST, text
        inside = (
            box.x0 >= -1
            and box.y0 >= -1
            and box.x1 <= figure.bbox.width + 1
            and box.y1 <= figure.bbox.height + 1
        )
        assert inside, f"outside of the figure: {text}"
    for (one, a), (two, b) in itertools.combinations(boxes, 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        high = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide <= 0.5 or high <= 1.0, f"{one} and {two} overlap"


def png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=60, metadata={"Software": None})
    return out.getvalue()
