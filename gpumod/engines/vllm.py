"""vLLM: `vllm serve`.

Facts that shape this file: it refuses connections until it is ready and never answers 503 while it loads (a
503 of `/health` means that its engine core has died); it measures its cards while it starts; engine core and
workers hold the memory and outlive a killed API server; after a crash of the engine core it exits with 0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from gpumod.core.bounds import DEFAULT_BOUNDS, Bounds
from gpumod.core.names import HOST_CARD, CardId
from gpumod.core.ports import Check, EngineBuild, ProbeAnswer, Rung
from gpumod.core.service import ExitReport, FileIdentity, Launch
from gpumod.core.spec import Draft, EngineKind, LlamaOptions, ServiceSpec, Task
from gpumod.core.states import ServiceState
from gpumod.engines import pinning, programs
from gpumod.engines.args import contradictions, fingerprint, flags, given_of, meant, owned
from gpumod.engines.aside import ANSWER, aside
from gpumod.engines.checkpoints import checkpoint_files
from gpumod.engines.ladders import ladder
from gpumod.engines.llama_cpp import not_built
from gpumod.engines.llama_flags import Piece
from gpumod.engines.logs import explain
from gpumod.engines.probing import ListenerProbe, readiness, requests_in_metrics, warm_up

_REQUESTS: Final = ("vllm:num_requests_running", "vllm:num_requests_waiting")
_UUIDS_SINCE: Final = (0, 23)
"""Earlier versions read CUDA_VISIBLE_DEVICES as numbers."""
_RUNNER_SINCE: Final = (0, 11)
"""`--runner pooling` in place of `--task`."""

_SAMPLER: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repeat_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}

OWNED: Final = (
    owned("port", "--port"),
    owned("engines listen on loopback only: remove it", "--host", "--uds"),
    owned("clients use gpumod's gateway, which has keys: remove it", "--api-key"),
    owned("gpumod asks its engines by plain HTTP at the root: remove it",
          "--root-path", "--ssl-keyfile", "--ssl-certfile"),
    owned("a second file would hide keys from planning: write them in the preset", "--config"),
    owned("served_name", "--served-model-name"),
    owned("model", "--model"),
    owned("cards", "--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "-pp",
          "--data-parallel-size", "-dp"),
    owned("context", "--max-model-len"),
    owned("slots", "--max-num-seqs"),
    owned("draft", "--speculative-config", "-sc"),
    owned("task", "--task", "--runner", "--convert"),
    owned("leave", "--enable-sleep-mode"),
    owned("vllm.gpu_memory_utilization", "--gpu-memory-utilization"),
    owned("vllm.kv_cache_dtype", "--kv-cache-dtype"),
    owned("vllm.kv_cache_memory", "--kv-cache-memory-bytes", "--kv-cache-memory"),
    owned("vllm.max_num_batched_tokens", "--max-num-batched-tokens"),
    owned("vllm.mamba_cache_mode", "--mamba-cache-mode"),
    owned("vllm.quantization", "--quantization", "-q"),
    owned("vllm.dtype", "--dtype"),
    owned("vllm.enforce_eager", "--enforce-eager"),
)  # fmt: skip
"""Flags that users may not give, because a planner has to see them, or because gpumod lives by them."""

_WORDS: Final = {
    "dtype": ("auto", "half", "float16", "bfloat16", "float", "float32"),
    "mamba_cache_mode": ("all", "align", "none"),
}
"""`ModelDType` (config/model.py) and `MambaCacheMode` (config/cache.py); recent versions have no `all`."""
_WORDS_BY_VERSION: Final = {
    "kv_cache_dtype": (
        "auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc", "fp8_ds_mla",
        "nvfp4_ds_mla", "turboquant_k8v4", "turboquant_4bit_nc", "turboquant_k3v4_nc", "turboquant_3bit_nc",
        "ultraquant_4bit", "int4_per_token_head", "int8_per_token_head", "fp8_per_token_head", "nvfp4",
        "nvfp4_4over6",
    ),
    "quantization": (
        "awq", "auto_awq", "awq_marlin", "auto_gptq", "gptq", "gptq_marlin", "gptq_marlin_24", "fp8",
        "fbgemm_fp8", "fp_quant", "modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed", "gguf",
        "humming", "compressed-tensors", "bitsandbytes", "experts_int8", "quark", "moe_wna16", "torchao",
        "auto-round", "inc", "mxfp4", "gpt_oss_mxfp4", "deepseek_v4_fp8", "petit_nvfp4", "cpu_awq", "rtn",
        "hqq", "bitblas", "gptq_bitblas", "deepspeedfp", "ptpc_fp8", "tpu_int8", "ipex", "online",
        "fp8_per_tensor", "fp8_per_block", "fp8_per_channel", "int8_per_channel_weight_only",
        "nvfp4_per_token", "mxfp8",
    ),
}  # fmt: skip
"""`CacheDType` (config/cache.py) and `QuantizationMethods` (model_executor/layers/quantization) from 0.10 to
0.32. Later versions will have more, and plugins add their own."""

_HOST_MEMORY: Final = ("--cpu-offload-gb", "--kv-offloading-size", "--swap-space")
_CARD_MEMORY: Final = ("--enable-lora", "--decode-context-parallel-size", "-dcp")
"""Flags that change how much is taken, and that neither a key nor the estimate knows."""

_GENERATION: Final = "--override-generation-config"


class VllmEngine:
    """The port `Engine` for vLLM."""

    kind = EngineKind.VLLM
    exclusive_start = True

    def __init__(
        self,
        host: ListenerProbe,
        program: str = "vllm",
        bounds: Bounds = DEFAULT_BOUNDS,
        base_env: Mapping[str, str] | None = None,
    ) -> None:
        self._host = host
        self._base_env = dict(base_env or {})
        self._program = program
        self._bounds = bounds
        self._builds = programs.Builds(_describe)

    async def build(self, spec: ServiceSpec) -> EngineBuild | str:
        """The program and its version, read beside it: `vllm --version` imports for ten seconds."""
        return await self._builds.of(spec.binary or self._program)

    def check(self, spec: ServiceSpec, build: EngineBuild | None) -> Check:
        """Arguments that belong to keys, and keys that vLLM does not have."""
        del build
        wrong = [
            *contradictions(spec.args, OWNED, argparse=True),
            *_problems(spec),
            *_wrong_words(spec),
            *pinning.problems(spec),
        ]
        return Check(tuple(wrong), not_built(spec), tuple(_warnings(spec)))

    def files(self, spec: ServiceSpec) -> tuple[str, ...]:
        """`config.json` and every weight file of a local folder; none of a model by its hub name."""
        models = (spec.model, spec.draft.model if spec.draft else None)
        folders = [Path(model) for model in models if model and is_local(model)]
        return tuple(path for folder in folders for path in checkpoint_files(folder))

    def compose(
        self,
        spec: ServiceSpec,
        build: EngineBuild,
        *,
        cards: tuple[CardId, ...],
        card_indexes: Mapping[CardId, int],
        port: int,
        files: tuple[FileIdentity, ...],
        generation: int,
        split: tuple[int, ...] = (),
    ) -> Launch:
        """The launch record; pinned by UUID, or by index where the version needs that."""
        del generation, split
        pieces = tuple(_pieces(spec, build, cards, port))
        by_uuid = version_of(build) >= _UUIDS_SINCE
        pins = pinning.visible_by_uuid(cards) if by_uuid else pinning.visible_by_index(cards, card_indexes)
        memory = [piece.words for piece in pieces if piece.memory]
        return Launch(
            engine=self.kind,
            argv=(build.path, "serve", *(word for piece in pieces for word in piece.words)),
            env=pinning.environment(self._base_env | _environment(spec), spec, pins),
            port=port,
            cards=cards,
            files=files,
            build=build.version,
            fingerprint=fingerprint(build, files, len(cards), [*memory, spec.env]),
        )

    async def probe(self, spec: ServiceSpec, launch: Launch) -> ProbeAnswer:
        """Nothing listens while it loads."""
        return await readiness(launch.port, spec.name, self._bounds.probe, loading=())

    async def warm_up(self, spec: ServiceSpec, launch: Launch) -> str:
        """One request of the task's kind."""
        return await warm_up(launch.port, spec.name, spec.task, self._bounds.warm_up)

    def counts_requests(self, spec: ServiceSpec) -> bool:
        """Always: its metrics cannot be switched off."""
        del spec
        return True

    async def in_flight(self, spec: ServiceSpec, launch: Launch) -> int | None:
        """Running and waiting requests."""
        del spec
        return await requests_in_metrics(launch.port, _REQUESTS, self._bounds.probe)

    def ladder(
        self, spec: ServiceSpec, launch: Launch, *, state: ServiceState, drained: bool
    ) -> tuple[Rung, ...]:
        """As in `ladders`."""
        del launch
        return ladder(spec, self._bounds, state, drained=drained)

    def explain(
        self, lines: Sequence[str], exit_report: ExitReport | None, launch: Launch | None = None
    ) -> str:
        """From the log."""
        return explain(lines, exit_report, launch.cards if launch else ())

    async def clean(self, spec: ServiceSpec, launch: Launch) -> None:
        """Nothing is left outside the tree."""

    async def outside(self, spec: ServiceSpec, launch: Launch) -> tuple[int, ...]:
        """Nobody: engine core and workers are in the tree."""
        del spec, launch
        return ()

    async def owns_listener(self, spec: ServiceSpec, launch: Launch, pids: Collection[int]) -> bool | None:
        """Whether one of the tree's processes listens."""
        del spec
        return await self._host.listens(launch.port, pids)


