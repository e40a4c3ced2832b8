"""The network under a migration: links, and the transport on top of them."""

from migsim.network.flow import Flow
from migsim.network.link import LEAST_QUEUE, PRESETS, Link
from migsim.network.path import compose
from migsim.network.sharing import Grant, Plans, Share, max_min_shares, round_trip_weight
from migsim.network.transfer import BulkTransfer, bulk_transfer

__all__ = [
    "LEAST_QUEUE",
    "PRESETS",
    "BulkTransfer",
    "Flow",
    "Grant",
    "Link",
    "Plans",
    "Share",
    "bulk_transfer",
    "compose",
    "max_min_shares",
    "round_trip_weight",
]
