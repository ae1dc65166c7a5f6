"""Which preset to write for which model: a service, and the reasons for each of its keys. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from gpumod.core.footprint import Footprint
from gpumod.core.names import PresetId, ServiceId
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import Draft, EngineKind, ServiceSpec, Task
from gpumod.core.units import format_size
from gpumod.discovery.sizing import Sized, Subject
from gpumod.discovery.values import Checkpoint, LlamaFound

MOST_DRAFTED: Final = 2
"""Tokens drafted at once: what helps with nearly every model; more costs state memory in hybrid ones."""
_LONGEST_ID: Final = 63
_BATCHED: Final = frozenset({Task.EMBEDDING, Task.RERANK})


@dataclass(frozen=True, slots=True)
class Preset:
    """A preset to be written.

    Args:
        spec: the service that it describes.
        about: lines on the model and its footprint, for the head of the file.
        reasons: why a key has its value, by key.
        remarks: on keys that are not there.
        sized: how it fits.
    """

    spec: ServiceSpec
    sized: Sized
    about: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def llama_subject(
    found: LlamaFound, preset_id: str, build: EngineBuild | None, binary: str | None = None
) -> Subject:
    """A GGUF as a service, before memory is looked at.

    Args:
        found: the model with what belongs to it.
        preset_id: its id.
        build: the llama.cpp that will run it: it decides which drafts can be had.
        binary: its program, where the preset has to name it.
    """
    facts = found.model.facts
    spec = ServiceSpec(
        ServiceId(preset_id),
        PresetId(preset_id),
        EngineKind.LLAMA_CPP,
        model=found.model.files.path,
        mmproj=found.projector.files.path if found.projector else None,
        task=facts.task,
        slots=1,
        draft=_draft(found, build),
        binary=binary,
    )
    return Subject(spec, facts.trained, facts.quantisable_cache, facts.blocks if facts.experts > 1 else 0)


def checkpoint_subject(found: Checkpoint, preset_id: str, binary: str | None = None) -> Subject:
    """A checkpoint as a service of vLLM, before memory is looked at."""
    spec = ServiceSpec(
        ServiceId(preset_id),
        PresetId(preset_id),
        EngineKind.VLLM,
        model=found.folder.path,
        task=found.task,
        slots=1,
        binary=binary,
    )
    return Subject(spec, found.trained)


def preset(subject: Subject, sized: Sized, title: str, size: int) -> Preset:
    """The preset of a model that fits.

    Args:
        subject: as it was to be sized.
        sized: with what it fits.
        title: what the model is called, and what it is.
        size: bytes of its files.
    """
    about = [f"{title}, {format_size(size)} on disk.", _footprint(sized)]
    about += [f"Mind: {warning}" for warning in sized.warnings]
    reasons = {name: reason for name, reason in _reasons(subject, sized).items() if reason}
    dropped = subject.spec.draft is not None and sized.spec.draft is None
    remarks = ("Without its draft: with it, less context would fit.",) if dropped else ()
    return Preset(sized.spec, sized, tuple(about), reasons, remarks)


def new_id(name: str, taken: Collection[str]) -> str:
    """An id made of a file's name that nobody has yet."""
    slug = re.sub(r"[^a-z0-9._]+", "-", name.lower()).strip("-._")[:_LONGEST_ID].rstrip("-._") or "model"
    number, found = 2, slug
    while found in taken:
        ending = f"-{number}"
        number, found = number + 1, slug[: _LONGEST_ID - len(ending)] + ending
    return found


def parts_in_words(footprint: Footprint) -> str:
    """What a footprint is made of, the largest part first."""
    parts = sorted((part for part in footprint.parts if part.size), key=lambda part: -part.size)
    return ", ".join(f"{part.name} {format_size(part.size)}" for part in parts)


def _draft(found: LlamaFound, build: EngineBuild | None) -> Draft | None:
    kinds = (
        {trait.removeprefix("spec:draft-") for trait in build.traits if trait.startswith("spec:")}
        if build
        else set()
    )
    if found.draft is not None:
        kind = found.draft.facts.draft
        if kind == "mtp" and kind not in kinds:
            return None
        return Draft(kind, found.draft.files.path, MOST_DRAFTED if kind == "mtp" else None)
    return Draft("mtp", n_max=MOST_DRAFTED) if found.model.facts.mtp and "mtp" in kinds else None


def _footprint(sized: Sized) -> str:
    cards, host = sized.footprint.cards, sized.footprint.resident
    each = " + ".join(map(format_size, cards))
    parts = parts_in_words(sized.footprint)
    behind = f", and {format_size(host)} of the host's memory" if host else ""
    where = sized.model.name if len(cards) == 1 else f"{len(cards)} x {sized.model.name}"
    return (
        f"{each} of the {format_size(sized.room)} that can be had on {where}{behind}"
        f" ({sized.footprint.source}{': ' if parts else ''}{parts})."
    )


def _reasons(subject: Subject, sized: Sized) -> dict[str, str]:
    spec = sized.spec
    own = spec.draft is not None and spec.draft.model is None
    return {
        "task": _task(spec),
        "mmproj": "found beside the model" if spec.mmproj else "",
        "context": _context(subject, sized),
        "slots": "requests at once; each has the whole context",
        "kv_cache": "with f16, less context would fit" if spec.kv_cache else "",
        "draft": f"speculative decoding by {'its own MTP layer' if own else 'a model beside it'}",
        "cards": "one has too little room" if spec.cards.count > 1 else "",
        "llama": _llama(spec),
        "vllm": "the smallest share that holds the context"
        if spec.task in _BATCHED
        else "as much as there is room for, up to vLLM's own default",
    }


def _task(spec: ServiceSpec) -> str:
    if spec.engine is not EngineKind.LLAMA_CPP:
        return ""
    return {
        Task.COMPLETION: "the file has no chat template",
        Task.EMBEDDING: "it makes embeddings, by its header",
        Task.RERANK: "it ranks texts, by its header",
    }.get(spec.task, "")


def _context(subject: Subject, sized: Sized) -> str:
    context, limit = sized.spec.context, sized.limit
    if subject.spec.task in _BATCHED and context == limit != subject.trained:
        return f"one input at most; the model was trained on {subject.trained or 'an unknown length'}"
    if context == limit:
        return "all that the model was trained on"
    if limit is None:
        return "what the model was trained on is not known"
    return f"tokens; the largest power of two that fits, of {limit} that the model was trained on"


def _llama(spec: ServiceSpec) -> str:
    if spec.llama.cpu_moe_layers:
        return "experts of so many layers on the host: the card has no room for all"
    return "one input is computed in one batch" if spec.task in _BATCHED else ""
