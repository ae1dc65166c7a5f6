"""What a projector takes."""

import pytest

from gpumod.core.cards import CardModel
from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.gguf.header import GgufHeader, Tensor
from gpumod.estimate.llama.overhead import Overhead
from gpumod.estimate.llama.projector import compute_buffer, patches_of, projector_part
from tests.estimate.llama.headers import header, model, setting

MIB = 1 << 20
CARD = CardModel("NVIDIA H200", 140 << 30, (9, 0), 132)
SIGLIP = {
    "image_size": 896,
    "patch_size": 14,
    "embedding_length": 1152,
    "feed_forward_length": 4304,
    "projection_dim": 2560,
}
PLAIN = model()


def tower(kind="gemma3", **keys):
    values = {f"clip.vision.{key}": value for key, value in (SIGLIP | keys).items()}
    metadata = {"general.architecture": "clip", "clip.projector_type": kind, **values}
    return GgufHeader("/models/mm.gguf", metadata, (Tensor("v.blk.0.ffn_up.weight", 1, (1152, 4304)),))


def part(of, launch):
    return projector_part(of, PLAIN, launch, CARD, Overhead(500 * MIB))


def test_a_tower_with_pictures_of_one_size():
    assert patches_of(tower()) == (64 * 64, 896)
    # llama.cpp logged 121.25 MiB for it.
    assert compute_buffer(tower(), 4096) == pytest.approx(121.25 * MIB, rel=0.001)


def test_a_tower_for_any_size_is_reckoned_with_the_largest():
    assert patches_of(tower("qwen3vl_merger", patch_size=16, spatial_merge_size=2)) == (128 * 128, 2048)
    assert patches_of(tower("something new", image_size=0)) == (128 * 128, 1792)
    assert patches_of(tower("pixtral", patch_size=16)) == (64 * 64, 1024)


def test_layers_that_hand_on_what_they_saw_need_more():
    flat = tower("qwen3vl_merger", patch_size=16, spatial_merge_size=2)
    deep = tower(
        "qwen3vl_merger", patch_size=16, spatial_merge_size=2, is_deepstack_layers=(True, False, True)
    )
    assert compute_buffer(deep, 8464) - compute_buffer(flat, 8464) == 2 * 4 * 8464 // 4 * 2560


def test_it_is_on_the_first_card():
    found = part(tower(), setting(PLAIN, 2, context=4096))
    weights, picture = 1152 * 4304 * 2, 4 * 3 * 896 * 896
    scratch = 4 * MIB + 98 * MIB + 2 * 4096 * (1152 + 4304)
    assert found.cards == (-(-weights // 128) * 128 + compute_buffer(tower(), 4096) + picture + scratch, 0)
    assert found.name == "projector"
    assert "896 × 896" in found.note


def test_it_can_be_kept_in_host_memory():
    found = part(tower(), setting(PLAIN, context=4096, args=("--no-mmproj-offload",)))
    assert found.cards == (0,)
    assert found.host > 1152 * 4304 * 2 + compute_buffer(tower(), 4096)
    assert part(tower(), setting(PLAIN, on_host=True, context=4096)).cards == (found.host,)


def test_a_language_model_is_no_projector():
    with pytest.raises(ModelFileError, match=r"/models/m.gguf is no projector: its architecture is llama"):
        part(header(), setting(PLAIN, context=4096))


def test_absurd_dimensions_are_left_out():
    assert patches_of(tower(patch_size=0, image_size=-1)) == (128 * 128, 128 * 14)
