"""In which order, and how many at a time, should the machines of a host leave it?

Forty machines that do what six recorded programs did leave one host for three others, over ports of
1 and 10 Gbit/s. Orders by rule (largest first, smallest first, random) stand beside the one that
sends each machine when migsim predicts it to be quiet. That order is made twice: by predictions of
these very machines, as one who can look at them would make it, and by predictions of machines that
run the same programs and are at another place in them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from migsim.experiment import Claim, Plan
from migsim.fleet.evacuation import Order
from migsim.fleet.work import EvacuationTask
from migsim.plotting import Panel, choice_panels, look_of
from migsim.stats import Interval, paired_difference

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from matplotlib.figure import Figure

SCENARIO = Path(__file__).parent / "fleets" / "evacuation.toml"
MEMORY_SHARE = 0.125
"""Machines have an eighth of the memory that the file gives them, so that a sweep takes minutes."""

CASES: dict[tuple[str, str], tuple[int, ...]] = {
    ("10Gbit/s", "precopy"): (1, 4, 8),
    ("10Gbit/s", "hybrid"): (1, 4, 8),
    ("1Gbit/s", "hybrid"): (1, 4),
}
"""Numbers of migrations at a time, up to vSphere's limit, by rate and algorithm."""
QUICK: dict[tuple[str, str], tuple[int, ...]] = {("10Gbit/s", "precopy"): (1, 4)}

RULES: tuple[Order, ...] = ("random", "largest", "smallest")
BLIND = "quiet, blind"
ORDERS = {
    "random": "random order",
    "largest": "largest first",
    "smallest": "smallest first",
    BLIND: "when quiet, by others of their kind",
    "quiet": "when quiet, by predictions of them",
}


def tasks(plan: Plan) -> list[EvacuationTask]:
    """Return every order and number at a time, for each rate, algorithm and seed."""
    cases = dict(QUICK if plan.quick else CASES)
    for name in plan.algorithms:
        cases[("10Gbit/s", name)] = (1, 4)
    return [
        task
        for (rate, algorithm), numbers in cases.items()
        for seed in range(plan.seeds)
        for task in _orders(rate, algorithm, numbers, seed)
    ]


def _orders(rate: str, algorithm: str, numbers: tuple[int, ...], seed: int) -> list[EvacuationTask]:
    """Return every order with every number; first those that are planned on the same machines."""

    def task(number: int, order: Order, planned_on: int | None = None) -> EvacuationTask:
        return EvacuationTask(
            scenario=str(SCENARIO), algorithm=algorithm, rate=rate, memory_share=MEMORY_SHARE,
            order=order, concurrency=number, planned_on=planned_on, seed=seed,
            label=f"{rate}, {number} at a time",
        )  # fmt: skip

    return [
        *(task(number, "quiet", on) for number in numbers for on in (None, seed + 1)),
        *(task(number, order) for number in numbers for order in RULES),
    ]


# ---- parts of the sweep -----------------------------------------------------------------------


def _named(results: pd.DataFrame) -> pd.DataFrame:
    """Return the results with short names for rate, order and number at a time."""
    planned = results["evacuation.planned_on"].isna()
    return results.assign(
        rate=results["evacuation.rate"].str.replace("Gbit/s", " Gbit/s"),
        order=results["evacuation.order"].where(planned, BLIND),
        number=results["evacuation.concurrency"],
    )


