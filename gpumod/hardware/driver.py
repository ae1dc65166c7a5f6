"""NVIDIA's driver, asked through nvidia-ml-py. Everything here is called from one thread only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pynvml

from gpumod.core.cards import DriverState
from gpumod.core.names import CardId

_PROCESS_LISTS: Final = (
    ("nvmlDeviceGetComputeRunningProcesses", False),
    ("nvmlDeviceGetGraphicsRunningProcesses", True),
)
_LIST_VERSIONS: Final = ("_v3", "_v2")
_LIST_TRIES: Final = 3

_CORES_PER_MULTIPROCESSOR: Final = {5: 128, 6: 128, 7: 64, 8: 128, 9: 128, 10: 128, 12: 128}
_EXCEPTIONS: Final = {(6, 0): 64, (8, 0): 64}
"""CUDA cores per multiprocessor by compute capability (CUDA C++ programming guide, arithmetic throughput)."""

_NO_LIBRARY: Final = (
    "libnvidia-ml.so.1 is not installed: install the user-space libraries of the NVIDIA driver"
    " (in a container: give it the `utility` driver capability)"
)
_NOT_LOADED: Final = (
    "the NVIDIA kernel module is not loaded: run `modprobe nvidia`, and look into `dmesg` if that fails"
)
_MISMATCH: Final = (
    "the NVIDIA libraries and the loaded kernel module have different versions, as after an upgrade:"
    " reboot, or reload the kernel module and restart gpumodd"
)
_NO_PERMISSION: Final = (
    "this user may not open the NVIDIA device files: check the permissions of /dev/nvidia* and the"
    " groups of the user that gpumodd runs as"
)
_NOT_SUPPORTED: Final = (
    "the NVIDIA driver does not support NVML on this system: set `cards: host` to use the host's memory"
)
_FAILED: Final = "NVML does not work: `nvidia-smi` may tell more"

_ADVICE: Final = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: (DriverState.NO_LIBRARY, _NO_LIBRARY),
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: (DriverState.NOT_LOADED, _NOT_LOADED),
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (DriverState.VERSION_MISMATCH, _MISMATCH),
    pynvml.NVML_ERROR_NO_PERMISSION: (DriverState.NO_PERMISSION, _NO_PERMISSION),
    pynvml.NVML_ERROR_NOT_SUPPORTED: (DriverState.FAILED, _NOT_SUPPORTED),
}


class DriverProblemError(Exception):
    """The driver's library cannot be used. `state` is its kind, the message says what to do."""

    def __init__(self, state: DriverState, sentence: str) -> None:
        super().__init__(sentence)
        self.state = state


def driver_problem(error: pynvml.NVMLError) -> DriverProblemError:
    """What an error of the library as a whole means."""
    state, sentence = _ADVICE.get(error.value, (DriverState.FAILED, _FAILED))
    return DriverProblemError(state, f"{sentence} (NVML says: {error})")


@dataclass(frozen=True, slots=True)
class KnownCard:
    """A card of an opened library. `index` is its place in PCI order, as CUDA's PCI_BUS_ID order has it."""

    id: CardId
    index: int
    name: str
    compute_capability: tuple[int, int] | None
    multiprocessors: int | None
    handle: Any


@dataclass(frozen=True, slots=True)
class UnreadableCard:
    """A card that does not even tell its UUID."""

    index: int
    error: pynvml.NVMLError


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. `has_reserve` is False for memory info version 1, which counts the driver's reserve as used."""

    total: int
    free: int
    used: int
    reserved: int
    has_reserve: bool


@dataclass(frozen=True, slots=True)
class ListedProcess:
    """A process on a card; `used` is None where the driver does not tell."""

    pid: int
    used: int | None
    graphics: bool


@dataclass(frozen=True, slots=True)
class Extras:
    """What only a full look reads; None where the card does not support it."""

    mig: bool = False
    utilization: int | None = None
    temperature: int | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None


