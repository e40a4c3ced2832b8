"""The network under a migration: links, and the transport on top of them."""

from migsim.network.flow import Curve, Flow
from migsim.network.link import PRESETS, Link

__all__ = ["PRESETS", "Curve", "Flow", "Link"]
