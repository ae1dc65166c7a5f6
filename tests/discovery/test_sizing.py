"""The largest setting that fits, by a footprint that is passed in."""

from dataclasses import replace

import pytest

from gpumod.core.footprint import Footprint, Source
from gpumod.core.landmine import Landmine
from gpumod.core.names import PresetId, ServiceId
from gpumod.core.spec import CardRequest, Draft, EngineKind, KvCache, ServiceSpec, Task
from gpumod.core.units import GIB, MIB
from gpumod.discovery.sizing import SMALLER_CACHE, Sizer, Subject, contexts_up_to, largest
from tests.discovery.made import BIG, SMALL, box, host_box

Q8 = KvCache("q8_0", "q8_0")


def spec(engine=EngineKind.LLAMA_CPP, **keys):
    return ServiceSpec(ServiceId("m"), PresetId("m"), engine, model="/m/m.gguf", slots=1, **keys)


def linear(weights, per_token, *, experts=0, draft=GIB, host=GIB):
    """A footprint that grows with the context, half as fast with q8_0; evenly over cards."""

    def predict(one, count, model):
        del model
        moved = (one.llama.cpu_moe_layers or 0) * experts
        cache = (one.context or 0) * per_token // (2 if one.kv_cache == Q8 else 1)
        total = weights - moved + cache + (draft if one.draft else 0)
        return Footprint((total // count,) * count, Source.ESTIMATED, resident=host + moved)

    return predict


def no_landmines(*_):
    return ()


def sized(place, predict, subject=None, landmines=no_landmines):
    return Sizer(place, predict, landmines).size(subject or Subject(spec(), 131072))


def test_contexts_are_powers_of_two_and_the_trained_one():
    assert contexts_up_to(40960) == (1024, 2048, 4096, 8192, 16384, 32768, 40960)
    assert contexts_up_to(512) == (512,)
    assert contexts_up_to(4096) == (1024, 2048, 4096)
    assert contexts_up_to(None)[-1] == 1 << 20


@pytest.mark.parametrize("limit", [0, 5, 10, 100, 101])
def test_the_largest_value_that_fits_is_found_with_few_questions(limit):
    values = (1, 5, 10, 100)
    expected = max((value for value in values if value <= limit), default=None)
    asked = []

    def fits(value):
        asked.append(value)
        return value <= limit

    assert largest(values, fits) == expected
    assert len(asked) <= 4


def test_the_whole_trained_context_where_there_is_room():
    found = sized(box((BIG, 23 * GIB)), linear(10 * GIB, 64 * 1024))
    assert (found.spec.context, found.spec.kv_cache, found.spec.cards.count) == (131072, None, 1)


def test_else_the_largest_power_of_two_and_the_next_one_would_not_fit():
    predict = linear(10 * GIB, 128 * 1024)
    found = sized(box((BIG, 23 * GIB)), predict)
    assert found.spec.context == 65536
    assert found.footprint.cards[0] <= 23 * GIB
    assert predict(replace(found.spec, context=131072), 1, BIG).cards[0] > 23 * GIB


def test_the_cache_is_made_smaller_only_where_that_is_needed():
    found = sized(box((BIG, 23 * GIB)), linear(20 * GIB, 128 * 1024))
    assert (found.spec.context, found.spec.kv_cache) == (32768, SMALLER_CACHE)
    stays = Subject(spec(), 131072, quantisable_cache=False)
    found = sized(box((BIG, 23 * GIB)), linear(20 * GIB, 128 * 1024), stays)
    assert (found.spec.context, found.spec.kv_cache) == (16384, None)


def test_two_cards_where_one_is_not_enough():
    found = sized(box((BIG, 23 * GIB), (BIG, 23 * GIB)), linear(30 * GIB, 64 * 1024))
    assert (found.spec.cards, found.spec.context, found.spec.kv_cache) == (CardRequest(2), 131072, None)


def test_one_of_two_cards_where_that_is_enough():
    assert sized(box((BIG, 23 * GIB), (BIG, 23 * GIB)), linear(10 * GIB, 64 * 1024)).spec.cards.count == 1


def test_a_model_is_not_spread_over_unequal_cards():
    found = sized(box((BIG, 23 * GIB), (SMALL, 11 * GIB)), linear(30 * GIB, 64 * 1024))
    assert found == "needs 30.1 GiB with a context of 1024; there is 23.0 GiB + 11.0 GiB"


def test_the_roomier_of_two_unequal_cards_counts():
    found = sized(box((BIG, 23 * GIB), (SMALL, 11 * GIB)), linear(12 * GIB, 64 * 1024))
    assert (found.model, found.room) == (BIG, 23 * GIB)


def test_a_draft_goes_where_it_costs_the_context():
    subject = Subject(spec(draft=Draft("mtp", n_max=2)), 131072)
    assert sized(box((BIG, 23 * GIB)), linear(10 * GIB, 64 * 1024), subject).spec.draft is not None
    found = sized(box((BIG, 23 * GIB)), linear(20 * GIB, 128 * 1024, draft=2 * GIB), subject)
    assert (found.spec.draft, found.spec.kv_cache, found.spec.context) == (None, SMALLER_CACHE, 32768)


def test_experts_go_to_the_host_where_the_cards_are_too_small():
    subject = Subject(spec(), 131072, expert_blocks=36)
    predict = linear(60 * GIB, 64 * 1024, experts=int(1.5 * GIB))
    found = sized(box((BIG, 23 * GIB)), predict, subject)
    layers = found.spec.llama.cpu_moe_layers
    assert found.footprint.cards[0] <= 23 * GIB
    assert found.spec.context >= 32768
    fewer = replace(found.spec, llama=replace(found.spec.llama, cpu_moe_layers=layers - 1), context=32768)
    assert predict(fewer, 1, BIG).cards[0] > 23 * GIB


def test_experts_do_not_go_to_a_host_that_is_full():
    subject = Subject(spec(), 131072, expert_blocks=36)
    predict = linear(60 * GIB, 64 * 1024, experts=int(1.5 * GIB))
    assert isinstance(sized(box((BIG, 23 * GIB), host=16 * GIB), predict, subject), str)


def test_what_the_host_cannot_hold_is_told_so():
    found = sized(box((BIG, 23 * GIB), host=2 * GIB), linear(GIB, 64, host=4 * GIB))
    assert found == "needs 4096 MiB of the host's memory, which has 2048 MiB to give"


def test_without_a_card_nothing_fits():
    assert sized(box(), linear(GIB, 64)) == "no card can be used"


def test_on_the_host_card_there_is_one_card_and_no_experts_elsewhere():
    subject = Subject(spec(), 4096, expert_blocks=36)
    assert sized(host_box(), linear(2 * GIB, 1024, host=0), subject).spec.context == 4096
    assert isinstance(sized(host_box(), linear(60 * GIB, 1024, host=0), subject), str)


def test_one_input_is_one_batch_where_texts_are_embedded():
    subject = Subject(spec(task=Task.EMBEDDING), 32768)
    found = sized(box((BIG, 23 * GIB)), linear(GIB, 64 * 1024), subject).spec
    assert (found.context, found.llama.batch, found.llama.ubatch, found.kv_cache) == (8192, 8192, 8192, None)
    short = Subject(spec(task=Task.RERANK), 512)
    assert sized(box((BIG, 23 * GIB)), linear(GIB, 64 * 1024), short).spec.llama.ubatch == 512


def test_a_setting_that_would_blow_up_is_not_taken():
    def landmines(one, *_):
        return (Landmine("x", "q8_0 does not work here", "", fatal=True),) if one.kv_cache else ()

    found = sized(box((BIG, 23 * GIB)), linear(20 * GIB, 128 * 1024), landmines=landmines)
    assert (found.spec.kv_cache, found.spec.context) == (None, 16384)


def test_a_model_that_blows_up_in_any_setting_is_told_why():
    def landmines(*_):
        return (Landmine("shard", "its file is cut off", "fetch it again", fatal=True),)

    assert (
        sized(box((BIG, 23 * GIB)), linear(GIB, 64), landmines=landmines)
        == "its file is cut off: fetch it again"
    )


def test_what_is_worth_knowing_is_kept():
    def landmines(*_):
        return (Landmine("x", "slow", "be patient"),)

    assert sized(box((BIG, 23 * GIB)), linear(GIB, 64), landmines=landmines).warnings == ("slow: be patient",)


def vllm(weights):
    """A footprint of vLLM: its share of the card, which has to hold the model, and some outside."""

    def predict(one, count, model):
        share = int((one.vllm.gpu_memory_utilization or 0.92) * model.total)
        need = (weights + (one.context or 0) * 64 * 1024) // count
        # As the formulas have it: a share that cannot hold the model needs what the model needs.
        return Footprint(
            (max(share, need) + 500 * MIB if need <= share else 10**15,) * count, Source.ESTIMATED
        )

    return predict


def test_vllm_gets_the_largest_share_that_there_is_room_for():
    found = sized(box((BIG, 20 * GIB)), vllm(8 * GIB), Subject(spec(EngineKind.VLLM), 40960)).spec
    share = found.vllm.gpu_memory_utilization
    assert (share + 0.01) * 24 * GIB + 500 * MIB > 20 * GIB >= share * 24 * GIB + 500 * MIB
    assert found.context == 40960


def test_vllm_for_embedding_gets_the_smallest_share_that_does():
    subject = Subject(spec(EngineKind.VLLM, task=Task.EMBEDDING), 32768)
    found = sized(box((BIG, 23 * GIB)), vllm(GIB), subject).spec
    assert found.vllm.gpu_memory_utilization == 0.07
    assert found.context == 8192


def test_vllm_over_two_cards():
    found = sized(
        box((BIG, 23 * GIB), (BIG, 23 * GIB)), vllm(30 * GIB), Subject(spec(EngineKind.VLLM), 40960)
    )
    assert (found.spec.cards.count, found.spec.context) == (2, 40960)
