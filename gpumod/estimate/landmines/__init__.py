"""Landmines: settings that are known to fail or to answer wrongly, found before a launch.

Each is data: a `Trap` with its reason, its fix and its source, in one file per engine. `docs/landmines.md` is
written from them.
"""

from gpumod.estimate.landmines.find import TRAPS, find_landmines
from gpumod.estimate.landmines.trap import Found, HostFacts, Launch, Trap, trap

__all__ = ["TRAPS", "Found", "HostFacts", "Launch", "Trap", "find_landmines", "trap"]
