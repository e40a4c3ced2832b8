"""Other people's models on recorded migrations: who is how far off on the same runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from migsim.errors import InputError
from migsim.hypervisor.runs import RecordedRun
from migsim.peers.case import Case, Forecast, case_of
from migsim.peers.gudkov import gudkov
from migsim.peers.models import akoush_least, akoush_most, liu
from migsim.peers.simgrid import simgrid
from migsim.peers.simulators import (
    camig,
    cloudsim,
    cloudsim_mig,
    cloudsim_plain,
    cloudsim_plus,
    dcsim,
    dissect_cf,
    dslab,
)
from migsim.validate.errors import Prediction

__all__ = ["PEERS", "is_plain", "predict", "predict_all"]

PEERS: dict[str, Callable[[Case], Forecast]] = {
    "Gudkov 2023 (QEMU)": gudkov,
    "SimGrid": simgrid,
    "Liu 2011": liu,
    "Akoush 2010, least": akoush_least,
    "Akoush 2010, most": akoush_most,
    "DISSECT-CF": dissect_cf,
    "CloudSimMig": cloudsim_mig,
    "CAMIG": camig,
    "CloudSim": cloudsim,
    "CloudSim, not power-aware": cloudsim_plain,
    "CloudSim Plus": cloudsim_plus,
    "DCSim": dcsim,
    "DSLab IaaS": dslab,
}
"""Name in tables -> rule, the most faithful to QEMU first."""

_OTHER_READINGS = (
    2  # of the dirty log, beside those after rounds: at the start and in the stop phase
)
_CHANGES_PAGES = {"xbzrle", "auto-converge", "multifd", "compress", "dirty-limit"}


def predict(rule: Callable[[Case], Forecast], run: RecordedRun, *, used_memory: bool) -> Prediction:
    """Return what a peer says of a recorded run, in the terms in which runs are measured.

    No peer knows post-copy, nor what a hypervisor sends that nothing limits: it says nothing of
    such runs. Of compression and throttling it knows nothing either and takes the guest as it is.
    One that would not end before a run's time limit does not converge. For ``used_memory`` see
    `case_of`.
    """
    try:
        case = case_of(run, used_memory=used_memory)
    except InputError as error:
        return Prediction(reason=str(error))
    if case.postcopy:
        return Prediction(reason="it knows no post-copy")
    if math.isinf(case.rate):
        return Prediction(reason="nothing limits the rate")
    said = rule(case)
    in_time = said.seconds is None or said.seconds <= (run.time_limit_seconds or math.inf)
    if said.converged is False or (said.converged and not in_time):
        return Prediction(converged=False)
    return Prediction(
        total=said.seconds,
        bytes=said.sent,
        downtime=said.downtime,
        rounds=None if said.rounds is None else said.rounds + _OTHER_READINGS,
        converged=said.converged,
    )


def is_plain(run: RecordedRun) -> bool:
    """Whether a run is pre-copy without anything that peers do not know."""
    return not run.switches and not _CHANGES_PAGES & set(run.capabilities)


def predict_all(
    runs: Sequence[RecordedRun], *, used_memory: bool = False
) -> dict[str, list[Prediction]]:
    """Return each peer's predictions of all runs."""
    return {
        name: [predict(rule, run, used_memory=used_memory) for run in runs]
        for name, rule in PEERS.items()
    }
