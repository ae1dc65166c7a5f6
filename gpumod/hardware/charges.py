"""What processes are charged for on the host: their anonymous memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from gpumod.core.units import KIB
from gpumod.hardware.memory import parse_fields
from gpumod.hardware.procfs import read_stat, read_text

_SHARE_OF_TIME: Final = 200
"""PSS is measured again after so many times what measuring it took: it walks the process's page tables,
about 10 ms per GiB of small pages, and holds a lock that the process needs to map memory."""


@dataclass(slots=True)
class _Charge:
    """The last measurement: `pss` and `resident` at the same moment, and the charge told last."""

    start_ticks: int
    pss: int
    resident: int
    good_until: float
    told: int


class Charges:
    """Anonymous memory of processes, as PSS: `Pss_Anon` of /proc/PID/smaps_rollup (Linux 5.4 and later).

    PSS counts a page that n processes share as 1/n in each, so that the sum over a tree is what its end
    gives back. Between two measurements the charge follows `RssAnon` of /proc/PID/status, which costs
    nothing: charge = PSS then + RssAnon now - RssAnon then. Where Pss_Anon cannot be had, it is RssAnon
    itself: the same, but for pages shared after a fork, which then count in full.

    A process that is being torn down has no address space any more, but its memory is not free yet; it
    keeps its last charge until it has gone.
    """

    def __init__(self, root: str = "", monotonic: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._monotonic = monotonic
        self._known: dict[int, _Charge] = {}

    def measure(self, pids: Collection[int], *, exact: bool = False) -> dict[int, int]:
        """Bytes of each of these processes that lives; with `exact`, PSS is measured now."""
        found: dict[int, int] = {}
        for pid in pids:
            stat = read_stat(self._root, pid)
            if stat is not None and stat.alive:
                found[pid] = self._charge(pid, stat.start_ticks, exact=exact)
        self._known = {pid: charge for pid, charge in self._known.items() if pid in found}
        return found

    def _charge(self, pid: int, start_ticks: int, *, exact: bool) -> int:
        known = self._known.get(pid)
        if known is not None and known.start_ticks != start_ticks:
            known = None
        resident = _field(self._root, pid, "status", "RssAnon")
        if resident is None:
            return known.told if known is not None else 0
        before = self._monotonic()
        if known is None or exact or before >= known.good_until:
            pss = _field(self._root, pid, "smaps_rollup", "Pss_Anon")
            after = self._monotonic()
            good_until = after + _SHARE_OF_TIME * (after - before)
            known = _Charge(start_ticks, resident if pss is None else pss, resident, good_until, 0)
            self._known[pid] = known
        known.told = max(0, known.pss + resident - known.resident)
        return known.told


def _field(root: str, pid: int, file: str, name: str) -> int | None:
    """A number of bytes out of a process's file; None where it is not there or may not be read."""
    size = parse_fields((read_text(f"{root}/proc/{pid}/{file}") or "").replace(":", " ")).get(name)
    return None if size is None else size * KIB