def is_local(model: str) -> bool:
    """Whether a model is a folder of this box rather than a name on the hub."""
    return model.startswith(("/", "./", "../", "~"))


def version_of(build: EngineBuild) -> tuple[int, int]:
    """Major and minor version; an unknown one counts as recent."""
    match = re.match(r"(\d+)\.(\d+)", build.version)
    return (int(match[1]), int(match[2])) if match else (999, 0)


def _problems(spec: ServiceSpec) -> Iterator[str]:
    if not spec.model:
        yield "model: vLLM needs a folder or a name on the hub"
    if spec.mmproj is not None:
        yield "mmproj: vLLM takes the projector from the model itself: remove it"
    if spec.kv_cache is not None:
        yield "kv_cache: vLLM has one type for keys and values: use `vllm.kv_cache_dtype`"
    if spec.split is not None:
        yield "split: vLLM splits evenly over its cards: remove it"
    if spec.llama != LlamaOptions():
        yield "llama: these keys are llama.cpp's: remove them"
    for key, _ in spec.sampler:
        if key not in _SAMPLER:
            yield f"sampler: vLLM has no `{key}`; it has {', '.join(_SAMPLER)}"
    if spec.sampler and any(given.name.startswith(_GENERATION) for given in flags(spec.args)):
        yield f"args: `{_GENERATION}` sets what the key `sampler` sets: keep one of them"
    if any(key == "VLLM_API_KEY" for key, _ in spec.env):
        yield "env: `VLLM_API_KEY` would keep gpumod out: clients use gpumod's gateway, which has keys"


