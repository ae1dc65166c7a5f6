"""The formulas against what llama.cpp logged on a real card, for files of real shapes."""

import pytest

from gpumod.estimate.llama.cache import kv_cache
from gpumod.estimate.llama.compute import compute_buffers
from gpumod.estimate.llama.layout import place
from gpumod.estimate.llama.recurrent import recurrent_state
from gpumod.estimate.llama.setting import llama_setting
from gpumod.estimate.llama.weights import weights
from tests.estimate.llama.readings import BUILD, ROUNDING, readings

COMPUTE = 0.05


@pytest.mark.parametrize("reading", tuple(readings()), ids=lambda reading: reading.name)
def test_a_card_s_buffers_are_what_the_formulas_say(reading):
    model = reading.model
    setting = llama_setting(reading.spec, model, 1, on_host=False, build=BUILD)
    placement = place(model, setting)
    logged = reading.logged()
    formulas = {
        "weights": weights(model, setting, placement),
        "KV cache": kv_cache(model, setting, placement),
        "recurrent state": recurrent_state(model, setting, placement),
    }
    for part, devices in formulas.items():
        # Two caches are two lines, each of them rounded.
        assert abs(devices.cards[0] - logged.get((part, False), 0)) <= 2 * ROUNDING, part
        if part != "weights":
            assert abs(devices.host - logged.get((part, True), 0)) <= 2 * ROUNDING, part
    # What is mapped is the stretch of the file from the first tensor on the host to the last one.
    assert formulas["weights"].host <= logged["weights", True] + ROUNDING
    compute = compute_buffers(model, setting, placement)
    assert compute.cards[0] == pytest.approx(logged["compute buffer", False], rel=COMPUTE)
