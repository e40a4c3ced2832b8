"""How do all algorithms compare, on every recorded and standard guest, over every preset link?

The reference table. Each algorithm has its defaults, but for what `SETTINGS` says. Measurements are
also given over those of the clairvoyant bound on the same guest and link: by what factor an
algorithm is worse than what foresight allows, or better, where it sends less than whole pages.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from migsim.experiment import Claim, Plan, all_complete, with_lost_time
from migsim.markdown import describe, significant, table
from migsim.plotting import look_of, matrix, ordered, use_style
from migsim.registry import find, names
from migsim.sweep import Guests, algorithm_axis, axis, guest_axis
from migsim.units import format_rate, format_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from migsim import Task

MEMORY = "512MiB"
"""The largest recording has 364 MiB, and a larger guest would tell the same at twice the cost."""

# Those that move disks do with these guests, which have none, what pre-copy does.
ALGORITHMS = tuple(name for name in names("algorithm") if not name.startswith("storage_"))
BOUND = "clairvoyant"

LINKS = tuple(name for name in names("link") if name not in {"unlimited", "custom"})
"""Over ``unlimited`` all takes no time, so that there is nothing to compare; ``custom`` has no rate
of its own."""

PATIENCE = "75s"
"""150 s for each GiB: how long KubeVirt lets a migration try before it takes other measures."""

SETTINGS: dict[str, dict[str, Any]] = {
    # By default it sends for an hour where it does not converge, and then gives up.
    "cloud_hypervisor": {"timeout": PATIENCE, "on_timeout": "ignore"},
    # By default it has no end where it does not converge, and a limit of 128 MiB/s, which libvirt
    # lifts: over faster links nothing but that limit would be seen.
    "qemu": {"max_bandwidth": "unlimited", "postcopy_after": PATIENCE},
    # The paper's limit of 500 Mbit/s would be all that is seen; Xen was built without.
    "xen": {"rules": "shipped"},
}

_RATES = ("10 MB/s", "100 MB/s", "1 GB/s")
"""Written by the guest: 0.085, 0.85 and 8.5 times what Gigabit Ethernet carries."""

GUESTS: Guests = {
    "idle shell": ("trace", {"file": "idle"}),
    "Redis": ("trace", {"file": "redis"}),
    "SQLite": ("trace", {"file": "sqlite"}),
    "Java": ("trace", {"file": "java"}),
    "C++ compiler": ("trace", {"file": "cc1"}),
    "NumPy": ("trace", {"file": "numpy"}),
    "idle": ("idle", {}),
    "curve": ("curve", {}),
    "mix": ("mix", {}),
    "phases": ("phases", {}),
    **{
        f"{label} {rate}": (workload, {"rate": rate.replace(" ", "")})
        for workload, label in (("hotcold", "hot-cold"), ("zipf", "Zipf"),
                                ("uniform", "uniform"), ("sequential", "sequential"))
        for rate in _RATES
    },
}  # fmt: skip
QUICK_GUESTS = ("Redis", "sequential 100 MB/s")
QUICK_LINKS = ("gigabit", "10g", "transatlantic")


class Measure(NamedTuple):
    """A column of the results, what it is called, and how it is scaled in tables."""

    column: str
    name: str
    unit: str
    scale: float


MEASURES = (
    Measure("total_seconds", "total time", "s", 1.0),
    Measure("downtime_seconds", "downtime", "ms", 1e3),
    Measure("lost_seconds", "guest time lost", "s", 1.0),
    Measure("bytes_sent", "bytes sent", "MB", 1e-6),
)
_KEY = ["label", "link", "seed"]
_COLUMNS = [
    *_KEY, "algorithm", "workload", "model", "link.rate", "link.rtt", "status", "rounds",
    "encoded_pages", "total_seconds", "downtime_seconds", "guest_seconds", "bytes_sent",
]  # fmt: skip
"""The columns that are used: results have more than a hundred."""


def tasks(plan: Plan) -> list[Task]:
    """Return every algorithm on every guest over every link."""
    guests, links = GUESTS, LINKS
    if plan.quick:
        guests, links = {label: GUESTS[label] for label in QUICK_GUESTS}, QUICK_LINKS
    grid = guest_axis(guests) * axis("link", links) * axis("seed", range(plan.seeds))
    chosen = (*ALGORITHMS, *plan.algorithms)
    return (grid * algorithm_axis((name, SETTINGS.get(name, {})) for name in chosen)).tasks(
        memory=MEMORY
    )


# ---- what the results come to --------------------------------------------------------------------


def _over_bound(results: pd.DataFrame) -> pd.DataFrame:
    """Return the results with each measure over the bound's, as columns ``COLUMN_ratio``."""
    import pandas as pd

    runs = with_lost_time(results[_COLUMNS])
    bound = runs[runs["algorithm"] == BOUND].set_index(_KEY)
    place = pd.MultiIndex.from_frame(runs[_KEY])
    return runs.assign(
        **{
            f"{measure.column}_ratio": runs[measure.column]
            / bound[measure.column].reindex(place).set_axis(runs.index)
            for measure in MEASURES
        }
    )


