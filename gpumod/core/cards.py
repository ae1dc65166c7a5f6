"""Cards, the host's memory, and the processes that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gpumod.core.names import HOST_CARD, CardId, ServiceId

HOST_CARD_NAME: Final = "host memory"
"""The model name of the host's memory as a card."""


class CardHealth(StrEnum):
    """Whether a card can be planned with."""

    OK = "ok"
    UNKNOWN = "unknown"
    """The driver does not answer in time; the numbers are the last ones seen."""
    LOST = "lost"
    """The card has fallen off the bus."""
    UNMANAGED = "unmanaged"
    """The card is listed and left alone; the reason says why (MIG, for one)."""


class DriverState(StrEnum):
    """What the NVIDIA driver says when asked for its library."""

    OK = "ok"
    ABSENT = "absent"
    """No NVIDIA device on this box, or `cards: host` is configured."""
    NO_LIBRARY = "no_library"
    """There is a device, or `cards: nvidia` is configured, but libnvidia-ml.so.1 is not installed."""
    NOT_LOADED = "not_loaded"
    """The library is there, the kernel module is not."""
    VERSION_MISMATCH = "version_mismatch"
    """The library and the kernel module differ, as after an upgrade without a reboot."""
    NO_PERMISSION = "no_permission"
    """The device files cannot be opened by this user."""
    NOT_ANSWERING = "not_answering"
    """A call has been running for longer than its bound."""
    FAILED = "failed"
    """Anything else; the reason quotes the driver."""


@dataclass(frozen=True, slots=True)
class CardProcess:
    """A process that a card's driver lists.

    `used` is None where the driver does not say (containers, MIG, some drivers).
    `service` is set once the process was found in a service's tree; None means foreign.
    """

    pid: int
    used: int | None
    command: str = ""
    user: str = ""
    graphics: bool = False
    service: ServiceId | None = None


@dataclass(frozen=True, slots=True)
class CardModel:
    """What a footprint depends on of a card: equal cards have equal models.

    Args:
        name: the driver's name of it.
        total: bytes that can be allocated on an empty one; None where that is not known.
        compute_capability: CUDA's, for example (8, 9).
        multiprocessors: the CUDA context's size grows with them.
    """

    name: str
    total: int | None = None
    compute_capability: tuple[int, int] | None = None
    multiprocessors: int | None = None


HOST_MODEL: Final = CardModel(HOST_CARD_NAME)
"""The host's memory, where it is a card."""


@dataclass(frozen=True, slots=True)
class Card:
    """One memory device at one moment.

    `total` less `reserved` is what can be allocated at most; `free` is what the driver reports as
    free now (NVML memory info version 2). `headroom` is what gpumod leaves alone by configuration.
    """

    id: CardId
    index: int
    name: str
    total: int
    free: int
    reserved: int = 0
    headroom: int = 0
    health: CardHealth = CardHealth.OK
    reason: str = ""
    age: float = 0.0
    pids_visible: bool = True
    """Whether the PIDs that the driver lists are those of this PID namespace."""
    compute_capability: tuple[int, int] | None = None
    multiprocessors: int | None = None
    processes: tuple[CardProcess, ...] = ()
    utilization: int | None = None
    temperature: int | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    """What the driver lets it draw at most: clocks fall before it draws more."""

    @property
    def model(self) -> CardModel:
        """What all cards of its kind have in common."""
        total = self.total - self.reserved
        return CardModel(self.name, total, self.compute_capability, self.multiprocessors)

    @property
    def is_host(self) -> bool:
        """Whether this card is the host's own memory."""
        return self.id == HOST_CARD

    @property
    def usable(self) -> bool:
        """Whether anything may be planned onto this card now."""
        return self.health is CardHealth.OK


@dataclass(frozen=True, slots=True)
class HostMemory:
    """The host's memory as a budget: the tighter of the machine's and the cgroup's."""

    total: int
    available: int
    headroom: int = 0
    limited_by: str = ""
    """Empty, or which limit is tighter than the machine's memory (a cgroup path, a setting)."""


@dataclass(frozen=True, slots=True)
class CardsReading:
    """Everything that one look at the hardware found."""

    at: float
    driver: DriverState
    cards: tuple[Card, ...]
    host: HostMemory
    reason: str = ""
    """What the driver said, where `driver` is not ok."""
    driver_version: str = ""

    def card(self, card_id: CardId) -> Card | None:
        """The card of that id, or None."""
        return next((card for card in self.cards if card.id == card_id), None)


class CardEventKind(StrEnum):
    """What the driver told us about a card."""

    XID = "xid"
    ECC = "ecc"
    LOST = "lost"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True)
class CardEvent:
    """A driver's event about a card. `code` is the Xid number where there is one."""

    kind: CardEventKind
    card: CardId
    at: float
    code: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PortHolder:
    """Who listens on a TCP port. The pid is None where it may not be seen."""

    port: int
    pid: int | None
    command: str = ""
    user: str = ""
    service: ServiceId | None = None
