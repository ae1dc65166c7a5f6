"""What the supervisor holds in memory about the box as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpumod.core.cards import CardsReading, DriverState, HostMemory
from gpumod.core.facts import Facts
from gpumod.core.names import BLANK, CardId, ModeId
from gpumod.core.service import Desired
from gpumod.core.spec import BLANK_MODE, Catalog, Mode


def _nothing_seen() -> Facts:
    host = HostMemory(total=0, available=0)
    return Facts(now=0.0, reading=CardsReading(0.0, DriverState.ABSENT, (), host, reason="not read yet"))


@dataclass(slots=True)
class BoxMemory:
    """Answers for status reads: nothing here waits for a disk, a driver or an engine."""

    desired: Desired = field(default_factory=lambda: Desired(mode=BLANK))
    catalog: Catalog = field(default_factory=Catalog)
    facts: Facts = field(default_factory=_nothing_seen)
    notes: list[str] = field(default_factory=list)
    card_errors: dict[CardId, str] = field(default_factory=dict)
    """The last error that the driver reported of each card, with its time."""
    trouble: str = ""
    """Why the box's state is not known (an unkillable process, a store that fails); empty when it is."""

    @property
    def mode_id(self) -> ModeId:
        """The mode that is committed."""
        return ModeId(self.desired.mode)

    @property
    def mode(self) -> Mode | None:
        """The committed mode as the files have it now; None when its file is gone."""
        return BLANK_MODE if self.desired.mode == BLANK else self.catalog.mode(self.mode_id)
