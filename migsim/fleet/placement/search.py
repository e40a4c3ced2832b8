"""Local search for placements: put items where they cost least, move one, or swap two.

A placement that breaks a constraint is a state as any other, at a price above all that a good one
can cost; so the same moves first mend and then improve, and the search can start anywhere.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from migsim.fleet.placement.model import Bools, Floats, Ints, Items

__all__ = ["State"]

_ENOUGH = 1e-9  # of the cost: less is no improvement but rounding, and could go round in circles


class State:
    """Which item is on which host (-1: on none yet), with the loads and costs that follow.

    Attributes:
        place: host of each item.
        cpu, memory: of each host, in cores and bytes.
    """

    def __init__(self, items: Items, place: Ints) -> None:
        self.items = items
        self.place = place.astype(np.int64)
        number, hosts = items.allowed.shape
        self._hosts = np.arange(hosts)
        of = [group.items for group in items.groups]
        rows = np.concatenate([*of, np.zeros(0, np.int64)])
        columns = np.repeat(np.arange(len(of)), [len(group) for group in of])
        shape = (number, len(of))
        self._member = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
        start = np.where(items.home < 0, 0, items.home)
        cpu = np.bincount(start, items.cpu, hosts).astype(float)
        memory = np.bincount(start, items.memory, hosts).astype(float)
        before = items.load_cost(cpu, memory)
        self._wrong = 10.0 * (1.0 + float(before.sum()) + float(items.cost.max(axis=1).sum()))
        self._scale = (float(items.cpu.mean()) or 1.0, float(items.memory.mean()) or 1.0)
        self.cpu, self.memory = np.zeros(hosts), np.zeros(hosts)
        self._at = np.zeros((len(of), hosts))  # members of each group on each host
        self._add = np.zeros((number, hosts))  # what each item would cost on each other host
        self._refresh(self._hosts)

    @property
    def cost(self) -> float:
        """Core-seconds lost under this placement, constraints left aside."""
        loads = self.items.load_cost(self.cpu, self.memory)
        return float(loads.sum() + self.items.cost[np.arange(len(self.place)), self.place].sum())

    @property
    def moves(self) -> int:
        """Machines that are not where they were."""
        placed = np.flatnonzero(self.place >= 0)
        return int(self.items.moves[placed, self.place[placed]].sum())

    def broken(self) -> Bools:
        """Return which hosts are part of a broken constraint, apart from the number of moves."""
        items = self.items
        broken = (self.memory > items.room) | (self.cpu > items.most_cpu)
        broken |= np.any(self._at > 1, axis=0)
        wrong = ~items.allowed[np.arange(len(self.place)), self.place]
        broken[self.place[wrong]] = True
        return broken

    @property
    def holds(self) -> bool:
        """Whether all constraints are kept."""
        if np.any(self.place < 0) or self.moves > self.items.most_moves:
            return False
        return not self.broken().any()

    def insert(self, order: Ints) -> None:
        """Put items that are on no host yet where they cost least, in this order."""
        for item in order:
            spare = self.items.most_moves - self.moves
            price = self._add[item] + np.where(self.items.moves[item] > spare, self._wrong, 0.0)
            self._put(int(item), int(np.argmin(price)))

    def improve(self, steps: int) -> None:
        """Move one item or swap two as long as that is good, in at most so many steps."""
        for _ in range(steps):
            if not self._move_one() and not self._swap_pairs():
                return

    def _priced(self, cpu: Floats, memory: Floats, hosts: Ints) -> Floats:
        """Return what loads cost, too much included."""
        items = self.items
        over = np.maximum(memory - items.room[hosts], 0.0) / self._scale[1]
        over += (
            np.where(cpu > items.most_cpu[hosts], cpu - items.most_cpu[hosts], 0.0)
            / (self._scale[0])
        )
        # A breach has a price of its own, so that a tiny one does not count for nothing.
        return items.load_cost(cpu, memory, hosts) + self._wrong * (over + (over > 0.0))

    def _refresh(self, hosts: Ints) -> None:
        """Work out anew all that depends on what is on these hosts."""
        items = self.items
        for host in hosts:
            here = np.flatnonzero(self.place == host)
            self.cpu[host] = items.cpu[here].sum()
            self.memory[host] = items.memory[here].sum()
            self._at[:, host] = self._member[here].sum(axis=0)
        cpu, memory = self.cpu[hosts], self.memory[hosts]
        more = self._priced(cpu + items.cpu[:, None], memory + items.memory[:, None], hosts)
        clash = self._member @ self._at[:, hosts] + ~items.allowed[:, hosts]
        now = self._priced(cpu, memory, hosts)
        self._add[:, hosts] = more - now + items.cost[:, hosts] + self._wrong * clash

    def _saved(self, chosen: Ints) -> Floats:
        """Return what would be saved if each of these items were not there."""
        items, hosts = self.items, self.place[chosen]
        cpu, memory = self.cpu[hosts], self.memory[hosts]
        less = self._priced(cpu - items.cpu[chosen], memory - items.memory[chosen], hosts)
        groups = self._member[chosen]
        clash = np.asarray(groups.multiply(self._at[:, hosts].T - 1.0).sum(axis=1)).ravel()
        clash += ~items.allowed[chosen, hosts]
        now = self._priced(cpu, memory, hosts)
        return now - less + items.cost[chosen, hosts] + self._wrong * clash

    def _put(self, item: int, host: int) -> None:
        before = self.place[item]
        self.place[item] = host
        self._refresh(np.array([host] if before < 0 else [before, host]))

    def _move_one(self) -> bool:
        items, all_items = self.items, np.arange(len(self.place))
        change = self._add - self._saved(all_items)[:, None]
        change[all_items, self.place] = 0.0
        change += self._wrong * self._more_moves(
            items.moves - items.moves[all_items, self.place][:, None]
        )
        best = int(np.argmin(change))
        item, host = divmod(best, len(self._hosts))
        if change[item, host] > -_ENOUGH * self.cost - 1e-12:
            return False
        self._put(item, host)
        return True

    def _more_moves(self, extra: Ints) -> Ints:
        """Return how many of these extra moves, or of those taken back, are beyond the limit."""
        now = self.moves - self.items.most_moves
        return np.maximum(now + extra, 0) - max(now, 0)

    def _swap_pairs(self) -> bool:
        """Make the best swap of each host's items with those of others, if it is good."""
        costs = self._priced(self.cpu, self.memory, self._hosts) + self._wrong * self.broken()
        swapped = False
        for host in np.argsort(-costs, kind="stable"):
            here = np.flatnonzero(self.place == host)
            there = np.flatnonzero(self.place != host)
            if not len(here) or not len(there):
                continue
            change = self._swaps(here, there, int(host))
            first, second = divmod(int(np.argmin(change)), len(there))
            if change[first, second] < -_ENOUGH * self.cost - 1e-12:
                one, other = int(here[first]), int(there[second])
                target = self.place[other]
                self.place[one], self.place[other] = target, host
                self._refresh(np.array([host, target]))
                swapped = True
        return swapped

    def _swaps(self, here: Ints, there: Ints, host: int) -> Floats:
        """Return by how much the cost changes if each of these swaps with each of those."""
        items = self.items
        hosts = self.place[there]
        own = np.full(len(here), host)
        grow = items.cpu[there] - items.cpu[here][:, None]
        fill = items.memory[there] - items.memory[here][:, None]
        at = np.array([host])
        cpu, memory = self.cpu, self.memory
        change = self._priced(cpu[at] + grow, memory[at] + fill, at)
        change += self._priced(cpu[hosts] - grow, memory[hosts] - fill, hosts)
        change -= self._priced(cpu[at], memory[at], at) + self._priced(
            cpu[hosts], memory[hosts], hosts
        )
        cost, moves, off = items.cost, items.moves, ~items.allowed
        pairs = np.ix_(here, hosts)
        change += cost[pairs] - cost[here, own][:, None]
        change += (cost[there, host] - cost[there, hosts])[None, :]
        shared = (self._member[here] @ self._member[there].T).toarray()
        at_there = (self._member[here] @ self._at)[:, hosts]
        at_here = self._member[there] @ self._at[:, host]
        own_clash = np.asarray(
            self._member[here].multiply(self._at[:, own].T - 1.0).sum(axis=1)
        ).ravel()
        its_clash = np.asarray(
            self._member[there].multiply(self._at[:, hosts].T - 1.0).sum(axis=1)
        ).ravel()
        clash = at_there + at_here[None, :] - 2.0 * shared
        clash -= own_clash[:, None] + its_clash[None, :]
        clash += off[pairs].astype(float) - off[here, own].astype(float)[:, None]
        clash += (off[there, host].astype(float) - off[there, hosts].astype(float))[None, :]
        extra = moves[pairs] - moves[here, own][:, None]
        extra = extra + (moves[there, host] - moves[there, hosts])[None, :]
        return np.asarray(change + self._wrong * (clash + self._more_moves(extra)), float)
