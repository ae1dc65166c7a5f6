"""What a folder with safetensors is, from its `config.json`. Judging is pure; reading is at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gpumod.core.spec import Task
from gpumod.discovery.values import Checkpoint, Folder

_INDEX: Final = "model.safetensors.index.json"
_LARGEST_JSON: Final = 64 * 1024 * 1024
_SENTENCES: Final = "modules.json"
"""Beside the models of sentence-transformers, which make embeddings."""
_FOREIGN: Final = {"exl2": "ExLlama", "exl3": "ExLlama", "mlx": "MLX", "hqq": "HQQ"}
"""Quantisations that vLLM does not read."""
_LENGTHS: Final = (
    "max_position_embeddings",
    "max_sequence_length",
    "n_positions",
    "seq_length",
    "model_max_length",
)


def checkpoint(
    folder: Folder, config: Mapping[str, Any], index: Mapping[str, Any] | None
) -> Checkpoint | str:
    """What a folder holds, or a phrase that says why it gets no preset.

    Args:
        folder: with the names of its files.
        config: `config.json`.
        index: `model.safetensors.index.json`, where there is one.
    """
    if index is not None and (missing := _missing(folder, index)):
        return f"a download that is not complete: {missing}"
    if reason := _foreign(config):
        return reason
    architectures = config.get("architectures")
    name = architectures[0] if isinstance(architectures, list) and architectures else None
    if not isinstance(name, str):
        return "its config.json names no architecture"
    task = _task(folder, config, name)
    if task is None:
        return f"{name} is nothing that answers chats, embeds or ranks"
    return Checkpoint(folder, name, task, _trained(config))


def read_checkpoint(folder: Folder) -> Checkpoint | str:
    """The same, with its files read."""
    try:
        config = _read(folder, "config.json")
        index = _read(folder, _INDEX) if _INDEX in folder.files else None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not JSON"
        return f"its config.json or index cannot be read: {why}"
    return checkpoint(folder, config, index)


def _read(folder: Folder, name: str) -> dict[str, Any]:
    with Path(folder.path, name).open("rb") as stream:
        content = stream.read(_LARGEST_JSON + 1)
    value = json.loads(content) if len(content) <= _LARGEST_JSON else None
    if not isinstance(value, dict):
        raise ValueError(name)  # noqa: TRY004 - as json says of what is no JSON
    return value


def _missing(folder: Folder, index: Mapping[str, Any]) -> str:
    listed = index.get("weight_map")
    wanted = {one for one in listed.values() if isinstance(one, str)} if isinstance(listed, dict) else set()
    missing = sorted(wanted - set(folder.files))
    if not missing:
        return ""
    return (
        f"{missing[0]} is missing"
        if len(missing) == 1
        else f"{missing[0]} and {len(missing) - 1} more are missing"
    )


def _foreign(config: Mapping[str, Any]) -> str:
    quantisation = config.get("quantization_config")
    method = quantisation.get("quant_method") if isinstance(quantisation, dict) else None
    if not isinstance(quantisation, dict) and isinstance(config.get("quantization"), dict):
        method = "mlx"
    if isinstance(method, str) and method in _FOREIGN:
        return f"quantised for {_FOREIGN[method]}, which vLLM does not read"
    return ""


def _task(folder: Folder, config: Mapping[str, Any], architecture: str) -> Task | None:
    if config.get("is_encoder_decoder") is True:
        return None
    if "rerank" in folder.name.lower() or "ForSequenceClassification" in architecture:
        labels = config.get("num_labels", len(config.get("id2label") or {}) or 1)
        return Task.RERANK if "rerank" in folder.name.lower() or labels == 1 else None
    if _SENTENCES in folder.files or "embed" in folder.name.lower():
        return Task.EMBEDDING
    return Task.CHAT if architecture.endswith(("ForCausalLM", "ForConditionalGeneration")) else None


def _trained(config: Mapping[str, Any]) -> int | None:
    inner = config.get("text_config")
    for values in (inner if isinstance(inner, dict) else {}, config):
        found = [values[key] for key in _LENGTHS if isinstance(values.get(key), int)]
        if found:
            return int(found[0])
    return None
