"""What the comparisons come to, in numbers: what texts such as the paper say of them."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from migsim.hypervisor.load import load_runs
from migsim.hypervisor.runs import RecordedRun
from migsim.plotting.scatter import Points
from migsim.validate import peers, published, qemu, tcp
from migsim.validate.drawing import qemu_points, tcp_points
from migsim.validate.errors import Prediction, Summary, summarise
from migsim.validate.linear import compare_linear
from migsim.validate.published.check import KINDS

__all__ = ["VALIDATIONS", "beside_peers", "of_plain", "summaries"]

Said = Mapping[str, Sequence[Prediction]]
"""Predictor -> its predictions of some runs, in their order."""


def beside_peers(
    runs: Sequence[RecordedRun], *, used_memory: bool = True
) -> dict[str, Sequence[Prediction]]:
    """Return migsim's and its peers' predictions of recorded runs. Raises `InputError`."""
    return {"migsim": qemu.predict_all(runs), **peers.predict_all(runs, used_memory=used_memory)}


def of_plain(
    runs: Sequence[RecordedRun], said: Said
) -> tuple[list[RecordedRun], dict[str, list[Prediction]]]:
    """Return the runs of plain pre-copy, and what was said of them."""
    plain = [peers.is_plain(run) for run in runs]
    return [run for run, is_plain in zip(runs, plain, strict=True) if is_plain], {
        name: [one for one, is_plain in zip(found, plain, strict=True) if is_plain]
        for name, found in said.items()
    }


def summaries(runs: Sequence[RecordedRun], said: Said) -> dict[str, Summary]:
    """Return each predictor's errors; ``runs`` has the number of those of which it says something.

    That they do not end is something, too; errors are of those that ended and were said to.
    """
    return {
        name: {
            "runs": {"predicted": sum(one.says_something for one in found)},
            **summarise((one, run.measured) for one, run in zip(found, runs, strict=True)),
        }
        for name, found in said.items()
    }


def _recorded() -> dict[str, Any]:
    """Return the errors of migsim and its peers on recorded migrations of QEMU."""
    everything = [run for path in qemu.RUNS for run in load_runs(path)]
    others = [run for run in everything if not qemu.is_calibration(run)]
    said = beside_peers(others)
    plain_runs, plain_said = of_plain(others, said)
    return {
        "runs": len(everything),
        "fitted": len(everything) - len(others),
        "others": len(others),
        "scenarios": len({run.name for run in others}),
        "plain": len(plain_runs),
        "predictors": summaries(others, said),
        "plain_predictors": summaries(plain_runs, plain_said),
        "by_family": _by_family(others, said["migsim"]),
        "points": _plain(qemu_points(list(zip(others, said["migsim"], strict=True)))),
        "claims": [
            {"claim": claim.text, "holds": claim.holds(_summary(others, said["migsim"]))}
            for claim in qemu.CLAIMS
        ],
    }


def _plain(panels: Mapping[str, Mapping[str, Points]]) -> dict[str, Any]:
    return {
        panel: {kind: dataclasses.asdict(points) for kind, points in kinds.items()}
        for panel, kinds in panels.items()
    }


def _summary(runs: Sequence[RecordedRun], said: Sequence[Prediction]) -> Summary:
    return summarise((one, run.measured) for one, run in zip(said, runs, strict=True))


def _by_family(runs: Sequence[RecordedRun], said: Sequence[Prediction]) -> list[dict[str, Any]]:
    families = dict.fromkeys(qemu.family(run) for run in runs)
    listed = []
    for name in families:
        chosen = [pair for pair in zip(runs, said, strict=True) if qemu.family(pair[0]) == name]
        summary = _summary([run for run, _ in chosen], [one for _, one in chosen])
        listed.append({"family": name, "runs": len(chosen), **summary})
    return listed


def _linear() -> dict[str, Any]:
    """Return how far plain pre-copy is from SimGrid, whose model is a special case."""
    rows = compare_linear()
    return {"guests": len(rows), "worst": max(row.error for row in rows)}


def _tcp() -> dict[str, Any]:
    """Return how many settings of Linux's TCP are predicted within each tolerance, by kind."""
    sets = {name: tcp.compare(tcp.read_rows(path)) for name, path in tcp.DATA.items()}
    found = [item for rows in sets.values() for item in rows]
    kinds = []
    for kind, tolerance in tcp.TOLERANCES.items():
        errors = [abs(item.error) for item in found if item.row.kind == kind]
        within = sum(error <= tolerance for error in errors)
        kinds.append({
            "kind": kind, "tolerance": tolerance, "rows": len(errors), "within": within,
            "median": statistics.median(errors), "worst": max(errors),
        })  # fmt: skip
    timed = [item.t90_within for item in found if item.t90_within is not None]
    return {
        "rows": len(found),
        "within": sum(item.within for item in found),
        "kinds": kinds,
        "timed": len(timed),
        "timed_within": sum(timed),
        "points": _plain(tcp_points(sets)),
    }


def _published() -> dict[str, Any]:
    """Return how many published figures are met, by kind of check."""
    summary = published.summarise(published.compare(published.CHECKS))
    return {"checks": len(published.CHECKS), "kinds": {kind: summary[kind] for kind in KINDS}}


VALIDATIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "qemu": _recorded,
    "linear": _linear,
    "tcp": _tcp,
    "published": _published,
}
"""Name -> function that returns plain JSON values: nothing in them depends on the machine."""