def _cases(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the results of built-in algorithms by rate and algorithm."""
    runs = _named(results)
    known = {algorithm for _, algorithm in CASES}
    return {
        f"{rate}, {algorithm}": group
        for (rate, algorithm), group in runs.groupby(["rate", "algorithm"], sort=False)
        if algorithm in known
    }


def _table(case: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return a measurement: a row for each seed, a column for each (number, order)."""
    return case.pivot(index="seed", columns=["number", "order"], values=column)


def _planned(case: pd.DataFrame, column: str, number: int | None = None) -> pd.Series:
    """Return what the plan comes to, by seed: of the candidates the one predicted to be fastest.

    Nothing but the plan happens, so a candidate comes to what migsim predicts of it. ``number`` is
    how many migrations there may be at a time; the plan chooses where it is None.
    """
    seconds, wanted = _table(case, "total_seconds"), _table(case, column)
    places: list[Any] = seconds.columns.to_list()
    candidates = [
        place
        for place in places
        if place[1] in {"quiet", "smallest", "largest"} and number in {None, place[0]}
    ]
    best = seconds[candidates].idxmin(axis=1)
    return _taken(wanted, {seed: best[seed] for seed in wanted.index})


def _learnt(case: pd.DataFrame, column: str) -> pd.Series:
    """Return what the order and number come to, by seed, that are fastest on the other seeds.

    They know nothing of the machines but what programs they run. A seed alone has no others, and is
    taken itself.
    """
    seconds, wanted = _table(case, "total_seconds"), _table(case, column)
    candidates = [
        place for place in seconds.columns.to_list() if place[1] in {BLIND, "smallest", "largest"}
    ]

    def best(seed: object) -> object:
        others = seconds if len(seconds) == 1 else seconds.drop(index=seed)
        return others[candidates].mean().idxmin()

    return _taken(wanted, {seed: best(seed) for seed in wanted.index})


def _taken(table: pd.DataFrame, places: dict[Any, Any]) -> pd.Series:
    """Return one cell of each row of a table, by the row's name."""
    import pandas as pd

    return pd.Series({row: table.loc[row, place] for row, place in places.items()})


def _saved(case: pd.DataFrame, column: str, chosen: pd.Series, number: int, order: str) -> Interval:
    """Return what a choice saves against an order, in percent of that one's mean."""
    other = _table(case, column)[(number, order)]
    found, share = paired_difference(other, chosen), 100 / float(other.mean())
    return Interval(found.mean * share, found.low * share, found.high * share)


def tables(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the time to empty the host and the sum of downtimes, means over the seeds."""
    runs = _named(results)
    place = runs["rate"] + ", " + runs["algorithm"] + ", " + runs["number"].astype(str)
    found = {}
    for title, column in (
        ("time to empty the host (s), by migrations at a time", "total_seconds"),
        ("sum of downtimes (s), by migrations at a time", "downtime_seconds"),
        ("mean time until a machine is out (s), by migrations at a time", "mean_seconds_until_out"),
    ):
        means = runs.groupby([place, "order"], sort=False)[column].mean().unstack()
        found[title] = means[list(ORDERS)].rename(columns=ORDERS).reset_index(names="")
    return found


# ---- claims -------------------------------------------------------------------------------------


def claims(results: pd.DataFrame) -> list[Claim]:
    """Return what the results must bear out."""
    cases = _cases(results)
    return [
        _emptied(cases),
        _plan_beats(cases),
        _learnt_beats(cases),
        _same_number(cases),
        _one_at_a_time(cases),
        _downtime(cases),
        _smallest(cases),
    ]


def _emptied(cases: dict[str, pd.DataFrame]) -> Claim:
    lost = sum(
        int(case[[f"attempts_{end}" for end in ("undecided", "twice", "lost")]].to_numpy().sum())
        for case in cases.values()
    )
    whole = all((case["status"] == "completed").all() for case in cases.values())
    return Claim(
        "every evacuation empties the host, and no machine is lost or runs twice",
        bool(whole and not lost and all((case["staying"] == 0).all() for case in cases.values())),
        f"{sum(len(case) for case in cases.values())} evacuations",
    )


def _against_habits(
    cases: dict[str, pd.DataFrame], choose: Callable[[pd.DataFrame, str], pd.Series]
) -> tuple[bool, str]:
    """Return whether a choice takes less time and traffic than both habits, with all intervals."""
    good, told = True, []
    for name, case in cases.items():
        most = int(case["number"].max())
        for order in ("largest", "random"):
            time, bytes_ = (
                _saved(case, column, choose(case, column), most, order)
                for column in ("total_seconds", "bytes_sent")
            )
            good = good and time.low > 0 and bytes_.low > 0
            told.append(f"{name}: {_percent(time)} of {order} first" if order == "largest" else
                        f"{_percent(time)} of random")  # fmt: skip
    return good, ", ".join(told)


def _plan_beats(cases: dict[str, pd.DataFrame]) -> Claim:
    good, told = _against_habits(cases, _planned)
    return Claim(
        "the plan, which chooses order and number, takes less time and traffic than largest first "
        "and than a random order with as many migrations as the host admits",
        good,
        f"saved time {told}",
    )


def _learnt_beats(cases: dict[str, pd.DataFrame]) -> Claim:
    good, told = _against_habits(cases, _learnt)
    return Claim(
        "so do the order and number that were fastest on other machines with the same programs",
        good,
        f"saved time {told}",
    )


def _same_number(cases: dict[str, pd.DataFrame]) -> Claim:
    """Largest first is one of the plan's candidates, so that it is no slower is by construction."""
    good, told = True, []
    for name, case in cases.items():
        for number in sorted(case["number"].unique()):
            chosen = _planned(case, "total_seconds", number)
            largest = _saved(case, "total_seconds", chosen, number, "largest")
            random = _saved(case, "total_seconds", chosen, number, "random")
            slow = case["evacuation.rate"].iloc[0] == "1Gbit/s"
            good = good and (abs(largest.mean) < 1 if slow else largest.low > 0)
            told.append(f"{name}, {number}: {_percent(largest)} and {_percent(random)}")
    return Claim(
        "with the same number at a time the planned order is faster than largest first over "
        "10 Gbit/s; over 1 Gbit/s, by hybrid, it makes less than 1 % of difference",
        good,
        "saved of largest first and of random: " + "; ".join(told),
    )


def _one_at_a_time(cases: dict[str, pd.DataFrame]) -> Claim:
    spread, more = {}, {}
    for name, case in cases.items():
        means = _table(case, "total_seconds").mean()
        spread[name] = 100 * (means[1].max() / means[1].min() - 1)
        more[name] = min(means[n].min() for n in case["number"].unique() if n > 1) / means[1].max()
    return Claim(
        "one at a time no order takes 4 % more time than another: what is won is won by not "
        "sending several at once, which takes longer in every order",
        bool(max(spread.values()) < 4 and min(more.values()) > 1),
        ", ".join(f"{name}: orders within {value:.1f} %, several at once at least "
                  f"{more[name]:.2f} x the time" for name, value in spread.items()),
    )  # fmt: skip


def _downtime(cases: dict[str, pd.DataFrame]) -> Claim:
    ratio = {}
    for name, case in cases.items():
        means = _table(case, "downtime_seconds").mean()
        ratio[name] = float((means[max(case["number"].unique())] / means[1]).min())
    return Claim(
        "sending as many at once as the host admits makes the downtimes longer, in any order",
        min(ratio.values()) > 1.2,
        ", ".join(f"{name}: at least {value:.1f} x the sum" for name, value in ratio.items()),
    )


def _smallest(cases: dict[str, pd.DataFrame]) -> Claim:
    gaps = {}
    for name, case in cases.items():
        means = _table(case, "mean_seconds_until_out").mean().unstack()
        others = means.drop(columns="smallest").min(axis=1)
        gaps[name] = 100 * float((1 - means["smallest"] / others).min())
    return Claim(
        "smallest first has machines out earliest on average, whatever the number at a time",
        min(gaps.values()) > 5,
        ", ".join(f"{name}: by at least {gap:.0f} %" for name, gap in gaps.items()),
    )


def _percent(found: Interval) -> str:
    return f"{found.mean:.1f} % [{found.low:.1f}, {found.high:.1f}]"


def numbers(results: pd.DataFrame) -> dict[str, float]:
    """Return what a text may say: savings in percent with their intervals, and seconds."""
    found: dict[str, float] = {}
    for case in _cases(results).values():
        first, most = case.iloc[0], int(case["number"].max())
        name = f"{first['algorithm']}_{first['evacuation.rate'].partition('Gbit')[0]}g"
        for kind, choose in (("plan", _planned), ("learnt", _learnt)):
            for order in ("largest", "random"):
                saved = _saved(case, "total_seconds", choose(case, "total_seconds"), most, order)
                place = f"{kind}_saves_{order}_{name}_percent"
                found |= {place: saved.mean, f"{place}_low": saved.low, f"{place}_high": saved.high}
        for number in sorted(case["number"].unique()):
            part = case[case["number"] == number].groupby("order")
            for order in ("largest", "random", "smallest", "quiet"):
                found[f"seconds_{order}_{number}_{name}"] = float(
                    part["total_seconds"].mean()[order]
                )
            found[f"downtime_quiet_{number}_{name}"] = float(
                part["downtime_seconds"].mean()["quiet"]
            )
    return found


# ---- the figure ---------------------------------------------------------------------------------


def figure(results: pd.DataFrame) -> Figure:
    """Return time to empty, sum of downtimes, traffic and mean time out, for every order."""
    runs = _named(results)
    short = [look_of(name, list(runs["algorithm"])).label for name in runs["algorithm"]]
    place = {name: k for k, name in enumerate(ORDERS)}
    runs = runs.assign(
        case=runs["rate"] + ", " + short, place=runs["order"].map(place),
        shown=runs["order"].map(ORDERS),
    )  # fmt: skip
    panels = [
        Panel("total_seconds", "time to empty (s)", log=True),
        Panel("downtime_seconds", "sum of downtimes (s)", log=True),
        Panel("bytes_sent", "sent (GB)", scale=1e-9, log=True),
        Panel("mean_seconds_until_out", "mean time until out (s)", log=True),
    ]
    return choice_panels(
        runs.sort_values("place", kind="stable").sort_values("rate", key=_rate, kind="stable"),
        panels,
        choice="shown",
        x="number",
        x_title="migrations at a time",
        across="case",
        title="Emptying a host of 40 machines that do what recorded programs did",
    )


def _rate(texts: pd.Series) -> pd.Series:
    return texts.str.partition(" ")[0].astype(float)