def _geometric(values: pd.Series) -> float:
    """Return the geometric mean, which is missing where a value is."""
    import numpy as np

    return float(np.exp(np.log(values.to_numpy(float)).mean()))


def _labelled(by_algorithm: pd.DataFrame) -> pd.DataFrame:
    """Return a table by algorithm in the order of figures, with the names of figures."""
    algorithms = list(by_algorithm.index)
    shown = by_algorithm.loc[ordered(algorithms)]
    shown.index = [look_of(name, algorithms).label for name in shown.index]
    return shown.reset_index(names="")


def _ratios(results: pd.DataFrame) -> pd.DataFrame:
    """Return the geometric means over all guests and links, algorithms by measures."""
    columns = {f"{measure.column}_ratio": measure.name for measure in MEASURES}
    means = _over_bound(results).groupby("algorithm")[list(columns)].agg(_geometric)
    return means.rename(columns=columns)


def _kept(results: pd.DataFrame) -> pd.DataFrame:
    """Return in how many of 100 migrations an algorithm completes, and keeps a downtime."""
    downtime = results["downtime_seconds"]
    shares = results[_COLUMNS].assign(
        completed=100.0 * (results["status"] == "completed"),
        **{f"≤ {limit:g} s": 100.0 * (downtime <= limit) for limit in (0.1, 0.3, 0.5, 1.0)},
    )
    return shares.groupby("algorithm")[list(shares.columns[-5:])].mean()


def _ranks(results: pd.DataFrame) -> pd.DataFrame:
    """Return the mean rank among those without foresight, algorithms by measures.

    Equal values (to a millionth) share their mean rank; what did not complete comes last.
    """
    runs = with_lost_time(results.loc[results["algorithm"] != BOUND, _COLUMNS])
    columns = [measure.column for measure in MEASURES]
    rounded = runs[columns].map(lambda value: float(f"{value:.6g}")).fillna(math.inf)
    ranks = rounded.groupby([runs[key] for key in _KEY]).rank()
    means = ranks.groupby(runs["algorithm"]).mean()
    return means.rename(columns={measure.column: measure.name for measure in MEASURES})


