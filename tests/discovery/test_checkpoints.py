"""What a folder with safetensors is, by its config.json."""

import json

import pytest

from gpumod.core.spec import Task
from gpumod.discovery.checkpoints import checkpoint, read_checkpoint
from gpumod.discovery.values import Folder

QWEN = {"architectures": ["Qwen3ForCausalLM"], "max_position_embeddings": 40960}


def judged(*given):
    return checkpoint(*given)


def read(given):
    return read_checkpoint(given)


def folder(name="Qwen3-8B", *files, path="/m"):
    return Folder(f"{path}/{name}", 100, name, ("config.json", "model.safetensors", *files))


def test_a_chat_model():
    found = judged(folder(), QWEN, None)
    assert (found.architecture, found.task, found.trained) == ("Qwen3ForCausalLM", Task.CHAT, 40960)


def test_the_context_may_be_told_of_the_text_model_alone():
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "text_config": {"max_position_embeddings": 131072},
    }
    assert judged(folder(), config, None).trained == 131072
    assert judged(folder(), {"architectures": ["XForCausalLM"]}, None).trained is None


@pytest.mark.parametrize(
    ("name", "config", "files", "task"),
    [
        ("Qwen3-Embedding-0.6B", QWEN, (), Task.EMBEDDING),
        ("bge-m3", {"architectures": ["XLMRobertaModel"]}, ("modules.json",), Task.EMBEDDING),
        ("bge-reranker-v2", {"architectures": ["XLMRobertaForSequenceClassification"]}, (), Task.RERANK),
        ("Qwen3-Reranker-4B", QWEN, (), Task.RERANK),
    ],
)
def test_the_task(name, config, files, task):
    assert judged(folder(name, *files), config, None).task is task


@pytest.mark.parametrize(
    ("config", "index", "reason"),
    [
        ({}, None, "its config.json names no architecture"),
        ({"architectures": ["WhisperForConditionalGeneration"], "is_encoder_decoder": True}, None, "Whisper"),
        ({"architectures": ["CLIPModel"]}, None, "CLIPModel is nothing that answers chats"),
        ({**QWEN, "quantization_config": {"quant_method": "exl2"}}, None, "quantised for ExLlama"),
        ({**QWEN, "quantization": {"bits": 4}}, None, "quantised for MLX"),
        (QWEN, {"weight_map": {"a": "model.safetensors", "b": "x.safetensors", "c": "y.safetensors"}},
         "a download that is not complete: x.safetensors and 1 more are missing"),
        ({"architectures": ["BertForSequenceClassification"], "num_labels": 3}, None, "BertForSequence"),
    ],
)  # fmt: skip
def test_what_gets_no_preset_is_told_why(config, index, reason):
    assert judged(folder(), config, index).startswith(reason)


def test_a_config_that_cannot_be_read_is_told(tmp_path):
    place = tmp_path / "Qwen3-8B"
    place.mkdir()
    assert "cannot be read" in read(folder(path=tmp_path))
    (place / "config.json").write_text("[1]")
    assert read(folder(path=tmp_path)) == "its config.json or index cannot be read: it is not JSON"
    (place / "config.json").write_text(json.dumps(QWEN))
    assert read(folder(path=tmp_path)).trained == 40960
