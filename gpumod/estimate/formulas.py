"""Asks the formula of a service's engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpumod.core.cards import HOST_CARD_NAME, CardModel
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import ServiceSpec
from gpumod.estimate.errors import ModelFileError
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
    on_host = card.name == HOST_CARD_NAME
    if facts.gguf is None or (on_host and count > 1):
        # There is one host's memory, so nothing can be on several of it.
        return None
    try:
        model = llama_model(facts.gguf)
        setting = llama_setting(spec, model, count, on_host=on_host, build=build)
        draft = llama_model(facts.draft) if facts.draft is not None else None
        overhead, projector = overheads.llama, facts.projector
        return predict(model, setting, card, draft=draft, projector=projector, overhead=overhead)
    except (ArithmeticError, LookupError, ValueError) as error:
        # A header's numbers and its tensors come from strangers, and can contradict each other in any way.
        raise ModelFileError(
            f"{facts.gguf.path}: its dimensions go with none of the formulas ({error!r:.80})", broken=False
        ) from error
