"""What the fake box has: cards, presets, modes, and the records of services that start there."""

from __future__ import annotations

import time

from gpumod.core.cards import CardProcess
from gpumod.core.footprint import Footprint, Source
from gpumod.core.names import CardId, ModeId, PresetId, ServiceId
from gpumod.core.plan import CardBudget, StartOrder
from gpumod.core.service import Launch, ServiceRecord
from gpumod.core.spec import BLANK_MODE, Catalog, DeclaredMemory, EngineKind, Mode, Problem, ServiceSpec, Task
from gpumod.core.states import ServiceState
from gpumod.core.units import GIB

CARDS = (
    CardId("GPU-00000000-0000-0000-0000-00000000000a"),
    CardId("GPU-00000000-0000-0000-0000-00000000000b"),
)
CAPACITY = 24 * GIB
HEADROOM = GIB // 2
FOREIGN = GIB
"""What a browser holds on the first card."""
SECRET = "hf_not_to_be_shown"  # noqa: S105 - a stand-in that tests look for in answers


def _spec(id_: str, size: float, *, aliases: tuple[str, ...] = (), task: Task = Task.CHAT) -> ServiceSpec:
    return ServiceSpec(
        id=ServiceId(id_),
        preset=PresetId(id_),
        engine=EngineKind.LLAMA_CPP,
        model=f"/models/{id_}.gguf",
        task=task,
        context=32768,
        slots=1,
        vram=DeclaredMemory((round(size * GIB),)),
        aliases=aliases,
        env=(("HF_TOKEN", SECRET),),
    )


def catalog() -> Catalog:
    """Presets and modes: `chat` and `code` do not fit together, `huge` never fits, `broken` never starts."""
    chat, code = _spec("gemma-chat", 14, aliases=("hermes",)), _spec("qwen-code", 18)
    embed, huge = _spec("embed", 2, task=Task.EMBEDDING), _spec("huge", 40)
    broken = _spec("broken", 4)
    return Catalog(
        presets=(chat, code, embed, huge, broken),
        modes=(
            BLANK_MODE,
            Mode(ModeId("chat"), "Daily chat", (chat, embed), (("default", chat.id),)),
            Mode(ModeId("code"), "Coding", (code, embed), (("default", code.id),)),
            Mode(ModeId("huge"), "Too large for any card", (huge,)),
            Mode(ModeId("broken"), "Its engine exits while loading", (broken,)),
        ),
        problems=(
            Problem("presets/typo.yaml", "unknown key 'contxt'", 3, "contxt", "did you mean context?"),
        ),
        disabled=(("typo", "presets/typo.yaml has mistakes"),),
    )


def foreign_on(card: CardId) -> tuple[CardProcess, ...]:
    """Processes on a card that are not ours."""
    return (CardProcess(1234, FOREIGN, "firefox", "ada", graphics=True),) if card == CARDS[0] else ()


def size_of(spec: ServiceSpec) -> int:
    """Bytes that a service takes."""
    return spec.vram.sizes[0] if spec.vram else GIB


def footprint_of(spec: ServiceSpec) -> Footprint:
    """The footprint of a service."""
    return Footprint((size_of(spec),), Source.DECLARED, resident=GIB)


def port_of(service: ServiceId) -> int:
    """Where a service would listen."""
    return 18000 + sum(service.encode()) % 1000


def started(order: StartOrder, generation: int, former: ServiceRecord | None) -> ServiceRecord:
    """The record of a service that has just been started."""
    spec = order.spec
    launch = Launch(
        engine=spec.engine,
        argv=("/usr/bin/llama-server", "--model", spec.model or "", "--port", str(order.port)),
        env=(("CUDA_VISIBLE_DEVICES", ",".join(order.cards)), *spec.env),
        port=order.port,
        cards=order.cards,
        build="b11434",
    )
    return ServiceRecord(
        id=spec.id,
        state=ServiceState.LOADING,
        generation=generation,
        reason="loads its model",
        since=time.time(),
        spec=spec,
        launch=launch,
        footprint=order.footprint,
        runner="fake",
        restarts=former.restarts if former else (),
    )


def budgets(services: tuple[ServiceRecord, ...]) -> tuple[CardBudget, ...]:
    """The budget of each card with these services on it."""
    budgets = []
    for card in CARDS:
        foreign = sum(process.used or 0 for process in foreign_on(card))
        charged = sum(record.reserved(card) for record in services)
        left = CAPACITY - HEADROOM - foreign - charged
        budgets.append(CardBudget(card, CAPACITY, HEADROOM, foreign, charged, left))
    return tuple(budgets)
