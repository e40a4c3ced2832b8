"""A measured curve: how many pages are dirtied in a window of a given length."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt

from migsim import (
    InputError,
    NamesFiles,
    Steady,
    VirtualMachine,
    Workload,
    jit,
    portable_exp,
    random_unit,
    remainder,
)
from migsim.units import Fraction, MemoryShare, parse

_WORST_FIT = 0.25
_RIDGE = 1e-3  # relative: makes the fit unique, so that it is the same on every machine
_AT_ONCE = 512
"""Accesses drawn in one pass over the classes: passes are vectors, and this many stay near."""
_POINT = re.compile(r"[^\s,;:]+\s*:\s*[^\s,;:]+")


@jit
def _draw(
    seed: np.uint64,
    first: int,
    start: int,
    count: int,
    stride: int,
    chances: npt.NDArray[np.float64],
    borders: npt.NDArray[np.int64],
    out: npt.NDArray[np.int64],
) -> None:
    """Draw a class, then a page of it; class k holds the slots ``borders[k]`` to the next one."""
    inverse = 1.0 / count
    chosen = np.empty(min(out.size, _AT_ONCE))
    for begin in range(0, out.size, _AT_ONCE):
        some = out[begin : begin + _AT_ONCE]
        counter = 2 * (first + begin)
        for i in range(some.size):
            chosen[i] = random_unit(seed, counter + 2 * i)
            some[i] = 0
        for k in range(chances.size - 1):
            for i in range(some.size):
                some[i] += chosen[i] >= chances[k]
        for i in range(some.size):
            k = some[i]
            place = random_unit(seed, counter + 2 * i + 1)
            some[i] = int(borders[k]) + int(place * (borders[k + 1] - borders[k]))
        for i in range(some.size):
            some[i] = start + remainder(some[i] * stride, count, inverse)


def curve(
    vm: VirtualMachine,
    seed: int,
    *,
    curve: Annotated[str, NamesFiles(lambda text: [] if ":" in text else [Path(text)])] = (
        "100ms:256KiB 1s:1MiB 10s:2MiB"
    ),
    working_set: MemoryShare | None = None,
    offset: MemoryShare = 0,
    read_fraction: Fraction = 0.0,
    scatter: bool = True,
) -> Workload:
    """Dirties as many different pages in each window as a measured curve says.

    ``curve`` lists ``WINDOW:PAGES`` (pages or a size, such as ``100ms:1624 1s:2954`` or
    ``1s:80MiB``), or names a file of lines ``SECONDS,PAGES``: what clearing the log and reading it
    again after that window finds. The pages fall into classes whose writes come at random at rates
    of their own, W(t) = sum n (1 - exp(-r t)), fitted by least squares with n >= 0. Behind the last
    window the curve goes on as the fit does, at most to ``working_set``, by default all of memory,
    over which the pages lie scattered, or without ``scatter`` the often written ones first.
    """
    rest = max(vm.page_size, vm.memory - offset)
    start, count = vm.region(rest if working_set is None else working_set, offset)
    windows, pages = _read(curve, vm.page_size)
    sizes, rates = _classes(windows, pages, count, curve)
    writes = np.cumsum(sizes * rates)
    chances = writes / writes[-1]
    borders = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    stride = _scattering_stride(count) if scatter else 1
    stream = np.uint64(seed % 2**64)
    return Steady(
        pages=start + count,
        rate=float(writes[-1]),
        read_fraction=read_fraction,
        draw=lambda first, out: _draw(stream, first, start, count, stride, chances, borders, out),
    )


def _read(text: str, page_size: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return windows in seconds and pages dirtied in each. Raises `InputError`."""
    rows: list[tuple[str, str]]
    if ":" in text:
        if not re.fullmatch(rf"\s*{_POINT.pattern}([\s,;]+{_POINT.pattern})*\s*", text):
            raise _wrong(text, "it", "points such as '100ms:1624 1s:80MiB'")
        points = [point.partition(":") for point in _POINT.findall(text)]
        rows = [(window.strip(), amount.strip()) for window, _, amount in points]
    else:
        rows = _lines(text)
    found: list[tuple[float, float]] = []
    for window, amount in rows:
        plain = re.fullmatch(r"[0-9.]+(e[0-9]+)?", amount)
        try:
            seconds = parse(window, "time")
            size = parse(amount, "number" if plain else "size")
        except InputError as error:
            raise InputError(f"workload 'curve': curve '{text}': {error}") from None
        dirty = size if plain else max(1.0, size / page_size)
        if not 0 < seconds < math.inf or (found and seconds <= found[-1][0]):
            raise _wrong(text, f"the window {window}", "ascending times above 0")
        if dirty < (found[-1][1] if found else 1):
            raise _wrong(text, f"{amount} in {window}", "a page or more, and no fewer than before")
        found.append((seconds, dirty))
    if not found:
        raise _wrong(text, "it", "at least one point")
    windows, pages = np.array(found, np.float64).T
    return windows, pages


