"""Several links in a row as one path."""

from __future__ import annotations

import dataclasses
import math

from migsim.errors import InputError
from migsim.network.link import Link

__all__ = ["compose"]


def compose(*links: Link) -> Link:
    """Return the path over ``links`` one behind the other, with the transport of the first.

    The narrowest link is the bottleneck, and its queue, trace and other traffic are the path's;
    delays and outages add up, and a packet gets through if it does on every link. That is exact
    where one link alone is full. Raises `InputError` where more than one loses packets in bursts,
    and where another link than the narrowest has a trace or TCP connections of others.
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
    outages = [part for link in links if link.outages for part in link.outages.split(",")]
    return dataclasses.replace(
        first,
        rate=narrowest.rate,
        rtt=math.fsum(link.rtt for link in links),
        jitter=math.fsum(link.jitter for link in links),
        loss=1.0 - math.prod(1.0 - link.loss for link in links),
        burst_loss=bursts[0] if bursts else None,
        queue="local" if narrowest.queue_is_local else f"{math.ceil(narrowest.queue_bytes)}B",
        trace=narrowest.trace,
        background=narrowest.background,
        background_flows=narrowest.background_flows,
        outages=",".join(outages) or None,
        mtu=min(link.mtu for link in links),
    )
