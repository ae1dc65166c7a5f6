"""Asks the formula of a service's engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpumod.core.cards import HOST_CARD_NAME, CardModel
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import ServiceSpec
from gpumod.estimate.llama.model import llama_model
from gpumod.estimate.llama.overhead import Overhead
from gpumod.estimate.llama.predict import predict
from gpumod.estimate.llama.setting import llama_setting
from gpumod.estimate.models import ModelFacts
from gpumod.estimate.prediction import Prediction
from gpumod.estimate.vllm.activations import VllmOverhead
from gpumod.estimate.vllm.predict import predict_vllm


@dataclass(frozen=True, slots=True)
class Overheads:
    """What launches were seen to take besides the formulas; None takes what is usual."""

    llama: Overhead | None = None
    vllm: VllmOverhead | None = None


USUAL: Final = Overheads()


def predict_by_formula(
    spec: ServiceSpec,
    count: int,
    card: CardModel,
    build: EngineBuild | None,
    facts: ModelFacts,
    overheads: Overheads,
) -> Prediction | None:
    """What the formula says; None where there is none for the engine, or the model's files were not read.

    Raises:
        ModelFileError: the model's files contradict themselves.
    """
    if facts.checkpoint is not None:
        return predict_vllm(
            facts.checkpoint,
            spec,
            count,
            card,
            overhead=overheads.vllm,
            build=build,
            draft=facts.draft_checkpoint,
        )
    if facts.gguf is None:
        return None
    model = llama_model(facts.gguf)
    setting = llama_setting(spec, model, count, on_host=card.name == HOST_CARD_NAME, build=build)
    draft = llama_model(facts.draft) if facts.draft is not None else None
    overhead = overheads.llama
    return predict(model, setting, card, draft=draft, projector=facts.projector, overhead=overhead)
