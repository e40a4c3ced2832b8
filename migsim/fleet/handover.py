"""Where a guest runs after a failure: the end of a migration as two host managers see it.

While memory is copied the guest is at the source, and whatever breaks, it runs on there unless the
source itself does. Once the device state has left, the source has to be told that the destination
took over, and a message can be lost: then neither knows what the other did (the two generals'
problem), and what becomes of the guest is a matter of policy. The model is this:

- The source pauses the guest, sends what is left and the device state, and waits for an answer.
- The destination starts the guest as soon as it has the device state, and answers. (QEMU without
  ``-S``, or told to run by the stream as in post-copy: docs/devel/migration in its sources. In
  libvirt's protocol 3 the manager starts it in "Finish" and the source drops or resumes its guest
  in "Confirm", kbase/internals/qemu-migration; the window is the same, and a round trip longer.)
- Messages are TCP's: one that the link loses is sent again after 0.2, 0.4, 0.8 s ... until the
  connection is given up (`migsim.network.client`), but not by a host that has crashed. One that was
  under way when its sender crashed arrives.
- A source that has sent all cannot tell a crash of the destination from a loss of the link. One
  that has not yet can resume in safety: the destination has nothing that it could start. QEMU does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from migsim.errors import InputError
from migsim.fleet.faults import Fault, Policy
from migsim.network.client import Client
from migsim.network.schedule import parse_outages
from migsim.simulate import Outcome
from migsim.task import ResolvedTask

__all__ = ["Phase", "Place", "Steps", "Where", "after", "steps_of"]

Phase = Literal[
    "connecting", "copying", "paused", "in flight", "starting", "unacknowledged", "post-copy",
    "done", "given up",
]  # fmt: skip
"""``in flight``: the device state has left, and is not there. ``starting``: it is, and the guest
does not run yet. ``unacknowledged``: it runs, and the source does not know."""

Place = Literal["source", "destination"]


@dataclass(frozen=True, kw_only=True)
class Steps:
    """When a migration does what, seconds since its start; infinite for what it does not do.

    Attributes:
        connected: the connection stands.
        paused: the guest is stopped at the source.
        left: the last byte of the device state has left.
        arrives: the destination has it.
        starts: the guest runs there.
        answered: the source knows.
        complete: the last page is there.
        ended: the migration was given up, and the guest stays at the source.
        one_way: seconds that a message takes.
        load: seconds from the arrival to the start.
        lacking: pages, or blocks of the disk, that follow after the switch.
        down: seconds of the longest outage between the switch and the last page.
    """

    connected: float
    paused: float = math.inf
    left: float = math.inf
    arrives: float = math.inf
    starts: float = math.inf
    answered: float = math.inf
    complete: float = math.inf
    ended: float = math.inf
    one_way: float = 0.0
    load: float = 0.0
    lacking: int = 0
    down: float = 0.0

    def phase_at(self, at: float) -> Phase:
        """Return the phase that instant ``at`` lies in; a phase begins with its first instant."""
        if at >= self.ended:
            return "given up"
        last: Phase = "done" if at >= self.complete else "post-copy"
        borders: list[tuple[float, Phase]] = [
            (self.connected, "connecting"), (self.paused, "copying"), (self.left, "paused"),
            (self.arrives, "in flight"), (self.starts, "starting"),
            (self.answered, "unacknowledged"),
        ]  # fmt: skip
        return next((phase for border, phase in borders if at < border), last)


def steps_of(task: ResolvedTask, outcome: Outcome) -> Steps:
    """Return when the migration that came to ``outcome`` did what."""
    total = outcome.result.total_seconds
    events = list(outcome.timeline)
    connected = events[0].start if events else total
    paused = next((event.start for event in events if event.act == "pause"), math.inf)
    # One whose device state could not be sent has an event, too; then it was given up.
    resume = next((event for event in events if event.act == "resume"), None)
    if resume is None or outcome.result.status == "gave_up":
        return Steps(connected=connected, paused=paused, ended=total)
    one_way, load = task.link.one_way, task.vm.resume_seconds
    if task.disk is not None and task.disk.shared:
        load += task.disk.lock_seconds
    left = resume.end if resume.pages else max(resume.start, resume.end - one_way - load)
    complete = math.inf if outcome.result.status == "lost" else max(total, left + one_way + load)
    outages = parse_outages(task.link.outages)
    arrives = _delivered(left, one_way, outages)
    return Steps(
        connected=connected,
        paused=paused,
        left=left,
        arrives=arrives,
        starts=arrives + load,
        answered=_delivered(arrives + load, one_way, outages),
        complete=complete,
        one_way=one_way,
        load=load,
        lacking=resume.pages,
        down=max((min(ends, complete) - max(begins, left) for begins, ends in outages), default=0),
    )


@dataclass(frozen=True)
class Where:
    """What became of the guest.

    Attributes:
        runs_at: the hosts at which it runs: one, none, or both.
        lost: whether it is gone for good; where it runs nowhere and is not lost, it stands paused
            at the source until somebody decides.
        reason: how that came, in one sentence.
    """

    runs_at: tuple[Place, ...]
    lost: bool
    reason: str


def after(steps: Steps, fault: Fault, policy: Policy, missing: int = 0) -> Where:
    """Return where the guest runs after ``fault``.

    ``steps`` are those of the migration over its link, outages of the fault included; ``missing``
    pages were not at the destination when the source crashed. Raises `InputError` for a patience
    that no migration without a fault would keep to.
    """
    needed = 2.0 * steps.one_way + steps.load
    if policy.confirm != "wait" and policy.patience <= needed:
        raise InputError(
            f"policy: patience is {policy.patience} s, expected more than the {needed:g} s that "
            "the answer takes in this migration without a fault"
        )
    source_ends = fault.at if fault.kind == "source crash" else math.inf
    destination_ends = fault.at if fault.kind == "destination crash" else math.inf
    what = _told(steps, fault)
    if steps.ended < math.inf or min(source_ends, destination_ends) < steps.left:
        if source_ends < math.inf:
            return Where((), True, f"{what}, and the guest was there")
        return Where(("source",), False, f"{what}; the source had the guest and runs it")
    starts, acts, answered = _times(steps, policy, source_ends, destination_ends)
    here, there = acts < answered, starts < math.inf
    if policy.confirm == "fenced" and here and there:
        here, there = acts < starts, starts <= acts  # the lock is the first one's
    gone = _why_gone(steps, policy, source_ends, destination_ends, missing) if there else ""
    places: list[Place] = ["source"] if here and math.isinf(source_ends) else []
    places += ["destination"] if there and not gone else []
    waits = math.isinf(starts) and math.isinf(source_ends)
    reason = "; ".join(
        [what, _at_destination(starts, there, gone), _at_source(here, source_ends, answered)]
    )
    return Where(tuple(places), not places and not waits, reason)


def _times(
    steps: Steps, policy: Policy, source_ends: float, destination_ends: float
) -> tuple[float, float, float]:
    """Return when the destination starts the guest, the source acts by itself, and is answered.

    A host that has crashed does nothing any more, and sends nothing again.
    """
    sent = steps.arrives - steps.one_way <= source_ends
    starts = steps.starts if sent and steps.starts <= destination_ends else math.inf
    told = starts < math.inf and steps.answered - steps.one_way <= destination_ends
    acts = math.inf if policy.confirm == "wait" else steps.left + policy.patience
    return (
        starts,
        acts if acts < source_ends else math.inf,
        steps.answered if told and steps.answered < source_ends else math.inf,
    )


def _why_gone(
    steps: Steps, policy: Policy, source_ends: float, destination_ends: float, missing: int
) -> str:
    """Return why the guest that the destination has started does not run there any more."""
    if destination_ends < math.inf:
        return "the guest ran there"
    if missing and steps.complete - steps.one_way > source_ends:  # what has left by then arrives
        return f"{missing} pages or blocks of the guest were still at the source"
    if steps.lacking and policy.postcopy == "lose" and steps.down > policy.broken_after:
        return "the connection broke while the destination lacked pages"
    return ""


def _told(steps: Steps, fault: Fault) -> str:
    if fault.kind == "link down":
        return f"the link went down at {fault.at:g} s"
    return f"the {fault.kind.split()[0]} crashed at {fault.at:g} s ({steps.phase_at(fault.at)})"


def _at_destination(starts: float, there: bool, gone: str) -> str:
    if gone:
        return gone
    if math.isinf(starts):
        return "the destination never started the guest"
    return "the destination started it" if there else "the destination came too late for the lock"


def _at_source(here: bool, source_ends: float, answered: float) -> str:
    if source_ends < math.inf:
        return "the source is gone" if not here else "the source had resumed it before"
    if here:
        return "the source got no answer in time and resumed it"
    return "the source left its copy paused" if math.isinf(answered) else "the source knows"


def _delivered(sent: float, one_way: float, outages: list[tuple[float, float]]) -> float:
    """Return when a message arrives that is sent again as long as the link loses it."""
    for wait in Client(rtt=2.0 * one_way).attempts() if sent < math.inf else []:
        left, arrives = sent + wait, sent + wait + one_way
        if not any(begins < arrives and left < ends for begins, ends in outages):
            return arrives
    return math.inf
