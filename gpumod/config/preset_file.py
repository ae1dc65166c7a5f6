"""What a preset file may say, engine by engine."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from gpumod.config.fields import (
    INSIDE_PATTERN,
    PROGRAM_PATTERN,
    WORD_PATTERN,
    Cards,
    Count,
    CountOrNone,
    DraftLength,
    Duration,
    Id,
    LongerThanZero,
    ModelName,
    Number,
    Port,
    Program,
    Share,
    Size,
    Strict,
    Text,
    UrlPath,
    VariableName,
    Vram,
    Whole,
    Word,
)
from gpumod.config.request_file import RequestsFile, ServiceIdle
from gpumod.core.spec import AfterDeadline, EngineKind, Leave, RestartWhen, Task


class KvCacheFile(Strict):
    """Types of the key and the value cache."""

    k: Word = "f16"
    v: Word = "f16"


def _both(value: object) -> object:
    return {"k": value, "v": value} if isinstance(value, str) else value


KvCache = Annotated[
    KvCacheFile,
    BeforeValidator(_both),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": WORD_PATTERN},
                {
                    "type": "object",
                    "properties": {name: {"type": "string", "pattern": WORD_PATTERN} for name in "kv"},
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


class DraftFile(Strict):
    """Speculative decoding: `{type: mtp, n_max: 2}` or `{model: ...}`."""

    type: Literal["mtp", "model"] = "model"
    model: Program | None = None
    n_max: DraftLength | None = None


class SplitFile(Strict):
    """How a model is spread over several cards."""

    mode: Literal["layer", "row", "tensor", "none"] = "layer"
    ratio: list[Annotated[float, Field(ge=0, le=1e6)]] | None = None


class SamplerFile(Strict):
    """Defaults for requests that do not say."""

    temperature: Number | None = None
    top_p: Number | None = None
    top_k: Whole | None = None
    min_p: Number | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    repeat_penalty: Number | None = None
    repeat_last_n: Whole | None = None
    seed: Whole | None = None


class DrainFile(Strict):
    """How long running requests may take, and what then."""

    deadline: Duration | None = None
    then: Annotated[AfterDeadline, Field(strict=False)] | None = None


class RestartFile(Strict):
    """Restarts of a service that exits by itself."""

    when: Annotated[RestartWhen, Field(strict=False)] | None = None
    within: LongerThanZero | None = None
    at_most: CountOrNone | None = None


class LlamaFile(Strict):
    """What only llama.cpp has."""

    gpu_layers: CountOrNone | None = None
    cpu_moe_layers: CountOrNone | None = None
    batch: Count | None = None
    ubatch: Count | None = None
    threads: Count | None = None
    flash_attention: bool | None = None
    prompt_cache: Size | None = None


class VllmFile(Strict):
    """What only vLLM has."""

    gpu_memory_utilization: Share | None = None
    kv_cache_dtype: Word | None = None
    kv_cache_memory: Size | None = None
    max_num_batched_tokens: Count | None = None
    mamba_cache_mode: Word | None = None
    quantization: Word | None = None
    dtype: Word | None = None
    enforce_eager: bool | None = None


class MountFile(Strict):
    """A folder of the host that a container sees."""

    source: Program
    target: Annotated[str, Field(pattern=INSIDE_PATTERN)]
    read_only: bool = True


def _mount(value: object) -> object:
    """`/host:/inside`, `/host:/inside:rw`: read-only unless it says otherwise."""
    if not isinstance(value, str):
        return value
    parts = value.split(":")
    if len(parts) not in {2, 3} or (len(parts) == 3 and parts[2] not in {"ro", "rw"}):
        raise ValueError(
            f"{value[:80]!r} is not a mount: write /host/folder:/inside, with :rw behind it to write"
        )
    return {"source": parts[0], "target": parts[1], "read_only": parts[2:] != ["rw"]}


Mount = Annotated[
    MountFile,
    BeforeValidator(_mount),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^[^:\x00-][^:\x00]*:/[^:\x00]*(:(ro|rw))?$"},
                {
                    "type": "object",
                    "properties": {
                        "source": {"type": "string", "pattern": PROGRAM_PATTERN},
                        "target": {"type": "string", "pattern": INSIDE_PATTERN},
                        "read_only": {"type": "boolean"},
                    },
                    "required": ["source", "target"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


class ContainerFile(Strict):
    """How a container is run."""

    image: Program
    port: Port | None = None
    mounts: list[Mount] | None = None
    command: list[Text] | None = None
    runtime: Literal["podman", "docker"] | None = None


class CommandFile(Strict):
    """Any OpenAI-compatible server; `${PORT}` stands for the service's port."""

    cmd: Annotated[list[Text], Field(min_length=1)]
    ready: UrlPath | None = None
    in_flight: UrlPath | None = None
    stop_cmd: Annotated[list[Text], Field(min_length=1)] | None = None


class PresetFile(Strict):
    """Keys that every preset may have. A key without a value (null) is as good as no key."""

    id: Id
    served_name: ModelName | None = None
    task: Annotated[Task, Field(strict=False)] | None = None
    vram: Vram = None
    ram: Size | None = None
    memory_max: Size | None = None
    cards: Cards | None = None
    aliases: list[ModelName] | None = None
    port: Port | None = None
    startup_timeout: LongerThanZero | None = None
    drain: DrainFile | None = None
    stop_grace: Duration | None = None
    leave: Annotated[Leave, Field(strict=False)] | None = None
    restart: RestartFile | None = None
    depends_on: list[Id] | None = None
    args: list[Text] | None = None
    env: dict[VariableName, Text] | None = None
    idle: ServiceIdle | None = None
    requests: RequestsFile | None = None


class LlamaPreset(PresetFile):
    """A preset for llama.cpp."""

    engine: Literal["llama.cpp"]
    model: Program
    binary: Program | None = None
    mmproj: Program | None = None
    context: Count | None = None
    slots: Count | None = None
    kv_cache: KvCache | None = None
    draft: DraftFile | None = None
    split: SplitFile | None = None
    sampler: SamplerFile | None = None
    llama: LlamaFile | None = None


class VllmPreset(PresetFile):
    """A preset for vLLM."""

    engine: Literal["vllm"]
    model: Program
    binary: Program | None = None
    context: Count | None = None
    slots: Count | None = None
    draft: DraftFile | None = None
    sampler: SamplerFile | None = None
    vllm: VllmFile | None = None


class ContainerPreset(PresetFile):
    """A preset for a container with an OpenAI-compatible server in it."""

    engine: Literal["container"]
    model: Program | None = None
    upstream_key_file: Program | None = None
    container: ContainerFile


class CommandPreset(PresetFile):
    """A preset for any OpenAI-compatible server."""

    engine: Literal["command"]
    model: Program | None = None
    upstream_key_file: Program | None = None
    command: CommandFile


AnyPresetFile = LlamaPreset | VllmPreset | ContainerPreset | CommandPreset
AnyPreset = Annotated[AnyPresetFile, Field(discriminator="engine")]

PRESET_MODELS: Final[dict[EngineKind, type[AnyPresetFile]]] = {
    EngineKind.LLAMA_CPP: LlamaPreset,
    EngineKind.VLLM: VllmPreset,
    EngineKind.CONTAINER: ContainerPreset,
    EngineKind.COMMAND: CommandPreset,
}