def _wrong_words(spec: ServiceSpec) -> Iterator[str]:
    """What is said of words that no version takes."""
    for key, known in _WORDS.items():
        word = getattr(spec.vllm, key)
        if word is not None and word not in known:
            yield f"vllm.{key}: vLLM has no {word!r}{meant(word, known)}; it has {', '.join(known)}"


def _warnings(spec: ServiceSpec) -> Iterator[str]:
    """What a user should know but may want; sentences."""
    if spec.ram is None:
        for name in given_of(spec.args, _HOST_MEMORY, argparse=True):
            yield f"args: `{name}` takes host memory that gpumod does not reckon: declare `ram` with it"
    if spec.vram is None:
        for name in given_of(spec.args, _CARD_MEMORY, argparse=True):
            yield f"args: `{name}` changes what the cards hold, which gpumod does not reckon: declare `vram`"
    for key, known in _WORDS_BY_VERSION.items():
        word = getattr(spec.vllm, key)
        if word is not None and word not in known:
            yield f"vllm.{key}: gpumod knows of no vLLM that has {word!r}{meant(word, known)}"


def _pieces(spec: ServiceSpec, build: EngineBuild, cards: tuple[CardId, ...], port: int) -> Iterator[Piece]:
    options = spec.vllm
    yield Piece((spec.model or "",))
    yield Piece(("--host", "127.0.0.1", "--port", str(port)), memory=False)
    yield Piece(("--served-model-name", spec.name), memory=False)
    if cards != (HOST_CARD,):
        yield Piece(("--tensor-parallel-size", str(len(cards))))
    for flag, value in (
        ("--max-model-len", spec.context),
        ("--max-num-seqs", spec.slots),
        ("--gpu-memory-utilization", options.gpu_memory_utilization),
        ("--kv-cache-dtype", options.kv_cache_dtype),
        ("--kv-cache-memory-bytes", options.kv_cache_memory),
        ("--max-num-batched-tokens", options.max_num_batched_tokens),
        ("--mamba-cache-mode", options.mamba_cache_mode),
        ("--quantization", options.quantization),
        ("--dtype", options.dtype),
    ):
        if value is not None:
            yield Piece((flag, str(value)))
    if options.enforce_eager:
        yield Piece(("--enforce-eager",))
    if spec.task in {Task.EMBEDDING, Task.RERANK}:
        yield Piece(_pooling(spec.task, build))
    if spec.draft is not None:
        yield Piece(("--speculative-config", json.dumps(_speculative(spec.draft))))
    if spec.sampler:
        defaults = {_SAMPLER[key]: value for key, value in spec.sampler if key in _SAMPLER}
        yield Piece((_GENERATION, json.dumps(defaults)), memory=False)
    yield Piece(spec.args)


