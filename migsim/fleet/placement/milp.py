"""Placements as mixed-integer linear programs, solved by HiGHS.

A program has two kinds of binary columns. A *direct* one puts an item on a host. A *pooled* one
moves an item somewhere into a pool of hosts, which divide what comes in among themselves as if it
were liquid. With direct columns alone the program is exact. With a column for staying at home and
one for each pool that an item may move to it is a relaxation, and so its bound holds for the exact
problem; it has thousands of columns where that has hundreds of thousands, and is nearly as tight:
what leaves a host is still whole machines, and what comes in can mostly be divided evenly enough.

The search is limited by nodes and gaps, never by seconds, so that one version of SciPy gives the
same answer on a slow machine as on a fast one.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from migsim.fleet.placement.model import Bools, Floats, Ints, Items

__all__ = [
    "Answer",
    "Columns",
    "Program",
    "build",
    "pools_of",
    "relaxed_columns",
    "solve",
]


@dataclass(frozen=True, eq=False)
class Columns:
    """Which columns a program has; items without a column are not part of it.

    Attributes:
        item, host: of direct columns.
        moved, pool: item and pool of pooled columns.
        pools: hosts of each pool.
        cpu, memory: what is on each host already.
        hosts: whose loads have a price in this program.
    """

    item: Ints
    host: Ints
    moved: Ints
    pool: Ints
    pools: Sequence[Ints]
    cpu: Floats
    memory: Floats
    hosts: Ints


@dataclass(frozen=True, eq=False)
class Program:
    """Minimise `price @ x`, where `least <= matrix @ x <= most` and `0 <= x <= high`.

    Attributes:
        price, matrix, least, most, high: as above.
        binary: whether each column is.
        block: to which host each column belongs, if only rows tie hosts together.
        direct: how many of the columns are direct; pooled ones follow.
    """

    price: Floats
    matrix: sparse.csr_matrix
    least: Floats
    most: Floats
    high: Floats
    binary: Bools
    block: Ints
    direct: int


@dataclass(frozen=True, eq=False)
class Answer:
    """What HiGHS found.

    Attributes:
        impossible: whether it has proven that there is no solution.
        bound: no solution costs less.
        x: the best solution; None where it found none.
    """

    impossible: bool
    bound: float
    x: Floats | None


@dataclass
class _Rows:
    """Rows of a sparse matrix with their limits, collected piece by piece."""

    rows: list[Ints] = field(default_factory=list)
    columns: list[Ints] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)
    low: list[Floats] = field(default_factory=list)
    high: list[Floats] = field(default_factory=list)
    count: int = 0

    def add(self, number: int, low: Floats | float, high: Floats | float) -> int:
        """Append rows with these limits and return the index of the first."""
        first = self.count
        self.low.append(np.broadcast_to(np.asarray(low, float), number))
        self.high.append(np.broadcast_to(np.asarray(high, float), number))
        self.count += number
        return first

    def put(self, rows: Ints, columns: Ints, values: Floats | float) -> None:
        """Set entries."""
        rows, columns = np.broadcast_arrays(rows, columns)
        self.rows.append(rows)
        self.columns.append(columns)
        self.values.append(np.broadcast_to(np.asarray(values, float), rows.shape))

    def matrix(self, width: int) -> sparse.csr_matrix:
        """Return the entries."""
        where = (np.concatenate(self.rows), np.concatenate(self.columns))
        return sparse.csr_matrix((np.concatenate(self.values), where), shape=(self.count, width))


def pools_of(items: Items) -> list[Ints]:
    """Return hosts in pools: those of one pool are allowed to the same items at the same cost."""
    kinds: dict[bytes, list[int]] = {}
    for host in range(len(items.room)):
        away = items.home != host
        # At home the cost is nothing, whatever the pool: that item's column tells nothing.
        kind = items.allowed[:, host].tobytes()
        same = next(
            (
                hosts
                for key, hosts in kinds.items()
                if key.startswith(kind)
                and np.all(
                    (items.cost[:, hosts[0]] == items.cost[:, host])
                    | ~away
                    | (items.home == hosts[0])
                )
            ),
            None,
        )
        if same is None:
            kinds[kind + b"%d" % host] = [host]
        else:
            same.append(host)
    return [np.array(hosts, np.int64) for hosts in kinds.values()]


def relaxed_columns(items: Items) -> Columns:
    """Return the columns of the relaxation: stay at home, or move into a pool."""
    number, hosts = items.allowed.shape
    settled = np.flatnonzero(items.home >= 0)
    settled = settled[items.allowed[settled, items.home[settled]]]
    pools = pools_of(items)
    open_to = np.zeros((number, len(pools)), bool)
    for index, pool in enumerate(pools):
        is_home = items.home[:, None] == pool
        open_to[:, index] = np.any(items.allowed[:, pool] & ~is_home, axis=1)
    moved, pool_of = np.nonzero(open_to)
    return Columns(
        item=settled,
        host=items.home[settled],
        moved=moved,
        pool=pool_of,
        pools=pools,
        cpu=np.zeros(hosts),
        memory=np.zeros(hosts),
        hosts=np.arange(hosts),
    )


def _pooled_prices(items: Items, columns: Columns) -> tuple[Floats, Floats]:
    """Return the least cost, and the fewest moves, of each pooled column."""
    cost, moves = np.empty(len(columns.moved)), np.empty(len(columns.moved))
    for index, hosts in enumerate(columns.pools):
        chosen = columns.pool == index
        rows = np.ix_(columns.moved[chosen], hosts)
        barred = ~items.allowed[rows] | (items.home[columns.moved[chosen], None] == hosts)
        cost[chosen] = np.where(barred, np.inf, items.cost[rows]).min(axis=1)
        moves[chosen] = np.where(barred, len(items.members) ** 2, items.moves[rows]).min(axis=1)
    return cost, moves


def build(items: Items, columns: Columns, *, moved: int = 0) -> Program:
    """Return the program with these columns, when so many machines have moved outside of it."""
    direct, pooled, hosts = len(columns.item), len(columns.moved), len(columns.hosts)
    at = np.cumsum([0, direct, pooled, hosts, hosts, hosts, hosts, hosts * len(items.terms)])
    unit = 2.0 ** math.floor(math.log2(max(1.0, float(items.memory.max(initial=1.0)))))
    rows = _Rows()
    _put_items(rows, items, columns, at)
    _put_loads(rows, items, columns, at, unit)
    _put_groups(rows, items, columns, at)
    cost, moves = _pooled_prices(items, columns)
    if items.most_moves < sum(map(len, items.members)):
        row = np.array([rows.add(1, -np.inf, items.most_moves - moved)])
        rows.put(row, np.arange(direct), items.moves[columns.item, columns.host].astype(float))
        rows.put(row, direct + np.arange(pooled), moves)
    excesses = _put_terms(rows, items, columns, at, unit)
    coming = 1.0 if pooled else 0.0
    high = [
        np.ones(direct + pooled),
        np.full(hosts, coming * items.cpu.sum()),
        np.full(hosts, coming * items.memory.sum() / unit),
        items.most_cpu[columns.hosts],
        items.room[columns.hosts] / unit,
        np.full(excesses, np.inf),
    ]
    homes = np.concatenate([items.home[columns.item], items.home[columns.moved]])
    homeless = len(items.room) + np.concatenate([columns.item, columns.moved])
    of_host = np.tile(columns.hosts, 4 + len(items.terms))
    return Program(
        price=np.concatenate(
            [items.cost[columns.item, columns.host], cost, np.zeros(4 * hosts), np.ones(excesses)]
        ),
        matrix=rows.matrix(int(at[-1])),
        least=np.concatenate(rows.low),
        most=np.concatenate(rows.high),
        high=np.concatenate(high),
        binary=np.arange(at[-1]) < at[2],
        block=np.concatenate([np.where(homes < 0, homeless, homes), of_host]),
        direct=direct,
    )


def solve(program: Program, *, gap: float, nodes: int) -> Answer:
    """Solve a program up to a relative gap, or as far as so many nodes of the search tree lead."""
    with _silence():
        found = milp(
            program.price,
            integrality=program.binary.astype(int),
            bounds=Bounds(np.zeros(len(program.high)), program.high),
            constraints=LinearConstraint(program.matrix, program.least, program.most),
            options={"mip_rel_gap": gap, "node_limit": nodes},
        )
    bound = -math.inf if found.mip_dual_bound is None else float(found.mip_dual_bound)
    return Answer(found.status == 2, bound, found.x)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep from standard output what HiGHS prints whatever its options say.

    The HiGHS of SciPy 1.17 leaves a line about `transformNewIntegerFeasibleSolution` there, by C's
    own buffer, which must be emptied while it still leads nowhere.
    """
    flush = ctypes.CDLL(None).fflush
    try:
        kept = os.dup(1)
    except OSError:  # closed: nothing is printed anyway
        yield
        return
    flush(None)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    try:
        yield
    finally:
        flush(None)
        os.dup2(kept, 1)
        os.close(kept)


