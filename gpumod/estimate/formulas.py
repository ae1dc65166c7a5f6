"""Asks the formula of a service's engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpumod.core.cards import CardModel
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import ServiceSpec
from gpumod.estimate.models import ModelFacts
from gpumod.estimate.prediction import Prediction
from gpumod.estimate.vllm.activations import VllmOverhead
from gpumod.estimate.vllm.predict import predict_vllm


@dataclass(frozen=True, slots=True)
class Overheads:
    """What launches were seen to take besides the formulas; None takes what is usual."""

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
    return None
