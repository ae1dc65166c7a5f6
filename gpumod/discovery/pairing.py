"""Which projector and which draft belong to which model. Pure.

A projector makes embeddings of its model's length; a draft speaks its model's vocabulary, or reads its hidden
state. Names decide among several, and where the numbers would let strangers together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from gpumod.core.spec import Task
from gpumod.discovery.values import Gguf, GgufKind, LlamaFound, Skipped

_VOCABULARY_GAP: Final = 128
"""So many tokens a draft's vocabulary may differ (llama.cpp `SPEC_VOCAB_MAX_SIZE_DIFFERENCE`)."""
_GENERIC: Final = re.compile(
    r"mmproj|model|proj|projector|vision|clip|gguf|ud|qat|it|instruct|chat|draft|drafter|mtp|the"
    r"|b?f(p)?(16|32)|i?q\d|[kmlsx]{1,3}|nl|[01]|i1|imatrix"
)
"""Words that do not tell models apart: precisions, quantisations, what any file may be."""
_PROJECTORS: Final = {
    "qwen2vl_merger": ("qwen2vl",),
    "qwen2.5vl_merger": ("qwen2vl",),
    "qwen3vl_merger": ("qwen3vl", "qwen35", "qwen3next", "qwen4"),
    "gemma3": ("gemma3",),
    "gemma3nv": ("gemma3n",),
    "gemma3na": ("gemma3n",),
    "gemma4v": ("gemma4",),
    "gemma4uv": ("gemma4",),
    "llama4": ("llama4",),
}
"""Beginnings of the architectures that a type of projector is made for, where it is for few."""
_REVISION: Final = re.compile(r"/snapshots/[^/]+")
_PRECISION: Final = (("bf16", 3), ("f16", 3), ("fp16", 3), ("q8", 2), ("f32", 1))


def pair(found: Iterable[Gguf]) -> tuple[tuple[LlamaFound, ...], tuple[Skipped, ...]]:
    """Models with what belongs to them, and the projectors and drafts that belong to none."""
    kinds: dict[GgufKind, list[Gguf]] = {kind: [] for kind in GgufKind}
    for one in found:
        kinds[one.facts.kind].append(one)
    models = kinds[GgufKind.MODEL]
    paired = tuple(
        LlamaFound(
            model,
            _projector(model, kinds[GgufKind.PROJECTOR], models),
            None if model.facts.mtp else _draft(model, kinds[GgufKind.DRAFT]),
        )
        for model in models
    )
    used = {one.files.path for found in paired for one in (found.projector, found.draft) if one}
    others = (*kinds[GgufKind.PROJECTOR], *kinds[GgufKind.DRAFT])
    return paired, tuple(_left_over(one, others, used) for one in others if one.files.path not in used)


def words(one: Gguf) -> frozenset[str]:
    """What its name and title say of it beyond what every file says."""
    text = f"{one.files.name} {one.facts.title}".lower()
    found = re.findall(r"[a-z0-9]+(?:\.\d+)*", text)
    return frozenset(word for word in found if not _GENERIC.fullmatch(word))


def _projector(model: Gguf, projectors: Sequence[Gguf], models: Sequence[Gguf]) -> Gguf | None:
    if model.files.projector is not None:
        return next((one for one in projectors if one.files.path == model.files.projector), None)
    fitting = [
        (shared, _precise(one), -one.files.size, one)
        for one in projectors
        if _could_take(one, model) and (shared := _kinship(one, model, models)) is not None
    ]
    return max(fitting, key=lambda found: found[:3])[3] if fitting else None


def _beside(part: Gguf, model: Gguf) -> bool:
    """Whether it is in the model's folder, or in the one above, as in repositories with a folder per size.

    All revisions of a repository in a hub's cache are one folder.
    """
    its, ours = (_REVISION.sub("", one.files.folder) for one in (part, model))
    return its in {ours, ours.rpartition("/")[0]}


def _could_take(projector: Gguf, model: Gguf) -> bool:
    """Whether nothing but its name speaks against a projector for a model."""
    made_for = _PROJECTORS.get(projector.facts.projector)
    return (
        model.facts.task in {Task.CHAT, Task.COMPLETION}
        and _beside(projector, model)
        and projector.facts.embedding in {None, model.facts.embedding}
        and (made_for is None or model.facts.architecture.startswith(made_for))
    )


def _kinship(projector: Gguf, model: Gguf, models: Sequence[Gguf]) -> int | None:
    """How many telling words they share; None where it could be several families' and no name says whose."""
    shared = len(words(projector) & words(model))
    neighbours = [one for one in models if _could_take(projector, one)]
    one_family = (
        len({(one.facts.architecture, one.facts.embedding, one.facts.blocks) for one in neighbours}) == 1
    )
    return shared if shared >= 2 or one_family else None


def _precise(projector: Gguf) -> int:
    """Which of several copies: 16 bit rather than 8, and 32 last, which costs memory for nothing."""
    name = projector.files.path.lower()
    return next((rank for word, rank in _PRECISION if word in name), 0)


def _draft(model: Gguf, drafts: Sequence[Gguf]) -> Gguf | None:
    fitting = [
        (len(words(one) & words(model)), -one.files.size, one)
        for one in drafts
        if _beside(one, model) and _drafts_for(one, model)
    ]
    return max(fitting, key=lambda found: found[:2])[2] if fitting else None


def _drafts_for(draft: Gguf, model: Gguf) -> bool:
    ours, its = model.facts, draft.facts
    if ours.task not in {Task.CHAT, Task.COMPLETION} or ours.vocabulary is None or its.vocabulary is None:
        return False
    if ours.tokenizer != its.tokenizer or abs(ours.vocabulary - its.vocabulary) > _VOCABULARY_GAP:
        return False
    if its.draft == "mtp":
        return its.target == ours.embedding and its.architecture.startswith(ours.architecture)
    return draft.files.size * 2 <= model.files.size


def _left_over(one: Gguf, others: Sequence[Gguf], used: set[str]) -> Skipped:
    twins = [
        other.files.name
        for other in others
        if other.files.path in used
        and other.facts.kind is one.facts.kind
        and other.files.folder == one.files.folder
        and (other.facts.embedding, other.facts.vocabulary) == (one.facts.embedding, one.facts.vocabulary)
    ]
    kind = "projector" if one.facts.kind is GgufKind.PROJECTOR else "draft model"
    if twins:
        return Skipped(one.files.path, f"a {kind}; {twins[0]} beside it is used")
    return Skipped(one.files.path, f"a {kind} without its model beside it")