def _put_items(rows: _Rows, items: Items, columns: Columns, at: Ints) -> None:
    """Every item is somewhere."""
    used = np.unique(np.concatenate([columns.item, columns.moved]))
    first = rows.add(len(used), 1.0, 1.0)
    rows.put(first + np.searchsorted(used, columns.item), np.arange(at[1]), 1.0)
    rows.put(first + np.searchsorted(used, columns.moved), np.arange(at[1], at[2]), 1.0)


def _put_loads(rows: _Rows, items: Items, columns: Columns, at: Ints, unit: float) -> None:
    """What is on a host is what was there, what is put there and what comes into it by its pool."""
    hosts = np.arange(len(columns.hosts))
    position = np.full(len(items.room), -1)
    position[columns.hosts] = hosts
    present = (columns.cpu[columns.hosts], columns.memory[columns.hosts] / unit)
    for kind, size in enumerate((items.cpu, items.memory / unit)):
        inflow, load = int(at[2 + kind]), int(at[4 + kind])
        first = rows.add(len(hosts), -present[kind], -present[kind])
        rows.put(first + position[columns.host], np.arange(at[1]), size[columns.item])
        rows.put(first + hosts, inflow + hosts, 1.0)
        rows.put(first + hosts, load + hosts, -1.0)
        first = rows.add(len(columns.pools), 0.0, 0.0)
        rows.put(first + columns.pool, np.arange(at[1], at[2]), size[columns.moved])
        for index, pool in enumerate(columns.pools):
            rows.put(np.array([first + index]), inflow + position[pool], -1.0)


