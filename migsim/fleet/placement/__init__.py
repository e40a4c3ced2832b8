"""Where machines should run: placements that lose guests the least, and the way to them."""

from migsim.fleet.placement.model import Problem
from migsim.fleet.placement.order import Order, Step, sequence
from migsim.fleet.placement.solve import Placement, place, place_evacuees

__all__ = ["Order", "Placement", "Problem", "Step", "place", "place_evacuees", "sequence"]
