"""Under which names measurements are kept: everything known before a launch that changes its memory."""

from __future__ import annotations

import hashlib
import json
from typing import Final, NamedTuple

from gpumod.core.cards import CardModel
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import EngineKind, KvCache, LlamaOptions, ServiceSpec
from gpumod.estimate.files import LookAt, model_files

_DIGITS: Final = 32
_F16: Final = KvCache()
_BATCH: Final = 2048
_UBATCH: Final = 512
"""What llama.cpp takes where nothing else is written (common/common.h)."""


class Fingerprint(NamedTuple):
    """Names of a configuration.

    Args:
        whole: of everything that changes memory.
        family: of the files, the build and the cards alone, whatever the parameters.
    """

    whole: str
    family: str


def fingerprint_of(
    spec: ServiceSpec, count: int, card: CardModel, build: EngineBuild | None, look_at: LookAt
) -> Fingerprint:
    """The names under which a service on `count` such cards is learned and looked up.

    Ports, names, aliases, samplers, policies and declared sizes change nothing and are not in it; a parameter
    that is written as what it is anyhow is the same as one that is not written.
    """
    family: list[object] = [spec.engine, _files(spec, look_at), _program(spec, build), (count, card.name)]
    parameters: list[object] = [
        (spec.task, spec.context, spec.slots or 1),
        repr((_kv_cache(spec), spec.draft, spec.split, _llama(spec.llama), spec.vllm)),
        repr((spec.container, spec.command)),
        (spec.args, spec.env),
    ]
    return Fingerprint(_hash([family, parameters]), _hash(family))


def _files(spec: ServiceSpec, look_at: LookAt) -> list[object]:
    """Identities in place of names; only what cannot be seen has nothing but its name."""
    found = ((path, look_at(path)) for path in model_files(spec))
    return [seen.identity or seen.size if seen is not None else path for path, seen in found]


def _program(spec: ServiceSpec, build: EngineBuild | None) -> tuple[object, ...]:
    if build is None:
        return (spec.binary,)
    identity = build.identity
    return (build.version, identity and (identity.size, identity.modified_ns, identity.inode))


def _kv_cache(spec: ServiceSpec) -> KvCache | None:
    return (spec.kv_cache or _F16) if spec.engine is EngineKind.LLAMA_CPP else spec.kv_cache


def _llama(options: LlamaOptions) -> tuple[object, ...]:
    """What the card's memory depends on: threads and the prompt cache are the host's."""
    layers = (options.gpu_layers, options.cpu_moe_layers)
    batches = (options.batch or _BATCH, options.ubatch or _UBATCH)
    return (*layers, *batches, options.flash_attention)


def _hash(facts: list[object]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:_DIGITS]
