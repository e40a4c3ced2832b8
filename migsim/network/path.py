"""Several links in a row as one path."""

from __future__ import annotations

import dataclasses
import math

from migsim.errors import InputError
from migsim.network.link import LEAST_QUEUE, Link
from migsim.network.schedule import join_outages, parse_outages

__all__ = ["compose"]


def compose(*links: Link) -> Link:
    """Return the path over ``links`` one behind the other, with the transport of the first.

    The narrowest link is the bottleneck: its queue, trace and other traffic are the path's. Delays
    add up, the path is down while any link is, a packet gets through if it does on every link, and
    every tunnel costs its headers all the way. That is exact where one link alone is full. Raises
    `InputError` where more than one loses packets in bursts, and where another link than the
    narrowest has a trace or TCP connections of others.
    """
    if not links:
        raise InputError("a path needs at least one link")
    first, narrowest = links[0], min(links, key=lambda link: link.rate - link.background)
    bursts = [link.burst_loss for link in links if link.burst_loss is not None]
    if len(bursts) > 1:
        raise InputError("a path: more than one link loses packets in bursts, expected at most one")
    for link in links:
        if link is not narrowest and (link.trace or link.background_flows):
            raise InputError(
                "a path: a link that is not the narrowest has a trace or background_flows, "
                "expected them at the bottleneck only"
            )
    tunnels = [part.strip() for link in links for part in (link.encapsulation or "").split(",")]
    # Only the first link's interface can make the sender wait.
    is_local = narrowest is first and first.queue_is_local
    return dataclasses.replace(
        first,
        rate=narrowest.rate,
        rtt=math.fsum(link.rtt for link in links),
        jitter=math.fsum(link.jitter for link in links),
        loss=1.0 - math.prod(1.0 - link.loss for link in links),
        burst_loss=bursts[0] if bursts else None,
        queue="local" if is_local else f"{math.ceil(_router_queue(narrowest))}B",
        trace=narrowest.trace,
        background=narrowest.background,
        background_flows=narrowest.background_flows,
        outages=join_outages(span for link in links for span in parse_outages(link.outages)),
        mtu=min(link.mtu for link in links),
        encapsulation=",".join(dict.fromkeys(filter(None, tunnels))) or None,
    )


def _router_queue(link: Link) -> float:
    """Return the queue of a link whose packets come from another link: never its own interface."""
    if link.queue_is_local:
        return LEAST_QUEUE
    return link.queue_bytes
