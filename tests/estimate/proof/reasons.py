"""Why launches were missed: what is known of each kind of them."""

from __future__ import annotations

from typing import Final

from gpumod.core.units import MIB
from tests.estimate.proof.launches import Launch

_NO_FLASH: Final = (
    "without flash attention cuBLAS converts the scores of all cells in use: the formula counts a full "
    "context, the longest prompt here filled a part of it"
)
_PICTURE: Final = (
    "the pictures shown were smaller than the largest that the projector takes, for which the formula "
    "counts. What the language model's own buffer grows by with a picture seems to rise faster with the "
    "ubatch than the formula says: carried over from one ubatch to another, the difference is too small"
)
_SMALL: Final = (
    "the launch that taught took up to 32 MiB more at its start than the formula says (embeddings, drafts): "
    "2 % of so small a model"
)
_ENCODER: Final = (
    "a small encoder: the formula counts up to 115 MiB more than it was seen to take; not understood yet"
)
_SMALL_MODEL: Final = 2560 * MIB
_NOT_QUANTISED: Final = (
    "not a reading of GPTQ: dummy weights were built in 16 bits, 14.25 GiB of them, and the formula says "
    "what the configuration says"
)
_CACHE_ONLY: Final = (
    "with a cache of a given size nothing bounds what vLLM takes beside it: its allocator's gaps, and the "
    "second copy of weights that a kernel wants in another order, are not in the formula as they should be"
)


def reason(launch: Launch) -> str:
    """What is known of a miss; empty where nothing is."""
    if launch.parameters.get("flash_attention") == "off":
        return _NO_FLASH
    if "projector" in launch.parameters:
        return _PICTURE
    if launch.parameters.get("embeddings"):
        return _ENCODER
    if launch.name == "7b-gptq-kvbytes":
        return _NOT_QUANTISED
    if launch.name.endswith("-kvbytes"):
        return _CACHE_ONLY
    return _SMALL if launch.peak < _SMALL_MODEL else ""