def _lines(text: str) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    try:
        lines = Path(text).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"workload 'curve': cannot read {text}: {error}") from None
    for number, line in enumerate(lines, 1):
        cells = [cell.strip() for cell in line.split("#")[0].split(",")]
        if cells == [""] or (number == 1 and cells[0].lower() == "seconds"):
            continue
        if len(cells) != 2:
            raise _wrong(text, f"line {number}, '{line}'", "SECONDS,PAGES")
        rows.append((cells[0], cells[1]))
    return rows


def _classes(
    windows: npt.NDArray[np.float64], pages: npt.NDArray[np.float64], most: int, text: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return sizes and rates (writes of a page per second) of the classes, fast ones first.

    Slow classes are given up one by one as long as all classes together do not fit into ``most``
    pages; if they never do, as where all memory is dirtied, those that come nearest are cut down.
    Raises `InputError` where no sum of classes comes near the curve.
    """
    import scipy.optimize

    rates = _rates(windows)
    nearest, cut = _WORST_FIT, None
    while rates.size:
        reached = np.array([[1.0 - portable_exp(-rate * t) for rate in rates] for t in windows])
        matrix = np.vstack([reached / pages[:, None], np.eye(rates.size) * _RIDGE / pages[-1]])
        target = np.concatenate([np.ones(pages.size), np.zeros(rates.size)])
        fitted = scipy.optimize.nnls(matrix, target)[0]
        error = float(np.abs(reached @ fitted / pages - 1.0).max())
        sizes = np.round(fitted).astype(np.int64)
        if not sizes.any():
            sizes[int(np.argmax(fitted))] = 1
        if sizes.sum() <= most and error <= _WORST_FIT:
            return sizes[sizes > 0], rates[sizes > 0]
        if error > _WORST_FIT:
            break
        fitting = np.floor(fitted * min(1.0, most / fitted.sum()))
        missed = float(np.abs(reached @ fitting / pages - 1.0).max())
        if missed <= nearest:
            nearest, cut = missed, (fitting.astype(np.int64), rates)
        rates = rates[:-1]
    if pages[-1] > most:
        raise _wrong(text, f"{pages[-1]:.0f} pages", f"at most the {most} of the working set")
    if cut is not None:
        sizes, rates = cut
        return sizes[sizes > 0], rates[sizes > 0]
    raise _wrong(
        text, "it", "a curve that bends towards the time axis, as random writes have it: the "
        f"nearest one misses a point by {error:.0%}",
    )  # fmt: skip


def _rates(windows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the rates to choose from, descending: halves and thirds of powers of two apart."""
    slow, fast = 0.0625 / windows[-1], 4.0 / windows[0]
    listed = []
    rate = slow
    while rate <= fast:
        listed += [rate, 1.5 * rate]
        rate *= 2.0
    return np.array(listed[::-1])


def _scattering_stride(count: int) -> int:
    """Return a number coprime to ``count`` near its golden section, to part neighbours."""
    stride = max(1, int(count * 0.6180339887498949))
    while math.gcd(stride, count) != 1:
        stride += 1
    return stride


def _wrong(text: str, got: str, expected: str) -> InputError:
    return InputError(f"workload 'curve': curve '{text}': got {got}, expected {expected}")