def tables(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the means over the bound, the shares of downtimes kept, and the mean ranks."""
    return {
        "times the clairvoyant bound (geometric mean of all guests and links)": _labelled(
            _ratios(results)
        ),
        "% of all guests and links that complete, and with a downtime of": _labelled(
            _kept(results)
        ),
        "mean rank among those without foresight (1 is best)": _labelled(_ranks(results)),
    }


def numbers(results: pd.DataFrame) -> dict[str, float]:
    """Return what texts say: by algorithm the means over the bound, and downtimes kept."""
    found: dict[str, float] = {
        "migrations": len(results),
        "algorithms": results["algorithm"].nunique(),
        "guests": results["label"].nunique(),
        "links": results["link"].nunique(),
    }
    for name, row in _ratios(results).iterrows():
        for measure in MEASURES:
            found[f"{name}_{measure.name.replace(' ', '_')}_ratio"] = float(row[measure.name])
    for name, share in _kept(results)["≤ 1 s"].items():
        found[f"{name}_below_a_second_percent"] = float(share)
    for name, most in results.groupby("algorithm")["downtime_seconds"].max().items():
        found[f"{name}_most_downtime_seconds"] = float(most)
    return found


# ---- claims --------------------------------------------------------------------------------------


def claims(results: pd.DataFrame) -> list[Claim]:
    """Return what the results must bear out."""
    ours = results[results["algorithm"].isin(ALGORITHMS)]
    runs = _over_bound(ours)
    by = {str(name): part.set_index(_KEY) for name, part in runs.groupby("algorithm")}
    return [
        all_complete(ours),
        _bound(runs),
        _precopy(by["precopy"]),
        _fast_links(by["precopy"]),
        _postcopy_downtime(by["postcopy"]),
        _a_second(runs),
        _lost(by),
        _delta(by),
        _compression(by),
    ]


def _span(values: pd.Series, digits: int = 3) -> str:
    return f"{values.min():.{digits}g} to {values.max():.{digits}g}"


def _bound(runs: pd.DataFrame) -> Claim:
    whole = runs[runs["encoded_pages"] == 0]
    one = whole[whole["algorithm"] != "multifd"]
    least = {
        "bytes": whole["bytes_sent_ratio"].min(),
        "total time": one["total_seconds_ratio"].min(),
        "downtime": one["downtime_seconds_ratio"].min(),
    }
    return Claim(
        "where pages go as they are, nothing sends fewer bytes than the clairvoyant bound, nor has "
        "over one connection less total time or downtime",
        bool(min(least.values()) >= 1 - 1e-9),
        ", ".join(f"least {name} {value:.4f} x the bound" for name, value in least.items()),
    )


def _precopy(precopy: pd.DataFrame) -> Claim:
    converged = precopy["rounds"] < 30
    downtime = precopy["downtime_seconds"]
    kept, broken = downtime[converged], downtime[~converged]
    return Claim(
        "pre-copy keeps its limit of 300 ms, within a quarter, where it ends before its 30 rounds "
        "are over, and breaks it where it does not",
        bool((kept <= 1.25 * 0.3).all() and (broken > 0.3).all() and len(broken)),
        f"{len(kept)} migrations converge, with {kept.max():.3f} s at most, {len(broken)} do not, "
        f"with {broken.min():.3f} s at least",
    )


def _fast_links(precopy: pd.DataFrame) -> Claim:
    fast = precopy["link.rate"] >= 10e9 / 8
    kept = precopy["rounds"] < 30
    return Claim(
        "from 10 Gbit/s on pre-copy converges for every guest, be it written at 1 GB/s; over "
        "1 Gbit/s it does not for some",
        bool(kept[fast].all() and not kept[~fast].all()),
        f"{kept[fast].sum()} of {fast.sum()} from 10 Gbit/s on, "
        f"{kept[~fast].sum()} of {(~fast).sum()} over 1 Gbit/s",
    )


def _postcopy_downtime(postcopy: pd.DataFrame) -> Claim:
    by_link = postcopy.groupby("link", sort=False)
    downtime, ratio = by_link["downtime_seconds"], postcopy["downtime_seconds_ratio"]
    far = postcopy["link.rtt"] >= 0.05
    near = postcopy["link.rtt"] <= 0.001
    spread = downtime.max() - downtime.min()
    return Claim(
        "post-copy's downtime is the same for every guest; within a site it is within 5 % of the "
        "bound's, and from 70 ms of round trip on five times that or more, since its connection "
        "is not yet up to speed",
        bool((spread < 1e-6).all() and (ratio[near] <= 1.05).all() and (ratio[far] >= 5).all()),
        ", ".join(f"{link} {1e3 * most:.3g} ms" for link, most in downtime.max().items())
        + f"; {_span(ratio[far])} times the bound from 70 ms on",
    )


def _a_second(runs: pd.DataFrame) -> Claim:
    most = runs.groupby("algorithm")["downtime_seconds"].max()
    able = [name for name in ("hybrid", "postcopy", "qemu") if name in most]
    others = [name for name in most.index if name not in {*able, BOUND}]
    return Claim(
        "what can end in post-copy (post-copy, hybrid, QEMU after its patience) keeps every "
        "downtime below a second, over whatever link",
        bool((most[able] < 1).all()),
        ", ".join(f"{name} {most[name]:.2f} s at most" for name in able)
        + f"; {sum(most[name] < 1 for name in others)} of the {len(others)} others do",
    )


def _lost(by: dict[str, pd.DataFrame]) -> Claim:
    converged = by["precopy"]["rounds"] < 30
    ratio = (by["postcopy"]["lost_seconds"] / by["precopy"]["lost_seconds"])[converged]
    return Claim(
        "where pre-copy converges, post-copy mostly costs the guest more time: its faults outweigh "
        "the shorter pause",
        bool((ratio > 1).mean() > 0.5),
        f"in {(ratio > 1).sum()} of {len(ratio)} cases; {ratio.median():.2g} times in the median, "
        f"{_span(ratio)}",
    )


def _delta(by: dict[str, pd.DataFrame]) -> Claim:
    ratio = by["delta"]["bytes_sent"] / by["precopy"]["bytes_sent"]
    endless = by["delta"]["rounds"] >= 30
    labels = sorted(set(endless[endless].index.get_level_values("label")))
    return Claim(
        "deltas never send more than pre-copy does, and converge for every guest but NumPy, which "
        "writes its pages anew",
        bool((ratio <= 1 + 1e-9).all() and set(labels) <= {"NumPy"}),
        f"{_span(ratio)} times the bytes; {endless.sum()} of {len(endless)} do not converge",
    )


def _compression(by: dict[str, pd.DataFrame]) -> Claim:
    precopy = by["precopy"]
    slow = precopy["link.rate"] < 10e9 / 8
    ratio = {
        name: by[name]["total_seconds"] / precopy["total_seconds"]
        for name in ("compressed", "dedup", "adaptive_compression")
    }
    longer = [ratio[name][~slow] for name in ("compressed", "dedup")]
    return Claim(
        "over 1 Gbit/s compression and deduplication shorten every migration, at whatever "
        "distance; from 10 Gbit/s on one thread of zstd or of hashing lengthens every one",
        bool(all((each[slow] < 1).all() for each in ratio.values())
             and all((each > 1).all() for each in longer)),
        ", ".join(f"{name} {_span(each[slow])} times as long, {_span(each[~slow])} from 10 Gbit/s"
                  for name, each in ratio.items()),
    )  # fmt: skip


# ---- figures -------------------------------------------------------------------------------------


def figure(results: pd.DataFrame) -> Figure:
    """Return total time and downtime over the bound: algorithms by guests, means over the links."""
    runs = _over_bound(results)
    guests = list(dict.fromkeys(runs["label"]))
    shown = [_over_algorithms(runs, measure, "label", guests) for measure in MEASURES[:2]]
    drawn, grid = _grid(len(shown), 1, (7.0, 1.25 + 2 * (0.35 + 0.125 * len(shown[0]))))
    for axes, values, measure in zip(grid.flat, shown, MEASURES, strict=False):
        _heat(axes, values, measure)
    _name_columns(grid[-1][0], guests)
    return drawn


def figures(results: pd.DataFrame) -> dict[str, Figure]:
    """Return all measures over the bound: algorithms by links, means over the guests."""
    runs = _over_bound(results)
    links = list(dict.fromkeys(runs["link"]))
    shown = [_over_algorithms(runs, measure, "link", links) for measure in MEASURES]
    drawn, grid = _grid(2, 2, (7.0, 1.0 + 2 * (0.35 + 0.125 * len(shown[0]))))
    for axes, values, measure in zip(grid.flat, shown, MEASURES, strict=True):
        _heat(axes, values, measure)
    for axes in grid[-1]:
        _name_columns(axes, links)
    return {"links": drawn}


def _over_algorithms(
    runs: pd.DataFrame, measure: Measure, column: str, order: list[str]
) -> pd.DataFrame:
    """Return the geometric means of a measure over the bound: algorithms by a column's values."""
    means = runs.groupby(["algorithm", column])[f"{measure.column}_ratio"].agg(_geometric)
    algorithms = ordered(runs["algorithm"].unique())
    values = means.unstack().loc[algorithms, order]
    values.index = [look_of(name, algorithms).label for name in algorithms]
    return values


def _grid(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    use_style()
    drawn = Figure(figsize=size, layout="constrained")
    return drawn, drawn.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)


def _heat(axes: Axes, values: pd.DataFrame, measure: Measure) -> None:
    """Draw a table of ratios: the darker the worse, from the bound on to a hundred times that."""
    import matplotlib as mpl
    from matplotlib.colors import LogNorm

    norm, colours = LogNorm(1.0, 100.0, clip=True), mpl.colormaps["Greys"]
    axes.pcolormesh(values.to_numpy(float), cmap=colours, norm=norm, edgecolors="white", lw=0.5)
    for i, row in enumerate(values.to_numpy(float)):
        for k, value in enumerate(row):
            if math.isfinite(value):
                digits = 1 if value < 9.95 else 0
                axes.text(
                    k + 0.5, i + 0.5, f"{value:.{digits}f}", ha="center", va="center", fontsize=6.5,
                    color="black" if norm(value) < 0.55 else "white",
                )  # fmt: skip
    axes.set_title(f"{measure.name}, times that of the bound", fontsize=8)
    axes.set_yticks([place + 0.5 for place in range(len(values))], values.index, fontsize=7)
    axes.set_ylim(len(values), 0)
    axes.grid(visible=False)
    axes.tick_params(length=0)


def _name_columns(axes: Axes, labels: list[str]) -> None:
    axes.set_xticks([place + 0.5 for place in range(len(labels))], labels, fontsize=7, rotation=45,
                    ha="right", rotation_mode="anchor")  # fmt: skip


# ---- the page ------------------------------------------------------------------------------------


def page(results: pd.DataFrame) -> str:
    """Return the reference page: each algorithm, its figures, and all results in tables."""
    runs = _over_bound(results)
    parts = [
        _preface(runs),
        *(f"### {title.capitalize()}\n\n{table(each)}" for title, each in tables(results).items()),
        "## The algorithms\n",
        *(_entry(name, runs) for name in ordered(runs["algorithm"].unique())),
        "## All results\n",
        *(
            f"### {measure.name.capitalize()} ({measure.unit}) over `{link}`\n\n"
            + table(matrix(part, measure.column, measure.scale))
            for measure in MEASURES
            for link, part in runs.groupby("link", sort=False)
        ),
    ]
    return "\n".join(parts)


def _preface(runs: pd.DataFrame) -> str:
    models = ", ".join(str(each) for each in runs["model"].unique())
    counts = {key: runs[key].nunique() for key in ("algorithm", "label", "link", "seed")}
    seeds = "1 seed" if counts["seed"] == 1 else f"{counts['seed']} seeds"
    links = runs.drop_duplicates("link")
    guests = runs.drop_duplicates("label")
    return f"""# All algorithms, all guests, all links

{len(runs)} migrations by migsim's model {models}: {counts["algorithm"]} algorithms,
{counts["label"]} guests of {MEMORY.replace("MiB", " MiB")}, {counts["link"]} links, {seeds}.
`migsim run algorithms_overview --seeds {counts["seed"]}` made this page and the CSV beside it, and
makes the same anywhere. Where several seeds were run, figures are means over them.

Each algorithm has its defaults, but for what its section says. The *bound* is `{BOUND}`, which
knows all future writes: of what sends whole pages over one connection, nothing has less total
time, downtime or bytes. Figures *over the bound* are geometric means of quotients on the same guest
and link; below 1 are those that send less than whole pages, or over several connections. *Guest
time lost* is what pause, faults and throttling take; of that the bound has little, not the least.

![Total time and downtime over the bound](algorithms_overview.png)
![All measures over the bound, by link](algorithms_overview-links.png)

Links. Left out are `unlimited`, over which all takes no time, and `custom`, which has no rate of
its own.

{
        table(
            _rows(
                ("link", "what it is", "rate", "round trip"),
                [
                    (
                        row["link"],
                        find("link", row["link"]).summary,
                        format_rate(row["link.rate"]),
                        format_seconds(row["link.rtt"]),
                    )
                    for _, row in links.iterrows()
                ],
            )
        )
    }
Guests. Those above the idle one replay recorded programs, those with a rate write a quarter of the
memory at 0.085, 0.85 and 8.5 times what Gigabit Ethernet carries; `migsim list workloads` shows
all defaults.

{
        table(
            _rows(
                ("guest", "workload", "parameters"),
                [
                    (row["label"], f"`{row['workload']}`", _given(GUESTS[row["label"]][1]))
                    for _, row in guests.iterrows()
                ],
            )
        )
    }"""


def _rows(columns: tuple[str, ...], cells: list[tuple[str, ...]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(cells, columns=list(columns))


def _given(arguments: Mapping[str, object]) -> str:
    return ", ".join(f"`{name}={value}`" for name, value in arguments.items())


def _entry(name: str, runs: pd.DataFrame) -> str:
    """Return the section of one algorithm."""
    own = runs[runs["algorithm"] == name]
    columns = {f"{measure.column}_ratio": measure.name for measure in MEASURES}
    means = own.groupby("link", sort=False)[list(columns)].agg(_geometric).rename(columns=columns)
    set_here = _given(SETTINGS.get(name, {}))
    worst = [
        f"{measure.name} {significant(row[f'{measure.column}_ratio'])} times "
        f"({row['label']}, `{row['link']}`: "
        f"{significant(row[measure.column] * measure.scale)} {measure.unit})"
        for measure in MEASURES
        for _, row in own.nlargest(1, f"{measure.column}_ratio").iterrows()
    ]
    return "\n".join(
        [
            f"### {look_of(name, list(runs['algorithm'].unique())).label} (`{name}`)\n",
            describe(find("algorithm", name)),
            f"Here: {set_here}.\n" if set_here else "",
            table(means.reset_index(names="over the bound")),
            f"Worst over the bound: {'; '.join(worst)}.\n" if name != BOUND else "",
        ]
    )
