"""Launches of vLLM 0.20.2 on an H200 with dummy weights: what its log said, and what NVML read.

The log's numbers are rounded to hundredths of a GiB.
"""

from __future__ import annotations

from typing import Final

import pytest

from gpumod.core.units import GIB, MIB
from tests.estimate.vllm.readings import Reading, readings

ROWS: Final = {one.name: one for one in readings()}
PROFILED: Final = ["1.7b-default", "8b-default", "8b-eager-fp8kv", "30b-a3b", "gemma3-12b"]
GIVEN_BYTES: Final = "1.7b-kvbytes"


def most_used(reading: Reading) -> int:
    """Of the card in all, over all requests; it was empty before."""
    return max(int(one["card_used"]) for one in reading.row["readings"].values())


@pytest.mark.parametrize("name", PROFILED)
def test_given_the_bytes_the_pool_is_the_one_that_was_logged(name: str) -> None:
    row = ROWS[name]
    available = row.log["available_kv_gib"]
    pools = [row.pool(int((available + rounding) * GIB)) for rounding in (-0.005, 0.005)]
    assert pools[0].blocks <= row.blocks <= pools[1].blocks
    exact = row.pool(row.blocks * pools[0].bytes_per_block)
    assert exact.tokens == row.log["kv_tokens"]
    assert f"{exact.concurrency:.2f}" == f"{row.log['max_concurrency']:.2f}"


@pytest.mark.parametrize("name", PROFILED)
def test_given_what_is_no_cache_the_pool_is_near(name: str) -> None:
    row, log = ROWS[name], ROWS[name].log
    rest = int((log["non_kv_gib"] + log.get("graph_estimate_gib", 0.0)) * GIB)
    pool = row.pool(non_kv=rest)
    # Two numbers that are rounded to hundredths of a GiB.
    assert pool.size / GIB == pytest.approx(log["available_kv_gib"], abs=0.015)


@pytest.mark.parametrize("name", PROFILED)
def test_each_part_is_near_what_was_logged(name: str) -> None:
    log, plan = ROWS[name].log, ROWS[name].plan
    assert plan.weights / GIB == pytest.approx(log["weights_gib"], abs=0.045)
    assert plan.activations / GIB == pytest.approx(
        log["peak_activation_gib"] + log["non_torch_gib"], abs=0.05
    )
    assert plan.graphs / GIB == pytest.approx(log.get("graph_estimate_gib", 0.0), abs=0.06)
    assert plan.captured / GIB == pytest.approx(log.get("graph_capture_gib", 0.0), abs=0.02)
    assert plan.available / GIB == pytest.approx(log["available_kv_gib"], abs=0.06)


@pytest.mark.parametrize("name", PROFILED)
def test_the_sum_is_what_the_card_had_in_use(name: str) -> None:
    row = ROWS[name]
    (total,) = row.prediction.cards
    assert total == pytest.approx(most_used(row), rel=0.002)
    assert total > most_used(row) - 60 * MIB


def test_a_cache_of_given_bytes_gives_the_sum_of_the_parts() -> None:
    row = ROWS[GIVEN_BYTES]
    assert row.plan.pool.blocks == row.blocks
    assert row.plan.pool.tokens == row.log["kv_tokens"]
    (total,) = row.prediction.cards
    assert total == pytest.approx(most_used(row), rel=0.006)
    assert total > most_used(row) - 100 * MIB


def test_blocks_beside_states_in_the_models_own_type() -> None:
    """It was stopped before it was ready; the block size and the weights had been logged."""
    row = ROWS["next-16l"]
    assert row.plan.pool.block_size == 544
    assert row.plan.weights / GIB == pytest.approx(row.log["model_loading_gib"], abs=0.005)
