"""What becomes of one migration, and of its guest, where something breaks at a given time.

The migration runs as ever: a crash ends it at that instant, and an outage is one of its link's.
What the engine does not know, who runs the guest when messages of the hand-over are lost, is
`migsim.fleet.handover`'s.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from migsim.errors import last_line
from migsim.fleet.faults import Fault, Policy
from migsim.fleet.handover import Phase, Place, Steps, Where, after, steps_of
from migsim.network.schedule import join_outages, parse_outages
from migsim.result import Result
from migsim.simulate import Outcome, execute
from migsim.task import ResolvedTask

__all__ = ["Ending", "Fate", "Struck", "ending_of", "inject", "judge", "strike"]

Ending = Literal["completed", "stayed", "undecided", "twice", "lost"]
"""``completed``: the guest runs at the destination; ``stayed``: at the source; ``undecided``:
nowhere, but its memory is whole; ``twice``: at both; ``lost``: nowhere, for good."""


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What a fault did to a migration.

    Attributes:
        fault, policy: what was injected, and how the hosts deal with it.
        phase: what the migration was doing at that time, had nothing broken.
        runs_at: the hosts at which the guest runs afterwards: one, none, or both.
        ending: what that means.
        missing: pages and blocks that the destination lacked, at a crash or in the end.
        reason: how it came to that, in one sentence.
        result: what was measured up to a crash, or with the outages.
    """

    fault: Fault
    policy: Policy
    phase: Phase
    runs_at: tuple[Place, ...]
    ending: Ending
    missing: int
    reason: str
    result: Result


@dataclass(frozen=True)
class Struck:
    """A migration to which a fault has happened; what hosts make of it is not decided yet.

    Attributes:
        fault: what was injected.
        phase: what the migration was doing at that time, had nothing broken.
        steps: what it does when, outages of the fault included.
        missing: pages and blocks that the destination lacked, at a crash or in the end.
        result: what was measured up to a crash, or with the outages.
        whole: what the migration comes to where no crash cuts it off.
    """

    fault: Fault
    phase: Phase
    steps: Steps
    missing: int
    result: Result
    whole: Result

    def fate(self, policy: Policy) -> Fate:
        """Return what becomes of the guest. Raises `InputError` as `inject`."""
        link = self.fault.kind == "link down"
        where = after(self.steps, self.fault, policy, 0 if link else self.missing)
        if (
            where.runs_at == ("destination",)
            and self.whole.corrupt_pages + self.whole.corrupt_blocks
        ):
            where = Where((), True, f"{where.reason}; {last_line(self.whole.error)}")
        return Fate(
            fault=self.fault,
            policy=policy,
            phase=self.phase,
            runs_at=where.runs_at,
            ending=ending_of(where),
            missing=self.missing,
            reason=where.reason,
            result=self.result,
        )


def inject(task: ResolvedTask, fault: Fault, policy: Policy | None = None) -> Fate:
    """Return what becomes of the migration ``task`` where ``fault`` happens to it. Pure.

    Raises `InputError` for a task that cannot be used, and a policy that does not suit it.
    """
    return strike(task, fault, execute(task)).fate(Policy() if policy is None else policy)


def strike(task: ResolvedTask, fault: Fault, calm: Outcome) -> Struck:
    """Return the migration ``task``, which comes to ``calm`` by itself, with a fault in it. Pure.

    Raises `InputError` as `migsim.simulate.execute`.
    """
    steps = steps_of(task, calm)
    phase = steps.phase_at(fault.at)
    if fault.kind == "link down":
        outages = [*parse_outages(task.link.outages), *fault.outages]
        args = {**task.link_args, "outages": join_outages(outages)}
        broken = dataclasses.replace(task, link_args=args)
        outcome = execute(broken)
        result, steps = outcome.result, steps_of(broken, outcome)
        missing = result.corrupt_pages + result.corrupt_blocks
        return Struck(fault, phase, steps, missing, result, result)
    result, missing = _cut(task, calm.result, fault.at), 0
    if fault.at >= steps.left:
        missing = steps.lacking if fault.at < steps.starts else result.corrupt_pages
        missing += result.corrupt_blocks
    return Struck(fault, phase, steps, missing, result, calm.result)


def _cut(task: ResolvedTask, whole: Result, at: float) -> Result:
    """Return what the migration that comes to ``whole`` had come to at some time."""
    if at >= whole.total_seconds:
        return whole
    limits = dataclasses.replace(task.limits, seconds=at)
    return execute(dataclasses.replace(task, limits=limits)).result


def ending_of(where: Where) -> Ending:
    """Return in one word what became of a guest."""
    if len(where.runs_at) == 2:
        return "twice"
    if not where.runs_at:
        return "lost" if where.lost else "undecided"
    return "completed" if where.runs_at == ("destination",) else "stayed"


def judge(task: ResolvedTask, outcome: Outcome, policy: Policy, crash: Fault | None) -> Where:
    """Return where the guest runs after a migration that ended with ``outcome``.

    ``crash`` is what cut it off, if something did: then its limit of time was the crash. Raises
    `InputError` for a policy that does not suit the migration.
    """
    steps, result = steps_of(task, outcome), outcome.result
    if crash is not None:
        missing = result.corrupt_pages + result.corrupt_blocks
        return after(_of_one_cut_off(task, outcome, steps), crash, policy, missing)
    if steps.ended < math.inf:
        return Where(("source",), False, last_line(result.error))
    if result.status in {"lost", "corrupt"} or result.corrupt_pages:
        return Where((), True, last_line(result.error))
    over = max(steps.complete, steps.answered)
    outages = [outage for outage in parse_outages(task.link.outages) if outage[0] < over]
    if not outages:
        return Where(("destination",), False, "")
    begins, ends = outages[0]
    return after(steps, Fault(kind="link down", at=begins, lasts=ends - begins), policy)


def _of_one_cut_off(task: ResolvedTask, outcome: Outcome, steps: Steps) -> Steps:
    """Return the steps as they would have gone on, of a migration that a crash has ended."""
    resume = next((event for event in outcome.timeline if event.act == "resume"), None)
    if resume is None or steps.left < math.inf:
        return dataclasses.replace(steps, ended=math.inf, complete=math.inf)
    # It was cut off while its device state was on the way.
    link, load = task.link, task.vm.resume_seconds
    left = resume.start + resume.stream_bytes / link.goodput
    arrives = left + link.one_way
    return Steps(
        connected=steps.connected,
        paused=steps.paused,
        left=left,
        arrives=arrives,
        starts=arrives + load,
        answered=arrives + load + link.one_way,
        one_way=link.one_way,
        load=load,
        lacking=resume.pages,
    )