def _put_groups(rows: _Rows, items: Items, columns: Columns, at: Ints) -> None:
    """What is kept apart shares no host, and a pool takes no more of it than it has hosts."""
    pool_of = np.full(len(items.room), -1)
    for index, pool in enumerate(columns.pools):
        pool_of[pool] = index
    for group in items.groups:
        is_in = np.zeros(len(items.members), bool)
        is_in[group.items] = True
        chosen = np.flatnonzero(is_in[columns.item])
        hosts, row = np.unique(columns.host[chosen], return_inverse=True)
        first = rows.add(len(hosts), -np.inf, 1.0)
        rows.put(first + row, chosen, 1.0)
        if not columns.pools:
            continue
        sizes = np.array([len(pool) for pool in columns.pools], float)
        first = rows.add(len(sizes), -np.inf, sizes)
        rows.put(first + pool_of[columns.host[chosen]], chosen, 1.0)
        coming = np.flatnonzero(is_in[columns.moved])
        rows.put(first + columns.pool[coming], at[1] + coming, 1.0)


def _put_terms(rows: _Rows, items: Items, columns: Columns, at: Ints, unit: float) -> int:
    """The excess of a term, in core-seconds, is at least what the load makes it; count them."""
    hosts = np.arange(len(columns.hosts))
    for index, term in enumerate(items.terms):
        factor, threshold = term.factor[columns.hosts], term.threshold[columns.hosts]
        excess = int(at[6]) + index * len(hosts)
        first = rows.add(len(hosts), -np.inf, threshold)
        scale = unit if term.is_memory else 1.0
        rows.put(first + hosts, int(at[5 if term.is_memory else 4]) + hosts, factor * scale)
        rows.put(first + hosts, excess + hosts, -1.0 / term.price)
    return len(hosts) * len(items.terms)
