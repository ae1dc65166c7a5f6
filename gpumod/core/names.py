"""Names of things, as types of their own so that they cannot be mixed up."""

from __future__ import annotations

from typing import Final, NewType

CardId = NewType("CardId", str)
"""An NVIDIA GPU's UUID (``GPU-...``), or ``host``."""

ServiceId = NewType("ServiceId", str)
PresetId = NewType("PresetId", str)
ModeId = NewType("ModeId", str)
SwitchId = NewType("SwitchId", str)
LeaseId = NewType("LeaseId", str)

HOST_CARD: Final = CardId("host")
BLANK: Final = ModeId("blank")
"""The built-in mode in which nothing of ours runs."""
