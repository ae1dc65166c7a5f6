"""Advice: what would fit is computed, least loss first, with a bounded number of questions."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gpumod.core.cards import CardModel
from gpumod.core.footprint import Footprint, KvPool, Source, Spread
from gpumod.core.names import CardId, PresetId, ServiceId
from gpumod.core.spec import (
    CardRequest,
    DeclaredMemory,
    EngineKind,
    KvCache,
    LlamaOptions,
    ServiceSpec,
    Split,
    VllmOptions,
)
from gpumod.core.units import GIB, KIB, MIB
from gpumod.estimate.advice import Advisor, Room

CARD = CardModel("RTX 4090", 24 * GIB, (8, 9), 128)
OTHER = CardModel("RTX 3090", 24 * GIB, (8, 6), 82)
BITS = {"f16": 16.0, "q8_0": 8.5, "q4_0": 4.5}


@dataclass
class Formula:
    """An engine with a model of `layers` layers that each take `layer` bytes, half of them experts."""

    layer: int = 256 * MIB
    layers: int = 40
    moe: bool = False
    spread: bool = False
    known: bool = True
    asked: list[ServiceSpec] = field(default_factory=list)

    def __call__(self, spec: ServiceSpec, count: int, card: CardModel) -> Footprint:
        self.asked.append(spec)
        if spec.vram is not None:
            return Footprint((spec.vram.per_card(count) or (0,)) * 1, Source.DECLARED)
        if spec.engine is EngineKind.VLLM:
            return self._vllm(spec, count, card)
        kept = self.layers if spec.llama.gpu_layers is None else min(spec.llama.gpu_layers, self.layers)
        off = min(spec.llama.cpu_moe_layers or 0, self.layers) * self.layer // 2 if self.moe else 0
        kv = spec.kv_cache or KvCache()
        per_token = 128 * KIB * (BITS[kv.k] + BITS[kv.v]) / 32
        size = kept * self.layer - off + int((spec.context or 131072) * (spec.slots or 1) * per_token)
        host = (self.layers - kept) * self.layer + off
        each = size // count
        spread = Spread((size // 40,) * 40, (0,) * count) if self.spread and count > 1 else None
        sizes = (each,) * count
        formula = sizes if self.known else None
        return Footprint(sizes, Source.ESTIMATED, resident=host, spread=spread, formula=formula)

    def _vllm(self, spec: ServiceSpec, count: int, card: CardModel) -> Footprint:
        share = spec.vllm.gpu_memory_utilization or 0.92
        budget = int((card.total or 0) * share)
        weights = self.layer * self.layers // count
        room = spec.vllm.kv_cache_memory or max(0, budget - weights)
        size = weights + room if spec.vllm.kv_cache_memory else budget
        tokens = room * count // ((64 if spec.vllm.kv_cache_dtype else 128) * KIB)
        pool = KvPool(tokens, 1.0, tokens)
        return Footprint((size,) * count, Source.ESTIMATED, pool=pool, formula=(size,) * count)


def spec(**changes: Any) -> ServiceSpec:
    base = ServiceSpec(ServiceId("chat"), PresetId("chat"), EngineKind.LLAMA_CPP, context=32768, slots=1)
    return replace(base, **changes)


def rooms(*free: int, model: CardModel = CARD) -> tuple[Room, ...]:
    return tuple(Room(CardId(f"GPU-{index}"), model, size) for index, size in enumerate(free))


def keys(advisor: Advisor, asked: ServiceSpec) -> list[str]:
    return [one.key for one in advisor.advice(asked)]


def test_what_fits_needs_no_advice() -> None:
    assert Advisor(Formula(), rooms(24 * GIB)).advice(spec()) == ()


def test_every_advice_fits_when_it_is_followed() -> None:
    formula = Formula()
    advisor = Advisor(formula, rooms(12 * GIB, 12 * GIB))
    asked = spec(context=16384, slots=2)
    found = {one.key: one for one in advisor.advice(asked)}
    assert set(found) == {"cards", "context", "slots", "kv_cache", "llama.gpu_layers"}
    assert found["slots"].value == "1"
    context = int(found["context"].value)
    assert formula(replace(asked, context=context), 1, CARD).cards[0] <= 12 * GIB
    assert formula(replace(asked, context=context + 256), 1, CARD).cards[0] > 12 * GIB
    layers = int(found["llama.gpu_layers"].value)
    assert formula(replace(asked, llama=LlamaOptions(gpu_layers=layers)), 1, CARD).cards[0] <= 12 * GIB
    assert formula(replace(asked, llama=LlamaOptions(gpu_layers=layers + 1)), 1, CARD).cards[0] > 12 * GIB
    for one in found.values():
        assert max(one.cards) <= 12 * GIB


def test_the_least_loss_comes_first() -> None:
    found = Advisor(Formula(), rooms(11 * GIB, 11 * GIB)).advice(spec(context=16384))
    assert [one.key for one in found] == ["cards", "context", "kv_cache", "llama.gpu_layers"]
    assert [one.loss for one in found] == sorted(one.loss for one in found)


def test_a_little_less_context_loses_less_than_half_of_it() -> None:
    little = Advisor(Formula(), rooms(14 * GIB - 64 * MIB)).advice(spec())
    much = Advisor(Formula(), rooms(12 * GIB + 256 * MIB)).advice(spec())
    assert little[0].key == "context"
    assert much[0].key == "kv_cache"


def test_a_smaller_cache_type_is_the_larger_of_those_that_fit() -> None:
    found = {one.key: one for one in Advisor(Formula(), rooms(12 * GIB + 256 * MIB)).advice(spec())}
    assert found["kv_cache"].value == "{k: q8_0, v: q8_0}"
    tight = {one.key: one for one in Advisor(Formula(), rooms(11 * GIB + 256 * MIB)).advice(spec())}
    assert tight["kv_cache"].line == "kv_cache: {k: q4_0, v: q4_0}"


def test_a_cache_that_is_small_already_is_not_made_larger() -> None:
    asked = spec(kv_cache=KvCache("q4_0", "q4_0"), context=131072)
    assert "kv_cache" not in keys(Advisor(Formula(), rooms(12 * GIB)), asked)


def test_no_quantised_cache_where_flash_attention_is_off() -> None:
    asked = spec(llama=LlamaOptions(flash_attention=False))
    assert "kv_cache" not in keys(Advisor(Formula(), rooms(12 * GIB)), asked)


def test_experts_go_to_the_host_before_whole_layers_do() -> None:
    found = Advisor(Formula(moe=True), rooms(9 * GIB)).advice(spec())
    names = [one.key for one in found]
    assert names.index("llama.cpu_moe_layers") < names.index("llama.gpu_layers")
    experts = next(one for one in found if one.key == "llama.cpu_moe_layers")
    # 14 GiB are needed, 9 are there, and the experts of a layer are 128 MiB.
    assert experts.line == "llama: {cpu_moe_layers: 40}"
    assert experts.host == 40 * 128 * MIB


def test_what_the_host_cannot_hold_is_not_advised() -> None:
    advisor = Advisor(Formula(moe=True), rooms(9 * GIB), host=2 * GIB)
    assert not {"llama.cpu_moe_layers", "llama.gpu_layers"} & set(keys(advisor, spec()))


def test_what_is_known_not_to_work_is_not_advised() -> None:
    def works(asked: ServiceSpec, count: int, card: CardModel) -> bool:
        del card
        return count != 2 and asked.kv_cache is None

    advisor = Advisor(Formula(), rooms(*(12 * GIB,) * 3), works=works)
    found = {one.key: one for one in advisor.advice(spec(context=16384, slots=2))}
    assert found["cards"].value == "3"
    assert "kv_cache" not in found


def test_another_card_than_the_one_that_is_named() -> None:
    asked = spec(cards=CardRequest(1, ("GPU-0",)))
    first = Advisor(Formula(), rooms(8 * GIB, 23 * GIB)).advice(asked)[0]
    assert (first.line, first.loss) == ("cards: [GPU-1]", 0.0)


def test_more_cards_are_of_one_model() -> None:
    mixed = (*rooms(9 * GIB), Room(CardId("GPU-9"), OTHER, 9 * GIB))
    assert "cards" not in keys(Advisor(Formula(), mixed), spec())
    assert keys(Advisor(Formula(), rooms(9 * GIB, 9 * GIB)), spec())[0] == "cards"


def test_more_cards_are_divided_by_the_room_that_they_have() -> None:
    advisor = Advisor(Formula(spread=True), rooms(12 * GIB, 3 * GIB))
    first = advisor.advice(spec(split=Split()))[0]
    assert first.line == "cards: 2"
    assert first.cards[0] <= 12 * GIB
    assert first.cards[1] <= 3 * GIB


def test_a_declared_size_that_is_too_large_is_what_is_advised_to_go() -> None:
    asked = spec(vram=DeclaredMemory((23 * GIB,)))
    found = Advisor(Formula(), rooms(16 * GIB)).advice(asked)
    assert [(one.line, one.cards) for one in found] == [("vram: auto", (14 * GIB,))]


def test_vllm_takes_the_largest_share_that_there_is_room_for() -> None:
    asked = spec(engine=EngineKind.VLLM, vllm=VllmOptions(gpu_memory_utilization=0.92), context=8192)
    first = Advisor(Formula(), rooms(18 * GIB)).advice(asked)[0]
    assert first.line == "vllm: {gpu_memory_utilization: 0.75}"
    assert "tokens" in first.detail


def test_vllm_with_too_little_room_for_the_context_takes_less_of_the_card_and_a_shorter_context() -> None:
    asked = spec(engine=EngineKind.VLLM, context=131072)
    formula = Formula()
    (first, *_) = Advisor(formula, rooms(18 * GIB)).advice(asked)
    share, context = first.line.splitlines()
    assert share == "vllm: {gpu_memory_utilization: 0.75}"
    tokens = int(context.removeprefix("context: "))
    followed = replace(asked, context=tokens, vllm=VllmOptions(0.75))
    pool = formula(followed, 1, CARD).pool
    assert pool is not None
    assert tokens <= pool.largest_context < tokens + 256


def test_a_share_of_the_card_that_does_not_fit_is_why_no_context_does() -> None:
    fitted = Advisor(Formula(), rooms(18 * GIB)).largest_context(spec(engine=EngineKind.VLLM))
    assert fitted.context is None
    assert "share of the card" in fitted.reason


def test_vllm_with_room_to_spare_takes_no_more_of_the_card_than_its_context_needs() -> None:
    asked = spec(engine=EngineKind.VLLM, vllm=VllmOptions(gpu_memory_utilization=0.45), context=65536)
    formula = Formula()
    found = {one.key: one for one in Advisor(formula, rooms(24 * GIB)).advice(asked)}
    # 10 GiB of weights and 8 GiB of cache, of 24.
    assert found["vllm.gpu_memory_utilization"].value == "0.75"
    assert found["context"].value == str(int(0.8 * GIB / (128 * KIB)) // 256 * 256)


def test_vllm_is_never_advised_almost_the_whole_card() -> None:
    asked = spec(engine=EngineKind.VLLM, vllm=VllmOptions(gpu_memory_utilization=0.9), context=107000)
    found = {one.key: one for one in Advisor(Formula(), rooms(24 * GIB)).advice(asked)}
    # It would need 0.97.
    assert "vllm.gpu_memory_utilization" not in found


@pytest.mark.parametrize(("card", "dtype"), [(CARD, "fp8"), (OTHER, "fp8_e5m2")])
def test_vllm_is_advised_the_eight_bit_cache_that_its_card_computes_with(card: CardModel, dtype: str) -> None:
    asked = spec(engine=EngineKind.VLLM, vllm=VllmOptions(gpu_memory_utilization=0.72), context=73728)
    found = {one.key: one for one in Advisor(Formula(), rooms(18 * GIB, model=card)).advice(asked)}
    assert found["vllm.kv_cache_dtype"].value == dtype


def test_a_cache_of_a_given_size_is_made_smaller() -> None:
    options = VllmOptions(gpu_memory_utilization=0.5, kv_cache_memory=4 * GIB)
    asked = spec(engine=EngineKind.VLLM, vllm=options, context=8192)
    found = {one.key: one for one in Advisor(Formula(), rooms(12 * GIB)).advice(asked)}
    assert found["vllm.kv_cache_memory"].line == "vllm: {kv_cache_memory: 2048MiB}"


@pytest.mark.parametrize("room", [24, 18, 12, 8, 4, 1])
def test_the_number_of_questions_is_bounded(room: int) -> None:
    formula = Formula(moe=True)
    advisor = Advisor(formula, rooms(*(room * GIB,) * 4), trained=1 << 20)
    advisor.advice(spec(context=1 << 20, slots=64))
    assert len(formula.asked) < 120


# --- the largest context ----------------------------------------------------------------------


def test_the_largest_context_fits_and_one_step_more_does_not() -> None:
    formula = Formula()
    fitted = Advisor(formula, rooms(12 * GIB), trained=131072).largest_context(spec())
    assert fitted.context == 16384
    assert fitted.line == "context: 16384"
    assert fitted.cards == (12 * GIB,)
    assert fitted.reason == "more does not fit"


def test_the_largest_context_is_no_more_than_the_model_was_trained_for() -> None:
    fitted = Advisor(Formula(), rooms(24 * GIB), trained=40000).largest_context(spec())
    assert (fitted.context, fitted.reason) == (40000, "the model was trained for no more")


def test_from_the_files_size_alone_no_context_is_told_and_no_settings_are_advised() -> None:
    advisor = Advisor(Formula(known=False), rooms(13 * GIB, 13 * GIB), trained=131072)
    fitted = advisor.largest_context(spec())
    assert fitted.context is None
    assert "not known" in fitted.reason
    assert keys(advisor, spec()) == ["cards"]


def test_no_context_at_all_is_said() -> None:
    fitted = Advisor(Formula(), rooms(8 * GIB), trained=131072).largest_context(spec())
    assert fitted.context is None
    assert "1024" in fitted.reason


def test_the_largest_context_stays_within_what_is_declared() -> None:
    asked = spec(vram=DeclaredMemory((12 * GIB,)))
    assert Advisor(Formula(), rooms(24 * GIB), trained=131072).largest_context(asked).context == 16384


def test_a_short_model_is_not_asked_for_more_than_it_has() -> None:
    assert Advisor(Formula(), rooms(24 * GIB), trained=512).largest_context(spec()).context == 512
