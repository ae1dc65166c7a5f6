"""What a preflight answers: the plan or the refusals, and every service's memory, part by part."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpumod.core.footprint import Footprint
from gpumod.core.landmine import Landmine
from gpumod.core.names import CardId, ServiceId
from gpumod.core.plan import Plan, Refused


@dataclass(frozen=True, slots=True)
class Advice:
    """A change of a preset with which the service would fit, as computed by the same formulas.

    Args:
        key: the preset's key, dotted.
        value: what to write, as YAML.
        line: both, as they stand in the file; several lines where another key has to change with it.
        detail: what it costs, in words.
        cards: bytes that the service would then need on each card, in placement order.
        host: bytes of host memory that it would then keep.
        loss: orders advice, the least loss first; it has no unit.
    """

    key: str
    value: str
    line: str
    detail: str
    cards: tuple[int, ...]
    host: int = 0
    loss: float = 0.0


@dataclass(frozen=True, slots=True)
class FittedContext:
    """The largest context with which a service would start now.

    Args:
        context: tokens per slot; None where none fits, `reason` says why.
        line: as it stands in a preset.
        cards: bytes that it would then need on each card.
        reason: what stops at this number: memory, or what the model was trained for.
    """

    context: int | None
    line: str = ""
    cards: tuple[int, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OracleDevice:
    """One device of an oracle's answer beside the formula's; all sizes are bytes.

    Args:
        device: the engine's name of it, or `Host`.
        model: weights.
        context: KV cache and state.
        compute: compute buffers.
        formula: what the formula says for the same three; None where there is no formula for it.
    """

    device: str
    model: int
    context: int
    compute: int
    formula: int | None = None

    @property
    def total(self) -> int:
        """All three together."""
        return self.model + self.context + self.compute


@dataclass(frozen=True, slots=True)
class OracleAnswer:
    """A second opinion.

    Args:
        program: what was asked; empty where there is none.
        devices: its table; empty where it could not answer.
        trouble: why it could not; empty where it could.
        limits: what its numbers do not have in them; sentences.
    """

    program: str = ""
    devices: tuple[OracleDevice, ...] = ()
    trouble: str = ""
    limits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServicePreflight:
    """One service of the target.

    Args:
        service: who.
        runs: it runs already and would be kept as it is.
        cards: the cards that it was looked at for: where it would go, or where it came closest.
        card_name: those cards' model.
        available: bytes that each of them has to give, for this service.
        footprint: what it takes there; None where that is not known.
        landmines: what would go wrong, the fatal ones first.
        advice: with what it would fit, where it does not; the least loss first.
        fitted: the largest context, where that was asked for.
        oracle: the second opinion, where that was asked for.
    """

    service: ServiceId
    runs: bool = False
    cards: tuple[CardId, ...] = ()
    card_name: str = ""
    available: tuple[int, ...] = ()
    footprint: Footprint | None = None
    landmines: tuple[Landmine, ...] = ()
    advice: tuple[Advice, ...] = ()
    fitted: FittedContext | None = None
    oracle: OracleAnswer | None = None


@dataclass(frozen=True, slots=True)
class Preflight:
    """Whether a preset or mode would start now, and what that is decided from."""

    outcome: Plan | Refused
    services: tuple[ServicePreflight, ...] = field(default=())
