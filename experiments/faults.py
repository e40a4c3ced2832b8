"""Which algorithm loses a guest, or lets it run twice, when a host or the link between them fails?

Every algorithm migrates a small guest while the source crashes, the destination crashes, or the
link goes down for a second or a minute, at instants all over the migration and in each step of the
switch-over. Hosts that do not hear from each other then wait, go on, or ask a lock first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migsim import Task
from migsim.experiment import Claim, Plan
from migsim.fleet.fault_task import FaultTask
from migsim.fleet.faults import Policy
from migsim.plotting import look_of, ordered, tile_panels
from migsim.registry import names

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SETTINGS: dict[str, dict[str, Any]] = {
    "hybrid": {"max_downtime": "30ms"},  # else so small a guest needs no post-copy
    # These would go on until the guest dirties less.
    "cloud_hypervisor": {"timeout": "2min", "on_timeout": "ignore"},
    "qemu": {"auto_converge": True, "postcopy_after": "30s", "max_bandwidth": 0},
}
POLICIES = {
    "wait": Policy(confirm="wait"),
    "resume": Policy(confirm="resume"),
    "fenced": Policy(confirm="fenced"),
    # What a broken connection meant after the switch before it could be recovered.
    "lose": Policy(confirm="fenced", postcopy="lose", broken_after=30.0),
}
FAULTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    # A source that is gone follows no policy.
    "source crash": ({"kind": "source crash"}, ("fenced",)),
    "destination crash": ({"kind": "destination crash"}, ("wait", "resume", "fenced")),
    "link down for 1 s": ({"kind": "link down", "lasts": 1.0}, ("wait", "resume", "fenced")),
    "link down for 1 min": (
        {"kind": "link down", "lasts": 60.0}, ("wait", "resume", "fenced", "lose"),
    ),
}  # fmt: skip
"""What breaks, and the policies that are tried with it."""

FRACTIONS = 8
STEPS = ("paused", "in flight", "starting", "unacknowledged")
QUICK = ("stop_and_copy", "precopy", "hybrid", "postcopy")
MOST_SEEDS = 3
"""The guest's seed moves instants a little; what becomes of it at them hardly depends on it."""

ENDINGS = {
    "completed": ("runs at the destination", "#4c78a8"),
    "stayed": ("runs at the source", "#c6dbef"),
    "undecided": ("stands paused until somebody decides", "#f2cf5b"),
    "twice": ("runs twice", "#b279a2"),
    "lost": ("is lost", "#7f1d1d"),
}


def tasks(plan: Plan) -> list[FaultTask]:
    """Return every fault at every instant, for each algorithm of memory and seed."""
    chosen = (*(QUICK if plan.quick else _algorithms()), *plan.algorithms)
    return [
        task
        for seed in range(min(plan.seeds, MOST_SEEDS))
        for name in chosen
        for fault in FAULTS
        for task in _of_fault(name, fault, seed)
    ]


def _algorithms() -> list[str]:
    """Return the algorithms that differ in how they move memory: the guest has no disk."""
    return [name for name in names("algorithm") if not name.startswith("storage_")]


def _of_fault(algorithm: str, fault: str, seed: int) -> list[FaultTask]:
    migration = Task(
        algorithm=algorithm, algorithm_args=SETTINGS.get(algorithm, {}), memory="64MiB",
        workload="hotcold", workload_args={"working_set": "48MiB", "rate": "40MB/s"},
    )  # fmt: skip
    settings, policies = FAULTS[fault]
    instants: list[tuple[Any, float]] = [
        *(("whole", (k + 0.5) / FRACTIONS) for k in range(FRACTIONS)),
        *((step, 0.5) for step in STEPS),
    ]
    return [
        FaultTask(
            migration=migration, **settings, within=within, share=share, seed=seed, label=fault,
            policies={name: POLICIES[name] for name in policies},
        )
        for within, share in instants
    ]  # fmt: skip


# ---- parts of the sweep -----------------------------------------------------------------------


