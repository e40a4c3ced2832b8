"""Reads a fleet from its TOML file, and tells every mistake in it with its line.

The parts of a file are described at the dataclasses that they become: ``[networks.NAME]``,
``[trunks.NAME]``, ``[hosts.NAME]``, ``[vms.NAME]``, ``[[rules]]``, ``[[failures]]``,
``[migration]`` (`migsim.fleet.model.Migrating`), and the jobs ``[[evacuate]]``, ``[[balance]]`` and
``[[move]]``. Hosts and machines may have a ``count``: ``[vms.web]`` with a count of 3 stands for
``web-1`` to ``web-3``, whose seeds follow one another. A list of machines or hosts holds names,
names with a count, which stand for all of theirs, and patterns such as ``"web-*"``. Machines with a
count whose ``host`` stands for several are placed on them in turn. Files that parameters name are
looked for from the working directory, as on the command line.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migsim.errors import InputError, did_you_mean
from migsim.fleet.guests import Guests, check_algorithm, check_connection
from migsim.fleet.lines import Place, key_lines
from migsim.fleet.mistakes import Mistakes
from migsim.fleet.model import (
    Balance,
    Evacuate,
    Failure,
    Fleet,
    Host,
    Job,
    Migrating,
    Move,
    Network,
    Rule,
    Trunk,
    Vm,
)
from migsim.fleet.names import Names
from migsim.fleet.possible import check_possible
from migsim.fleet.tables import check_keys, read_key, read_table, table_at
from migsim.units import Count

__all__ = ["read_scenario"]

_JOBS: dict[str, Callable[..., Job]] = {"evacuate": Evacuate, "balance": Balance, "move": Move}
_AT_LINE = re.compile(r"\(at line ([0-9]+), column [0-9]+\)")
_LATEST = 1e9
"""Seconds, 31 years: there a double still tells a tenth of a microsecond."""
_SECTIONS = {"networks", "trunks", "hosts", "vms"}
_LISTS = {"rules", "failures", *_JOBS}


def read_scenario(path: Path) -> Fleet:
    """Return the fleet of a TOML file.

    Raises `InputError` with a sentence for each mistake, ``FILE:LINE: PLACE: ...``. What concerns
    the fleet as a whole (rooms, rules, ways to go) is looked at once all tables are right.
    """
    table, lines = _parse(path)
    mistakes = Mistakes(str(path), lines)
    reader = _Reader(table, mistakes)
    fleet = reader.read(path.stem)
    mistakes.tell()
    check_possible(fleet, reader.hosts.places, reader.vms.places, reader.jobs, mistakes)
    mistakes.tell()
    return fleet


def _parse(path: Path) -> tuple[dict[str, Any], dict[Place, int]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    try:
        return tomllib.loads(text), key_lines(text)
    except tomllib.TOMLDecodeError as error:
        found = _AT_LINE.search(str(error))
        line = found[1] if found else text.count("\n") + 1  # "at end of document"
        raise InputError(f"{path}:{line}: is no TOML: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: is no scenario: tables lie too deep in one another") from None


@dataclass
class _Reader:
    """One reading of a file.

    Attributes:
        jobs: where each job stands, in the order of the fleet's.
    """

    table: dict[str, Any]
    mistakes: Mistakes
    jobs: list[Place] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.networks, self.trunks, self.hosts, self.vms = (
            Names(kind, self.mistakes) for kind in ("network", "trunk", "host", "machine")
        )

    def read(self, name: str) -> Fleet:
        """Return the fleet; what a mistake was noted for is missing in it."""
        check_keys(
            self.table, {"name", "seed", "migration", *_SECTIONS, *_LISTS}, (), self.mistakes
        )
        for section in ("networks", "hosts", "vms"):
            if not self.table.get(section):
                self.mistakes.note((), f"has no table [{section}.NAME], expected one or more")
        return Fleet(
            name=read_key(str, "name", self.table, (), self.mistakes, name),
            seed=read_key(Count, "seed", self.table, (), self.mistakes, 0),
            networks=self._networks(),
            trunks=self._trunks(),
            hosts=self._hosts(),
            migrating=(migrating := self._migrating()) or Migrating(),
            vms=self._vms(migrating),
            rules=self._rules(),
            failures=self._failures(),
            jobs=self._all_jobs(),
        )

    def _section(self, key: str) -> Iterator[tuple[str, dict[str, Any], Place]]:
        for name, value in table_at(self.table.get(key, {}), (key,), self.mistakes).items():
            yield name, table_at(value, (key, name), self.mistakes), (key, name)

    def _elements(self, key: str) -> Iterator[tuple[dict[str, Any], Place]]:
        found = self.table.get(key, [])
        if not isinstance(found, list):
            self.mistakes.note((key,), f"expected an array of tables, each opened by [[{key}]]")
            return
        for number, value in enumerate(found):
            yield table_at(value, (key, number), self.mistakes), (key, number)

    def _refer(self, names: Names, table: dict[str, Any], key: str, place: Place) -> Any:
        """Return what a key refers to: one name, or a tuple of them for an array of texts."""
        value = table.get(key)
        if isinstance(value, str):
            return names.one(value, (*place, key))
        if isinstance(value, list) and all(isinstance(text, str) for text in value):
            return names.all_of(tuple(value), (*place, key))
        return None  # nothing, or what `read_table` takes for a mistake

    def _networks(self) -> dict[str, Network]:
        found = {}
        for name, table, place in self._section("networks"):
            self.networks.add(name, None, place)
            network = read_table(Network, table, place, self.mistakes, name=name)
            if network is not None:
                found[name] = network
        return found

    def _trunks(self) -> dict[str, Trunk]:
        found = {}
        for name, table, place in self._section("trunks"):
            self.trunks.add(name, None, place)
            ends = [self._refer(self.networks, table, key, place) for key in ("first", "second")]
            if ends[0] is not None and ends[0] == ends[1]:
                self.mistakes.note(
                    (*place, "second"), f"got '{ends[1]}', expected another network than the first"
                )
            trunk = read_table(Trunk, table, place, self.mistakes, name=name)
            if trunk is not None:
                found[name] = trunk
        return found

    def _counted(self, table: dict[str, Any], place: Place) -> tuple[dict[str, Any], int | None]:
        """Return a table without its count, and the count; 1 where that is a mistake."""
        rest = {key: value for key, value in table.items() if key != "count"}
        before = len(self.mistakes)
        count = read_key(Count, "count", table, place, self.mistakes, None)
        return rest, count if len(self.mistakes) == before else 1

    def _hosts(self) -> dict[str, Host]:
        found: dict[str, Host] = {}
        for name, given, place in self._section("hosts"):
            table, count = self._counted(given, place)
            members = self.hosts.add(name, count, place)
            for both in {name, *members} & set(self.trunks.places):
                self.mistakes.note(
                    place, f"'{both}' is a trunk's name too, expected another: failures name both"
                )
            self._refer(self.networks, table, "network", place)
            host = read_table(Host, table, place, self.mistakes, name=name)
            if host is not None:
                found |= {one: dataclasses.replace(host, name=one) for one in members}
        return found

    def _migrating(self) -> Migrating | None:
        """Return how machines migrate, None where that is a mistake."""
        before = len(self.mistakes)
        place: Place = ("migration",)
        table = table_at(self.table.get("migration", {}), place, self.mistakes)
        migrating = read_table(Migrating, table, place, self.mistakes)
        if migrating is not None:
            given = migrating.algorithm_args
            check_algorithm(migrating.algorithm, given, place, self.mistakes)
            check_connection(migrating, place, self.mistakes)
        return migrating if len(self.mistakes) == before else None

    def _vms(self, migrating: Migrating | None) -> dict[str, Vm]:
        found: dict[str, Vm] = {}
        guests = Guests(migrating.algorithm if migrating else None, self.mistakes)
        for name, given, place in self._section("vms"):
            table, count = self._counted(given, place)
            members = self.vms.add(name, count, place)
            hosts = self._places_of(table, count, place)
            vm = read_table(Vm, table, place, self.mistakes, name=name)
            if vm is None:
                continue
            guests.check(vm, place)
            for number, one in enumerate(members if hosts else ()):
                found[one] = dataclasses.replace(
                    vm, name=one, host=hosts[number % len(hosts)], seed=vm.seed + number
                )
        return found

    def _places_of(self, table: dict[str, Any], count: int | None, place: Place) -> tuple[str, ...]:
        """Return the hosts on which the machines of a table start, in turn."""
        host = table.get("host")
        if not isinstance(host, str):
            return ()
        if count is not None:
            return self.hosts.several(host, (*place, "host"))
        one = self.hosts.one(host, (*place, "host"))
        return () if one is None else (one,)

    def _rules(self) -> tuple[Rule, ...]:
        found = []
        for table, place in self._elements("rules"):
            vms = self._refer(self.vms, table, "vms", place)
            hosts = self._refer(self.hosts, table, "hosts", place)
            rule = read_table(Rule, table, place, self.mistakes)
            if rule is not None:
                name = rule.name or f"rules[{place[-1]}]"
                found.append(dataclasses.replace(rule, vms=vms, hosts=hosts or (), name=name))
        return tuple(found)

    def _failures(self) -> tuple[Failure, ...]:
        found = []
        for table, place in self._elements("failures"):
            failure = read_table(Failure, table, place, self.mistakes)
            if failure is None:
                continue
            if "left" in table and failure.kind != "slow":
                self.mistakes.note(
                    (*place, "left"), f"is for what is slow, expected none for '{failure.kind}'"
                )
            self._check_time(failure, place)
            target = self._target(failure, (*place, "target"))
            found.append(dataclasses.replace(failure, target=target))
        return tuple(found)

    def _check_time(self, what: Failure | Job, place: Place) -> None:
        """Note a time so late that ticks are lost in its rounding."""
        if what.at > _LATEST:
            self.mistakes.note((*place, "at"), f"got {what.at:g} s, expected at most {_LATEST:g} s")

    def _target(self, failure: Failure, place: Place) -> str:
        """Return what breaks: a host, or a trunk, which can only be down."""
        name, trunks = failure.target, self.trunks.places
        if failure.kind == "down" and name not in self.hosts:
            if name not in trunks:
                known = did_you_mean(name, [*trunks, *self.hosts.places])
                self.mistakes.note(place, f"there is no trunk or host '{name}', {known}")
            return name
        if name in trunks:
            self.mistakes.note(place, f"'{name}' is a trunk, expected a host for '{failure.kind}'")
            return name
        return self.hosts.one(name, place) or ""

    def _all_jobs(self) -> tuple[Job, ...]:
        found: list[tuple[Place, Job]] = []
        for key, kind in _JOBS.items():
            for table, place in self._elements(key):
                refers = {"vm": self.vms, **dict.fromkeys(("host", "hosts", "to"), self.hosts)}
                meant = {
                    name: self._refer(names, table, name, place) for name, names in refers.items()
                }
                job = read_table(kind, table, place, self.mistakes)
                if job is not None:
                    self._check_time(job, place)
                    known = {name: value for name, value in meant.items() if value is not None}
                    found.append((place, dataclasses.replace(job, **known)))
        found.sort(key=lambda entry: self.mistakes.line_of(entry[0]))
        self.jobs += [place for place, _ in found]
        return tuple(job for _, job in found)
