"""Ollama's models among its blobs."""

import json

from gpumod.discovery.ollama import ollama_models
from gpumod.discovery.values import Place
from gpumod.discovery.walk import Limits, walk

GGUF = b"GGUF and more"


def store(root, blobs, manifests):
    (root / "blobs").mkdir(parents=True)
    for digest, content in blobs.items():
        (root / "blobs" / f"sha256-{digest}").write_bytes(content)
    for name, layers in manifests.items():
        path = root / "manifests/registry.ollama.ai/library" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kinds = {"model", "projector", "license"}
        listed = [
            {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{digest}"}
            for kind, digest in layers.items()
            if kind in kinds
        ]
        path.write_text(json.dumps({"layers": listed}))


def found(root):
    return {
        one.name: (one.path.rpartition("/")[2], one.projector and one.projector.rpartition("/")[2])
        for one in ollama_models(walk([Place(str(root))], Limits(), lambda: 0.0).files)
    }


def test_manifests_name_models_and_their_projectors(tmp_path):
    store(
        tmp_path,
        {"a1": GGUF, "b2": GGUF, "c3": b"a licence", "d4": GGUF},
        {
            "gemma3/12b": {"model": "a1", "projector": "b2", "license": "c3"},
            "llama3.2/latest": {"model": "d4"},
        },
    )
    assert found(tmp_path) == {
        "gemma3-12b": ("sha256-a1", "sha256-b2"),
        "llama3.2-latest": ("sha256-d4", None),
    }


def test_without_manifests_a_gguf_is_called_by_its_hash(tmp_path):
    store(tmp_path, {"0123456789abcdef": GGUF, "ffff": b"{}", "aaaa-partial": GGUF}, {})
    assert found(tmp_path) == {"ollama-0123456789ab": ("sha256-0123456789abcdef", None)}


def test_manifests_that_are_none_are_passed_over(tmp_path):
    store(tmp_path, {"a1": GGUF}, {"x/1": {"model": "a1"}})
    folder = tmp_path / "manifests/registry.ollama.ai/library/y"
    folder.mkdir()
    (folder / "1").write_text("not json")
    (folder / "2").write_text("[]")
    (folder / "3").write_text('{"layers": [1, {"mediaType": 5}]}')
    assert set(found(tmp_path)) == {"x-1"}