def _cases(results: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each fault and policy: with ``rule``, ``ending`` and ``reason``."""
    import pandas as pd

    parts = []
    for fault, (_, policies) in FAULTS.items():
        for rule in policies:
            chosen = results[results["label"] == fault]
            parts.append(chosen.assign(
                rule=rule, ending=chosen[f"ending_{rule}"], reason=chosen[f"reason_{rule}"]
            ))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _ours(results: pd.DataFrame) -> pd.DataFrame:
    """Return the cases of built-in algorithms."""
    return _cases(results[results["algorithm"].isin(_algorithms())])


def _lost_share(runs: pd.DataFrame, failure: str) -> pd.Series:
    """Return the share of the instants of a migration at which a failure loses the guest."""
    chosen = runs[(runs["label"] == failure) & (runs["rule"] == "fenced")]
    chosen = chosen[chosen["fault.within"] == "whole"]
    return (chosen["ending"] == "lost").groupby(chosen["algorithm"]).mean()


def _switches_early(runs: pd.DataFrame) -> pd.Series:
    """Return by algorithm the share of its time in which the destination runs without all pages."""
    spans = runs["calm_complete_at"] - runs["calm_starts_at"]
    return (spans / runs["calm_seconds"]).groupby(runs["algorithm"]).mean()


def tables(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return for each algorithm the share of instants at which each fault loses its guest."""
    runs = _ours(results)
    table = runs[["algorithm"]].drop_duplicates().set_index("algorithm")
    for failure in FAULTS:
        table[failure] = 100 * _lost_share(runs, failure)
    table.index = [look_of(name).label for name in table.index]
    return {
        "instants of a migration at which a fault loses the guest (%), fenced": table.reset_index(
            names=""
        )
    }


# ---- claims -------------------------------------------------------------------------------------


def claims(results: pd.DataFrame) -> list[Claim]:
    """Return what the results must bear out."""
    runs = _ours(results)
    return [
        _reported(runs),
        _safe_before_the_switch(runs),
        _source(runs),
        _destination(runs),
        _twice(runs),
        _window(runs),
        _broken(runs),
    ]


def _reported(runs: pd.DataFrame) -> Claim:
    gone = runs[runs["ending"].isin(["undecided", "twice", "lost"])]
    told = gone["reason"].str.len() > 0
    return Claim(
        "without the fault every migration completes, and no guest that runs nowhere or twice is "
        "left without a reason",
        bool((runs["status"] == "completed").all() and told.all() and len(gone)),
        f"{len(gone)} of {len(runs)} cases, {gone['reason'].nunique()} reasons",
    )


def _safe_before_the_switch(runs: pd.DataFrame) -> Claim:
    before = runs[(runs["at_seconds"] < runs["calm_left_at"]) & (runs["label"] != "source crash")]
    return Claim(
        "before the device state has left, neither a crash of the destination nor the link takes "
        "a guest from any algorithm, whatever the policy",
        bool(before["ending"].isin(["stayed", "completed"]).all()),
        f"{len(before)} cases: " + _counts(before),
    )


def _source(runs: pd.DataFrame) -> Claim:
    crashed = runs[runs["label"] == "source crash"]
    early = crashed[crashed["at_seconds"] < crashed["calm_left_at"]]
    late = crashed[crashed["phase"] == "post-copy"]
    return Claim(
        "a crash of the source loses every guest that has not switched over, and every one that "
        "lacks pages: only when the last page is there is it safe from its old host",
        bool((early["ending"] == "lost").all() and (late["ending"] == "lost").all() and len(late)),
        f"{len(early)} cases before the switch, {len(late)} while pages were missing",
    )


def _destination(runs: pd.DataFrame) -> Claim:
    lost, exposed = _lost_share(runs, "destination crash"), _switches_early(runs)
    gap = (lost - exposed).abs()
    pre = lost[exposed < 1 / (2 * FRACTIONS)]
    return Claim(
        "a crash of the destination loses post-copy's guest in proportion to its post-copy phase, "
        "and that of algorithms without one at no instant of the copying",
        bool((gap <= 1 / FRACTIONS).all() and (pre == 0).all() and lost["postcopy"] > 0.5),
        f"post-copy {100 * lost['postcopy']:.0f} % of the instants, hybrid "
        f"{100 * lost['hybrid']:.0f} %, {len(pre)} others {100 * pre.max():.0f} %",
    )


def _twice(runs: pd.DataFrame) -> Claim:
    safe = runs[runs["rule"] != "resume"]
    fenced = runs[(runs["rule"] == "fenced") & ~runs["label"].str.endswith("crash")]
    undecided = runs["ending"] == "undecided"
    return Claim(
        "no guest runs twice where the source waits or asks the lock; waiting leaves guests "
        "paused, the lock none that both hosts outlive",
        bool(
            (safe["ending"] != "twice").all()
            and (runs.loc[undecided, "rule"] == "wait").all()
            and fenced["ending"].isin(["completed", "stayed"]).all()
        ),
        f"{len(safe)} cases; {int(undecided.sum())} paused for good under wait",
    )


def _window(runs: pd.DataFrame) -> Claim:
    resumed = runs[(runs["rule"] == "resume") & (runs["label"] == "link down for 1 min")]
    inside = resumed["phase"].isin(["in flight", "starting", "unacknowledged"])
    twice = resumed["ending"] == "twice"
    short = runs[(runs["rule"] == "resume") & (runs["label"] == "link down for 1 s")]
    return Claim(
        "a source that resumes without a lock runs the guest twice exactly where the link breaks "
        "between its last byte and the answer for longer than its patience",
        bool((twice == inside).all() and twice.any() and (short["ending"] != "twice").all()),
        f"{int(twice.sum())} of {len(resumed)} cases",
    )


def _broken(runs: pd.DataFrame) -> Claim:
    cut = runs[(runs["label"] == "link down for 1 min") & (runs["phase"] == "post-copy")]
    lose, recover = (cut[cut["rule"] == rule] for rule in ("lose", "fenced"))
    return Claim(
        "a connection that breaks in the post-copy phase loses the guest unless it can be "
        "recovered, and then none",
        bool((lose["ending"] == "lost").all() and (recover["ending"] == "completed").all()
             and len(lose)),
        f"{len(lose)} cases lost, {len(recover)} recovered",
    )  # fmt: skip


def _counts(runs: pd.DataFrame) -> str:
    return ", ".join(f"{count} {ending}" for ending, count in runs["ending"].value_counts().items())


def numbers(results: pd.DataFrame) -> dict[str, float]:
    """Return what a text may say: cases by ending, and shares of instants in percent."""
    runs = _ours(results)
    destination = 100 * _lost_share(runs, "destination crash")
    resumed = runs[(runs["rule"] == "resume") & (runs["label"] == "link down for 1 min")]
    return {
        "cases": len(runs),
        "algorithms": runs["algorithm"].nunique(),
        **{f"cases_{ending}": int((runs["ending"] == ending).sum()) for ending in ENDINGS},
        **{
            f"destination_crash_loses_{name}_percent": float(destination[name])
            for name in ("precopy", "hybrid", "postcopy")
        },
        "resume_twice_percent": 100 * float((resumed["ending"] == "twice").mean()),
        "fenced_twice": int(((runs["rule"] == "fenced") & (runs["ending"] == "twice")).sum()),
        "wait_undecided": int(
            ((runs["rule"] == "wait") & (runs["ending"] == "undecided")).sum()
        ),
    }  # fmt: skip


# ---- the figure ---------------------------------------------------------------------------------


def figure(results: pd.DataFrame) -> Figure:
    """Return what becomes of the guest, algorithms by instants, a panel for each fault and policy.

    Instants are shares of the migration's time without the fault, then the middle of each step of
    the switch-over. Of several seeds the worst is shown.
    """
    cases = _cases(results)
    case = cases["label"] + ", " + cases["rule"]
    instants = [
        within if within != "whole" else f"{100 * share:.0f} %"
        for within, share in zip(cases["fault.within"], cases["fault.share"], strict=True)
    ]
    order = {name: place for place, name in enumerate(_SHOWN)}
    everyone = ordered(cases["algorithm"].unique())
    shown = cases.assign(
        instant=instants,
        panel=case.map(_SHOWN),
        panel_place=case.map(order),
        place=cases["algorithm"].map(everyone.index),
        name=[look_of(name, everyone).label for name in cases["algorithm"]],
    ).dropna(subset="panel")
    return tile_panels(
        shown.sort_values(["panel_place", "place"], kind="stable"),
        "ending",
        ENDINGS,
        rows="name",
        columns="instant",
        panels="panel",
        title="What becomes of a guest when something fails during its migration",
    )


_SHOWN = {
    "source crash, fenced": "source crashes",
    "destination crash, wait": "destination crashes; the source waits",
    "destination crash, fenced": "destination crashes; the source asks the lock",
    "link down for 1 min, resume": "link down for 1 min; the source resumes",
    "link down for 1 min, fenced": "link down for 1 min; the source asks the lock",
    "link down for 1 min, lose": "link down for 1 min; lock, no recovery of post-copy",
}
"""The faults and policies of the figure, and what their panels are called."""
