"""The clients of a guest while it migrates: how long they wait, how many connections are lost."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from migsim.errors import InputError
from migsim.network.announcing import REACHES, Reach
from migsim.network.client import Client
from migsim.parameters import Context, Parameter, Scalar, convert_all, read_parameters

__all__ = ["Clients", "Whereabouts", "build_clients", "client_parameters"]

Whereabouts = Literal["source", "destination", "nowhere"]
"""Where a guest goes on after its pause."""

_MOST_CONNECTIONS = 10_000
_USUAL_CLIENT = Client(rtt=200e-6)
_USUAL_NETWORK = Reach()


@dataclass(frozen=True, kw_only=True)
class Clients:
    """A guest's clients, all alike.

    Attributes:
        reach: what the network between them and the guest is called: ``segment``, ``distributed``
            or ``sites``.
        connections: open connections, one a client, each at another moment of its requests.
        client: each client and its TCP.
        network: the network itself.
    """

    reach: str = "segment"
    connections: int = 1
    client: Client = _USUAL_CLIENT
    network: Reach = _USUAL_NETWORK

    def __post_init__(self) -> None:
        if not 1 <= self.connections <= _MOST_CONNECTIONS:
            raise InputError(
                f"clients: connections is {self.connections}, expected 1 to {_MOST_CONNECTIONS:,}"
            )

    def seen(self, downtime: float, where: Whereabouts, seed: int) -> tuple[float, int]:
        """Return the longest wait of those whom a pause hit, and how many connections it cost.

        A wait is what a client's program sees: from sending a request to its answer; of bulk data,
        from what came last before the pause to what comes next. Where TCP gives up it ends with
        that. Stalls of a running guest (post-copy's faults) are no part of it.

        Without a pause nobody waits. A guest that goes on at the ``source`` is where the network
        looks for it. With one that runs ``nowhere`` all connections end when TCP gives up; the
        client of a download, which has nothing to send again, is taken to be as patient.
        """
        if where == "nowhere":
            return self.client.given_up, self.connections
        if where == "source" and downtime <= 0.0:
            return 0.0, 0
        waits = self._waits(downtime, where == "destination", seed)
        met = [wait for wait in waits if not math.isinf(wait)]
        if len(met) == len(waits):
            return max(met), 0
        # A download's sender is the guest, whose timers start when it goes on.
        stood = downtime if self.client.traffic == "download" else 0.0
        return max([stood + self.client.given_up, *met]), len(waits) - len(met)

    def _waits(self, downtime: float, moved: bool, seed: int) -> list[float]:
        """Return how long each client waits, infinite for a lost connection."""
        client, network = self.client, self.network
        found = unheard = 0.0
        if moved:
            own = client.attempts() if client.traffic == "download" else ()
            found = network.found(downtime, seed, own)
            unheard = network.unheard(found)
        away = downtime + unheard
        waits = []
        for at in self._phases(away):
            wait = client.gap(away, at, unheard=unheard)
            if moved:  # which path the answer takes depends on when it does
                farther = network.farther(at + wait - downtime - found, client.rtt)
                wait = client.gap(away, at, unheard=unheard, farther=farther)
            waits.append(wait)
        return waits

    def _phases(self, away: float) -> list[float]:
        """Return when each client first sends a request, seconds after the pause.

        They are evenly spread over a period, or over the absence if requests come at any time; the
        first comes as the guest has just gone.
        """
        if self.client.traffic != "requests":
            return [0.0] * self.connections
        spread = away if math.isinf(self.client.period) else self.client.period
        return [spread * number / self.connections for number in range(self.connections)]

    def as_dict(self) -> dict[str, Scalar]:
        """Return all parameters in one flat table, as `build_clients` takes them."""
        flat: dict[str, Scalar] = {"reach": self.reach, "connections": self.connections}
        for part in (self.client, self.network):
            flat |= {item.name: getattr(part, item.name) for item in dataclasses.fields(part)}
        return flat


def client_parameters(reach: str = "segment") -> tuple[Parameter, ...]:
    """Return the parameters of `build_clients`, with the defaults of a reach. Raises `InputError`.

    >>> {each.name: each.default for each in client_parameters("sites")}["path_delay"]
    0.5
    """
    choice = Parameter("reach", str, "segment", choices=tuple(REACHES))
    convert_all("clients", (choice,), {"reach": reach}, Context())
    count = Parameter("connections", int, Clients.connections, "count")
    network = Reach(**REACHES[reach][1])
    return choice, count, *_as_in(Client, _USUAL_CLIENT), *_as_in(Reach, network)


def _as_in(described: Callable[..., Any], usual: Client | Reach) -> list[Parameter]:
    """Return the parameters of a class with the values of ``usual``, one of it, as defaults."""
    return [
        dataclasses.replace(each, default=getattr(usual, each.name))
        for each in read_parameters(described, skip=0)
    ]


def build_clients(given: Mapping[str, Any]) -> Clients:
    """Return the clients with the given parameters, as text or as numbers. Raises `InputError`."""
    if not given:
        return Clients()
    parameters = client_parameters(given.get("reach", "segment"))
    values: dict[str, Any] = convert_all("clients", parameters, given, Context())
    own = {item.name for item in dataclasses.fields(Client)}
    return Clients(
        reach=values.pop("reach"),
        connections=values.pop("connections"),
        client=Client(**{name: value for name, value in values.items() if name in own}),
        network=Reach(**{name: value for name, value in values.items() if name not in own}),
    )
