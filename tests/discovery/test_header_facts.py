"""What a GGUF is, by its header."""

import pytest

from gpumod.core.spec import Task
from gpumod.discovery.header_facts import gguf_facts
from gpumod.discovery.values import GgufKind
from tests.discovery.made import header

NEXTN = ("token_embd.weight", "blk.0.attn_norm.weight", "blk.32.nextn.eh_proj.weight")


def facts_of(given, name):
    return gguf_facts(given, name)


def test_a_chat_model():
    facts = facts_of(header(), "m")
    assert facts.kind is GgufKind.MODEL
    assert (facts.task, facts.trained, facts.embedding, facts.vocabulary) == (Task.CHAT, 131072, 4096, 32000)
    assert facts.quantisable_cache


@pytest.mark.parametrize(
    ("given", "name", "task"),
    [
        ({"tokenizer__chat_template": None}, "base", Task.COMPLETION),
        ({"architecture": "qwen3", "pooling_type": 3}, "Qwen3-Embedding", Task.EMBEDDING),
        ({"architecture": "qwen3", "pooling_type": 4}, "Qwen3-Reranker", Task.RERANK),
        ({"architecture": "qwen3", "pooling_type": 0}, "m", Task.CHAT),
        ({"architecture": "bert"}, "bge-m3", Task.EMBEDDING),
        (
            {"architecture": "bert", "tensors": ("token_embd.weight", "cls.output.weight")},
            "bge-r",
            Task.RERANK,
        ),
        ({"architecture": "nomic-bert-moe", "pooling_type": 1}, "nomic", Task.EMBEDDING),
    ],
)
def test_the_task(given, name, task):
    assert facts_of(header(**given), name).task is task


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"general__type": "adapter"}, "a LoRA adapter"),
        ({"general__type": "imatrix"}, "an importance matrix"),
        ({"architecture": "controlvector"}, "a control vector"),
        ({"architecture": "flux", "block_count": None}, "architecture flux is no language model"),
        ({"tensors": ()}, "a vocabulary without weights"),
        ({"tensors": ("token_embd.weight", "v.patch_embd.weight")}, "has its projector in the same file"),
        ({"architecture": "eagle3"}, "an EAGLE-3 draft"),
        ({"architecture": ""}, "its header names no architecture"),
        ({"block_count": "many"}, "architecture llama is no language model"),
    ],
)
def test_what_is_no_model_is_told_with_its_reason(given, reason):
    assert facts_of(header(**given), "m").startswith(reason)


def test_a_projector_tells_what_it_makes():
    facts = facts_of(
        header("clip", clip__vision__projection_dim=5376, clip__projector_type="gemma3"), "mmproj-F16"
    )
    assert (facts.kind, facts.embedding, facts.projector) == (GgufKind.PROJECTOR, 5376, "gemma3")


def test_a_layer_for_multi_token_prediction_counts_only_where_it_is_there():
    assert facts_of(header(nextn_predict_layers=1, tensors=NEXTN), "m").mtp
    assert not facts_of(header(nextn_predict_layers=1), "m").mtp


@pytest.mark.parametrize(
    ("given", "name", "draft", "target"),
    [
        ({}, "Qwen3-0.6B-draft-Q8_0", "model", None),
        ({"architecture": "gemma4-assistant", "embedding_length_out": 5376}, "gemma-4-mtp", "mtp", 5376),
        ({"tensors": ("token_embd.weight", "blk.32.nextn.eh_proj.weight")}, "x", "mtp", 4096),
        ({"tensors": NEXTN}, "mtp-qwen", "mtp", 4096),
    ],
)
def test_drafts(given, name, draft, target):
    facts = facts_of(header(**given), name)
    assert (facts.kind, facts.draft, facts.target, facts.mtp) == (GgufKind.DRAFT, draft, target, False)


@pytest.mark.parametrize(
    ("given", "fits"),
    [
        ({}, True),
        ({"attention__key_length": 256}, True),
        ({"embedding_length": 1280, "attention__head_count": 16}, False),
        ({"attention__head_count": (0, 32, 0)}, True),
        ({"attention__head_count": 0}, True),
    ],
)
def test_whether_the_cache_can_be_q8_0(given, fits):
    keys = {f"llama__{name}" if "__" in name else name: value for name, value in given.items()}
    assert facts_of(header(**keys), "m").quantisable_cache is fits
