"""The shapes are those of the models whose names they have."""

from math import prod

import pytest

from gpumod.estimate.gguf.reader import read_gguf
from gpumod.testing.shapes import PROJECTORS, REAL, SHAPES, shape, write_shape

PUBLISHED = {
    "llama31-8b": 8.03,
    "llama32-1b": 1.24,
    "llama33-70b": 70.6,
    "mistral-small-24b": 23.6,
    "qwen25-1.5b": 1.54,
    "qwen25-32b": 32.8,
    "qwen3-0.6b": 0.6,
    "qwen3-4b": 4.02,
    "qwen3-8b": 8.19,
    "qwen3-14b": 14.8,
    "qwen3-30b-a3b": 30.5,
    "qwen3-235b": 235,
    "qwen3next-80b": 79.7,
    "gemma3-1b": 1.0,
    "gemma3-4b": 3.88,
    "gemma3-12b": 11.8,
    "gemma3-27b": 27.0,
    "gptoss-20b": 20.9,
    "gptoss-120b": 117,
    "dsv2-lite": 15.7,
    "deepseek-v3-671b": 671,
    "mamba2-2.7b": 2.7,
    "gemma4-26b-a4b": 25.2,
    "gemma4-31b": 30.7,
    "phi4-14b": 14.7,
    "glm4-32b": 32.6,
    "olmo2-13b": 13.7,
    "command-r-35b": 32.3,
    "command-r7b": 8.03,
    "granite33-8b": 8.17,
    "qwen25vl-7b": 7.62,
    "lfm2-1.2b": 1.17,
    "bge-large": 0.335,
    "nomic-embed": 0.137,
}
"""Billions of parameters by the models' cards; of qwen25vl-7b without its vision tower."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_real_shape_has_the_published_number_of_parameters(name):
    parameters = sum(prod(tensor.shape) for tensor in shape(name).tensors) / 1e9
    assert parameters == pytest.approx(PUBLISHED[name], rel=0.012)


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_a_sparse_file_that_can_be_read(tmp_path, name):
    path = write_shape(name, tmp_path / "m.gguf")
    status = path.stat()
    header = read_gguf(path)
    assert [tensor.name for tensor in header.tensors] == [tensor.name for tensor in shape(name).tensors]
    assert header.architecture == ("clip" if name in PROJECTORS else header.metadata["general.architecture"])
    if name in REAL:
        assert status.st_blocks * 512 < status.st_size / 10


def test_dimensions_can_be_others(tmp_path):
    header = read_gguf(
        write_shape("llama31-8b", tmp_path / "m.gguf", layers=3, vocabulary=1000, matrices="iq4_xs")
    )
    assert header.value("block_count") == 3
    assert header.by_name["token_embd.weight"].shape == (4096, 1000)
    assert header.by_name["blk.2.ffn_up.weight"].type == 23


def test_a_mix_keeps_half_of_the_layers_in_more_bits():
    """As llama-quantize does for Q4_K_M: in an 8B model 16 of 32 values and downs are q6_K."""
    tensors = shape("llama31-8b").tensors
    better = [tensor.name for tensor in tensors if tensor.type == "q6_k" and "ffn_down" in tensor.name]
    assert len(better) == 16