def _pooling(task: Task, build: EngineBuild) -> tuple[str, str]:
    if version_of(build) >= _RUNNER_SINCE:
        return ("--runner", "pooling")
    return ("--task", "embed" if task is Task.EMBEDDING else "score")


def _speculative(draft: Draft) -> dict[str, object]:
    config: dict[str, object] = {"num_speculative_tokens": draft.n_max or 1}
    if draft.model is not None:
        config["model"] = draft.model
    if draft.type and draft.type != "model":
        config["method"] = draft.type
    return config


def _environment(spec: ServiceSpec) -> dict[str, str]:
    offline = {"HF_HUB_OFFLINE": "1"} if is_local(spec.model or "") else {}
    return {"VLLM_NO_USAGE_STATS": "1", **offline}


async def _describe(identity: FileIdentity) -> EngineBuild | str:
    try:
        version = await aside(identity.path, lambda: installed_version(Path(identity.path)))
    except TimeoutError:
        return f"{identity.path}: its file system does not answer within {ANSWER:g} s"
    return EngineBuild(identity.path, version, identity=identity)


def installed_version(program: Path) -> str:
    """The version of the vllm distribution that a script belongs to, by its interpreter's site-packages."""
    try:
        with program.open("rb") as file:
            first = file.readline(512).decode(errors="replace")
    except OSError:
        return "unknown"
    interpreter = first.removeprefix("#!").split(" ")[0].strip() if first.startswith("#!") else ""
    root = Path(interpreter).parent.parent if interpreter else program.parent.parent
    for pattern in (
        "lib/python3*/site-packages/vllm-*.dist-info",
        "lib/python3*/site-packages/vllm_*.dist-info",
    ):
        for folder in root.glob(pattern):
            return folder.name.removesuffix(".dist-info").rpartition("-")[2]
    return "unknown"
