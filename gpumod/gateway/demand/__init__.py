"""Requests that no service takes now: which model answers them, who waits, and which switch they start.

`brain.py` decides without I/O or a clock; `shell.py` shows it the box and does what it says.
"""

from gpumod.gateway.demand.limits import Exceeded, Meter
from gpumod.gateway.demand.options import options
from gpumod.gateway.demand.rules import Rules, rules_of
from gpumod.gateway.demand.sensing import candidates
from gpumod.gateway.demand.shell import Demand, Settle
from gpumod.gateway.demand.values import Goal, Option, TicketId, Verdict, Why, Wish

__all__ = [
    "Demand",
    "Exceeded",
    "Goal",
    "Meter",
    "Option",
    "Rules",
    "Settle",
    "TicketId",
    "Verdict",
    "Why",
    "Wish",
    "candidates",
    "options",
    "rules_of",
]
