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

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"
"""What ids of modes, services, presets, switches, leases and jobs look like to the API."""

HOST_CARD: Final = CardId("host")
BLANK: Final = ModeId("blank")
"""The built-in mode in which nothing of ours runs."""