class Driver:
    """The opened library and its cards."""

    def __init__(self) -> None:
        """Open the library and list the cards.

        Raises:
            DriverProblemError: it cannot be used.
        """
        self._no_memory_v2 = False
        self._list_version: dict[str, str] = {}
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise driver_problem(error) from error
        try:
            self.version = str(pynvml.nvmlSystemGetDriverVersion())
            self.cards, self.unreadable = _enumerate()
        except pynvml.NVMLError as error:
            self.close()
            raise driver_problem(error) from error

    def close(self) -> None:
        """Close the library; whatever it answers, it is not used again."""
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()

    def memory(self, card: KnownCard) -> Memory:
        """Memory info version 2, or version 1 where the driver has no other."""
        if not self._no_memory_v2:
            try:
                info = pynvml.nvmlDeviceGetMemoryInfo(card.handle, version=pynvml.nvmlMemory_v2)
            except (pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_ArgumentVersionMismatch):
                self._no_memory_v2 = True
            else:
                return Memory(info.total, info.free, info.used, info.reserved, has_reserve=True)
        info = pynvml.nvmlDeviceGetMemoryInfo(card.handle)
        return Memory(info.total, info.free, info.used, 0, has_reserve=False)

    def processes(self, card: KnownCard, total: int) -> tuple[ListedProcess, ...] | None:
        """Processes of both lists, each pid once; None where the driver does not list any.

        A process in both lists has the same bytes in each: they are not added. A number that cannot be
        (more than the card has, or NVML's "not available") is no number.
        """
        found: dict[int, ListedProcess] = {}
        supported = False
        for name, graphics in _PROCESS_LISTS:
            listed = self._list(name, card)
            supported = supported or listed is not None
            for process in listed or ():
                used = process.usedGpuMemory
                if used is not None and used > total:
                    used = None
                known = found.get(process.pid)
                if known is not None:
                    used = max((one for one in (used, known.used) if one is not None), default=None)
                found[process.pid] = ListedProcess(process.pid, used, graphics)
        return tuple(found[pid] for pid in sorted(found)) if supported else None

    def extras(self, card: KnownCard) -> Extras:
        """MIG mode, utilisation, temperature and power."""
        mig = _optional(pynvml.nvmlDeviceGetMigMode, card.handle)
        rates = _optional(pynvml.nvmlDeviceGetUtilizationRates, card.handle)
        power = _optional(pynvml.nvmlDeviceGetPowerUsage, card.handle)
        limit = _optional(pynvml.nvmlDeviceGetEnforcedPowerLimit, card.handle)
        return Extras(
            mig=bool(mig and mig[0] == pynvml.NVML_DEVICE_MIG_ENABLE),
            utilization=None if rates is None else int(rates.gpu),
            temperature=_optional(pynvml.nvmlDeviceGetTemperature, card.handle, pynvml.NVML_TEMPERATURE_GPU),
            power_watts=None if power is None else power / 1000,
            power_limit_watts=None if limit is None else limit / 1000,
        )

    def _list(self, name: str, card: KnownCard) -> list[Any] | None:
        """One list in the newest version that the driver has; None where it has none."""
        versions = (self._list_version[name],) if name in self._list_version else _LIST_VERSIONS
        for version in versions:
            with contextlib.suppress(pynvml.NVMLError_FunctionNotFound):
                processes = _list_with_room(getattr(pynvml, name + version), card.handle)
                self._list_version[name] = version
                return processes
        return None


def _list_with_room(call: Callable[[Any], list[Any]], handle: Any) -> list[Any] | None:
    """The binding asks for the count first; again, where more came meanwhile than it left room for."""
    for _ in range(_LIST_TRIES):
        with contextlib.suppress(pynvml.NVMLError_InsufficientSize):
            try:
                return call(handle)
            except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_NoPermission):
                return None
    return None


def _optional(call: Callable[..., Any], *args: Any) -> Any:
    """A call's answer, None where it fails for any reason but that the card is lost."""
    try:
        return call(*args)
    except pynvml.NVMLError_GpuIsLost:
        raise
    except pynvml.NVMLError:
        return None


def _enumerate() -> tuple[tuple[KnownCard, ...], tuple[UnreadableCard, ...]]:
    readable: list[tuple[tuple[int, int, int], int, Any]] = []
    unreadable: list[UnreadableCard] = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            pci = pynvml.nvmlDeviceGetPciInfo(handle)
            readable.append(((pci.domain, pci.bus, pci.device), index, handle))
        except pynvml.NVMLError as error:
            unreadable.append(UnreadableCard(index, error))
    places = sorted(index for _, index, _ in readable)
    handles = [handle for _, _, handle in sorted(readable, key=lambda one: one[0])]
    return tuple(_known(handles, places, unreadable)), tuple(unreadable)


def _known(handles: list[Any], places: list[int], unreadable: list[UnreadableCard]) -> Iterator[KnownCard]:
    for index, handle in zip(places, handles, strict=True):
        try:
            capability = _optional(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
            yield KnownCard(
                id=CardId(str(pynvml.nvmlDeviceGetUUID(handle))),
                index=index,
                name=str(pynvml.nvmlDeviceGetName(handle)),
                compute_capability=capability,
                multiprocessors=_multiprocessors(handle, capability),
                handle=handle,
            )
        except pynvml.NVMLError as error:
            unreadable.append(UnreadableCard(index, error))


def _multiprocessors(handle: Any, capability: tuple[int, int] | None) -> int | None:
    """NVML tells a card's CUDA cores, and not how many share a multiprocessor."""
    if capability is None:
        return None
    each = _EXCEPTIONS.get(capability) or _CORES_PER_MULTIPROCESSOR.get(capability[0])
    cores = _optional(pynvml.nvmlDeviceGetNumGpuCores, handle)
    return cores // each if cores and each else None
