"""What the supervisor holds in memory about the box as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpumod.core.cards import CardsReading, DriverState, HostMemory
from gpumod.core.facts import Facts
from gpumod.core.names import BLANK, CardId, ModeId
from gpumod.core.service import Desired
from gpumod.core.spec import BLANK_MODE, Catalog, Mode

if TYPE_CHECKING:
    from collections.abc import Callable


def _nothing_seen() -> Facts:
    host = HostMemory(total=0, available=0)
    return Facts(now=0.0, reading=CardsReading(0.0, DriverState.ABSENT, (), host, reason="not read yet"))


def _nobody() -> None:
    """Nobody wants to know."""


class BoxMemory:
    """Answers for status reads: nothing here waits for a disk, a driver or an engine.

    Attributes:
        card_errors: the last error that the driver reported of each card, with its time.
        trouble: why the box's state is not known (an unkillable process, a failing store); empty when it is.
        on_change: called after the desired state or the catalog was replaced.
    """

    def __init__(self) -> None:
        self._desired = Desired(mode=BLANK)
        self._catalog = Catalog()
        self.facts = _nothing_seen()
        self.notes: list[str] = []
        self.card_errors: dict[CardId, str] = {}
        self.trouble = ""
        self.on_change: Callable[[], None] = _nobody

    @property
    def desired(self) -> Desired:
        """What the box should be."""
        return self._desired

    @desired.setter
    def desired(self, desired: Desired) -> None:
        self._desired = desired
        self.on_change()

    @property
    def catalog(self) -> Catalog:
        """The presets and modes in use."""
        return self._catalog

    @catalog.setter
    def catalog(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.on_change()

    @property
    def mode_id(self) -> ModeId:
        """The mode that is committed."""
        return ModeId(self.desired.mode)

    @property
    def mode(self) -> Mode | None:
        """The committed mode as the files have it now; None when its file is gone."""
        return BLANK_MODE if self.desired.mode == BLANK else self.catalog.mode(self.mode_id)
