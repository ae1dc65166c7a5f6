"""What launches teach about a card's context."""

import pytest

from gpumod.core.cards import CardModel
from gpumod.core.footprint import Measurement, Part
from gpumod.core.names import PresetId, ServiceId
from gpumod.core.spec import EngineKind, ServiceSpec, VllmOptions
from gpumod.core.units import GIB, MIB
from gpumod.estimate import ModelFootprints
from gpumod.estimate.learning import Seen
from gpumod.estimate.overheads import overheads_of
from gpumod.estimate.prediction import Prediction
from gpumod.estimate.vllm.activations import usual_overhead
from tests.estimate.proof.launches import SEEN, launches
from tests.estimate.vllm.models import build

CARD = CardModel("NVIDIA H200", 140 * GIB, (9, 0), 132)
USUAL = usual_overhead(CARD).context


def seen(more, *parts, outside="CUDA context", context=500 * MIB):
    formula = Prediction((Part("weights", (4 * GIB,)), Part(outside, (context,)), *parts))
    took = Measurement("f", ServiceId("s"), CARD.name, 1, "ready", (formula.cards[0] + more,), 0, 1.0)
    return Seen(took, formula)


def context(*found):
    overhead = overheads_of(found, EngineKind.LLAMA_CPP, CARD).llama
    return overhead.context if overhead is not None else None


def of_vllm(*more):
    found = [seen(one, outside="outside vLLM's budget", context=USUAL) for one in more]
    overhead = overheads_of(found, EngineKind.VLLM, CARD).vllm
    assert overhead is not None
    return overhead.context


def test_a_launch_with_a_projector_on_its_card_says_nothing_of_the_context():
    projector = Part("projector", (GIB,))
    assert context(seen(-150 * MIB, projector)) is None
    assert context(seen(-150 * MIB, projector), seen(10 * MIB)) == 510 * MIB
    assert context(seen(10 * MIB, Part("projector", (0,), host=GIB))) == 510 * MIB


def test_of_two_launches_the_larger_context_is_believed():
    assert context(seen(10 * MIB), seen(40 * MIB)) == 540 * MIB


@pytest.mark.parametrize(
    ("more", "learned"), [((-100,), 0), ((60,), 60), ((-100, -120), -100), ((-100, -120, 80), 0)]
)
def test_one_launch_of_vllm_does_not_lower_what_is_assumed_but_several_do(more, learned):
    assert of_vllm(*(one * MIB for one in more)) == USUAL + learned * MIB


def test_what_vllm_takes_with_requests_counts_as_its_overhead(tmp_path):
    """Launched eagerly, it takes at its first long request what graphs would have had it take before."""
    launch = next(
        one for one in launches(EngineKind.VLLM, SEEN, tmp_path) if "--enforce-eager" in one.parameters
    )
    store = ModelFootprints()

    def outside():
        spec = ServiceSpec(
            id=ServiceId("s"), preset=PresetId("s"), engine=EngineKind.VLLM, model=launch.spec.model,
            context=4096, vllm=VllmOptions(gpu_memory_utilization=0.2),
        )  # fmt: skip
        found = store.footprint(spec, 1, launch.card, build())
        return next(part.cards[0] for part in found.parts if part.name == "outside vLLM's budget")

    def learn(stage, used, at):
        store.learn(
            store.measured(launch.spec, launch.card, launch.build, stage=stage, used=(used,), host=0, at=at)
        )

    learn("ready", launch.stages["ready"], 4e9)
    before = outside()
    learn("peak", launch.peak + 200 * MIB, 4e9 + 1)
    assert outside() >= before + 150 * MIB
