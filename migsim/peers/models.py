"""Closed forms of papers."""

from __future__ import annotations

import math

from migsim.peers.case import Case, Forecast

__all__ = ["akoush_least", "akoush_most", "liu"]


def liu(case: Case, *, resume_seconds: float = 0.0) -> Forecast:
    """Liu et al., "Performance and energy modeling for live migration", HPDC 2011, sec. 3.

    Round i sends V (D/R)^i. The last is the first that sends no more than a threshold, here what
    the rate sends within the downtime limit; the guest stands still while it is sent and for
    ``resume_seconds``, a constant of the host. No page is dirtied twice, no working set ends that.
    """
    ratio = case.dirty_rate / case.rate
    share = case.rate * case.downtime_limit / case.memory  # of memory that fits the downtime
    if ratio >= 1.0 or (share == 0.0 and ratio > 0.0):
        return Forecast(converged=False)
    last = 1 if ratio == 0.0 or share >= 1.0 else math.ceil(math.log(share) / math.log(ratio))
    sent = case.memory * (1.0 - ratio ** (last + 1)) / (1.0 - ratio)
    return Forecast(
        seconds=sent / case.rate,
        downtime=case.memory / case.rate * ratio**last + resume_seconds,
        sent=sent,
        rounds=last,
        converged=True,
    )


def akoush_least(case: Case) -> Forecast:
    """Akoush et al., "Predicting the performance of VM migration", MASCOTS 2010: lower bounds.

    All memory once, the guest stopped for no page. Their overheads are those of a Xen host and are
    left out. Xen stops a guest that does not converge, so that it always ends.
    """
    return Forecast(seconds=case.memory / case.rate, downtime=0.0, sent=case.memory, converged=True)


def akoush_most(case: Case) -> Forecast:
    """Akoush et al., MASCOTS 2010: upper bounds, from Xen's rules to stop.

    Xen stops once it has sent more than three times the memory: just below that, a last round
    while the guest runs and another one while it stands still send all of it. See `akoush_least`.
    """
    sent = 5 * case.memory - case.page_size
    return Forecast(
        seconds=sent / case.rate, downtime=case.memory / case.rate, sent=sent, converged=True
    )
