"""Which devices are this box's cards."""

from __future__ import annotations

import glob
import os
from typing import Final

from gpumod.core.ports import Clock, Hardware
from gpumod.hardware.host import HostHardware
from gpumod.hardware.procfs import read_text
from gpumod.hardware.settings import CardKind, HardwareSettings

_NVIDIA: Final = "0x10de"
_DISPLAY_CLASS: Final = "0x03"
"""PCI base class 03, display controllers: what a GPU is, unlike its audio and USB functions."""


def has_nvidia_device(root: str = "/") -> bool:
    """Whether an NVIDIA GPU is on the PCI bus, or WSL2 passes one through, whatever its driver does."""
    base = root.rstrip("/")
    if os.path.exists(f"{base}/dev/dxg"):
        return True
    return any(
        (read_text(vendor) or "").strip() == _NVIDIA
        and (read_text(f"{os.path.dirname(vendor)}/class") or "").startswith(_DISPLAY_CLASS)
        for vendor in glob.glob(f"{glob.escape(base)}/sys/bus/pci/devices/*/vendor")
    )


def open_hardware(settings: HardwareSettings, clock: Clock) -> Hardware:
    """The adapter that fits the box. Nothing is opened before its first reading.

    A box with an NVIDIA device never falls back to the host's memory by itself: where the driver does not
    work, there are no cards, and the reading says why.
    """
    if settings.cards is CardKind.HOST:
        return HostHardware(settings, clock, reason="`cards: host` is configured")
    if settings.cards is CardKind.AUTO and not has_nvidia_device(settings.root):
        return HostHardware(settings, clock, reason="there is no NVIDIA device on this box")
    from gpumod.hardware.nvml import NvmlHardware

    return NvmlHardware(settings, clock)
