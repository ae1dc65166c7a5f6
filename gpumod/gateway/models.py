"""What `/v1/models` lists: everything that could be served, loaded or not. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gpumod.core.names import BLANK, ModeId
from gpumod.core.service import ServiceRecord
from gpumod.core.spec import Catalog, Mode, ServiceSpec, Task
from gpumod.gateway.naming import names

ContextOf = Callable[[ServiceSpec], int | None]
"""Tokens of context that a request may have; None where it is not known."""

_INPUTS = {
    Task.CHAT: ("text",),
    Task.COMPLETION: ("text",),
    Task.EMBEDDING: ("text",),
    Task.RERANK: ("text",),
    Task.NONE: (),
}
_OUTPUTS = {
    Task.CHAT: ("text",),
    Task.COMPLETION: ("text",),
    Task.EMBEDDING: ("embeddings",),
    Task.RERANK: ("scores",),
    Task.NONE: (),
}


@dataclass(frozen=True, slots=True)
class Listed:
    """One name that clients may ask for.

    Args:
        modes: the modes in which it is served, the present one first.
        loaded: whether a request is answered without a start.
        context: tokens.
    """

    name: str
    service: str
    task: Task
    modes: tuple[ModeId, ...]
    loaded: bool
    state: str
    context: int | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def listing(
    catalog: Catalog,
    present: ModeId,
    records: Iterable[ServiceRecord],
    context_of: ContextOf,
    allowed: Collection[str] = (),
) -> tuple[Listed, ...]:
    """Every name, those of the present mode first.

    Args:
        catalog: all modes.
        present: the mode that the box is in.
        records: what runs; a service that was started by hand is listed too.
        context_of: see `ContextOf`.
        allowed: the names that the caller may use; none: all.
    """
    running = {record.id: record for record in records if record.state.may_hold_memory}
    by_hand = Mode(BLANK, services=tuple(record.spec for record in running.values()))
    modes = sorted(catalog.modes, key=lambda mode: mode.id != present)
    found: dict[str, tuple[ServiceSpec, list[ModeId]]] = {}
    for mode in (*modes[:1], by_hand, *modes[1:]):
        for name, spec in names(mode):
            its = found.setdefault(name, (spec, []))[1]
            if mode is not by_hand and mode.id not in its:
                its.append(mode.id)
    return tuple(
        _listed(name, spec, tuple(its), running.get(spec.id), context_of)
        for name, (spec, its) in found.items()
        if not allowed or name in allowed
    )


def _listed(
    name: str,
    spec: ServiceSpec,
    modes: tuple[ModeId, ...],
    record: ServiceRecord | None,
    context_of: ContextOf,
) -> Listed:
    actual = record.spec if record is not None else spec
    inputs = _INPUTS[actual.task] + (("image",) if actual.mmproj else ())
    return Listed(
        name=name,
        service=str(actual.id),
        task=actual.task,
        modes=modes,
        loaded=record is not None and record.admitting,
        state=record.state.value if record is not None else "stopped",
        context=context_of(actual),
        inputs=inputs,
        outputs=_OUTPUTS[actual.task],
    )


def openai_entry(listed: Listed, created: int) -> dict[str, Any]:
    """As OpenAI's API has a model, with what agents look for beside it.

    The context length stands under the names that OpenRouter (`context_length`) and vLLM
    (`max_model_len`) gave it.
    """
    entry: dict[str, Any] = {"id": listed.name, "object": "model", "created": created, "owned_by": "gpumod"}
    if listed.context is not None:
        entry |= {"context_length": listed.context, "max_model_len": listed.context}
    entry["architecture"] = {
        "input_modalities": list(listed.inputs),
        "output_modalities": list(listed.outputs),
    }
    entry["gpumod"] = {
        "service": listed.service,
        "task": listed.task.value,
        "loaded": listed.loaded,
        "state": listed.state,
        "modes": [str(mode) for mode in listed.modes],
    }
    return entry


def openai_list(models: Iterable[Listed], created: int) -> Mapping[str, Any]:
    """`GET /v1/models`."""
    return {"object": "list", "data": [openai_entry(one, created) for one in models]}


def anthropic_entry(listed: Listed, created: int) -> dict[str, Any]:
    """As Anthropic's API has a model."""
    at = datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    entry = {"type": "model", "id": listed.name, "display_name": listed.name, "created_at": at}
    return entry if listed.context is None else entry | {"max_input_tokens": listed.context}


def anthropic_list(models: Iterable[Listed], created: int) -> Mapping[str, Any]:
    """`GET /v1/models` for Anthropic's clients; always the whole list."""
    data = [anthropic_entry(one, created) for one in models]
    ends = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": False, "first_id": ends[0], "last_id": ends[1]}
