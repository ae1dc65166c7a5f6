"""What a user's files ask for: services and modes, resolved and checked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gpumod.core.names import BLANK, ModeId, PresetId, ServiceId
from gpumod.core.units import GIB

PROMPT_CACHE: Final = 2 * GIB
"""llama.cpp's prompt cache beside a GPU, unless the preset says otherwise."""


class EngineKind(StrEnum):
    """The engine families that gpumod can run."""

    LLAMA_CPP = "llama.cpp"
    VLLM = "vllm"
    CONTAINER = "container"
    COMMAND = "command"


class Task(StrEnum):
    """What a service is asked to do; it decides the kind of the warm-up request."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    RERANK = "rerank"
    NONE = "none"
    """No warm-up request: a `command` that is not a language model."""


class OnFailure(StrEnum):
    """What a failed switch leaves behind."""

    RESTORE = "restore"
    BLANK = "blank"
    KEEP = "keep"


class Leave(StrEnum):
    """How a service makes room when the next mode does not want it."""

    STOP = "stop"
    SLEEP = "sleep"
    PARK = "park"


class RestartWhen(StrEnum):
    """When a service that exits by itself is started again."""

    FAILURE = "failure"
    NEVER = "never"


class AfterDeadline(StrEnum):
    """What happens to requests still running at the drain deadline."""

    CUT = "cut"
    REFUSE = "refuse"
    """The switch fails and the service goes on."""


class OnDemand(StrEnum):
    """What a request for a model of another mode may do. From the least to the most."""

    NEVER = "never"
    ASK = "ask"
    """It is answered with the plan; the client decides."""
    AUTO = "auto"
    """It starts the switch."""

    @property
    def rank(self) -> int:
        """Larger permits more."""
        return tuple(OnDemand).index(self)


class IdleAction(StrEnum):
    """What is done with a service, or a mode, that nobody has asked anything for a while."""

    STOP = "stop"
    SLEEP = "sleep"
    BLANK = "blank"


@dataclass(frozen=True, slots=True)
class Idle:
    """An idle policy: after so many seconds without a request, do that."""

    after: float
    then: IdleAction


@dataclass(frozen=True, slots=True)
class RequestShape:
    """What the gateway changes in the body of a request. Values are JSON texts.

    Args:
        defaults: members that are added where the client did not send them.
        set: members that are put in place of what the client sent.
        strip: members that are taken out.
        template: members of `chat_template_kwargs` that are put in place.
    """

    defaults: tuple[tuple[str, str], ...] = ()
    set: tuple[tuple[str, str], ...] = ()
    strip: tuple[str, ...] = ()
    template: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class KvCache:
    """Types of the key and the value cache, in the engine's own names."""

    k: str = "f16"
    v: str = "f16"


@dataclass(frozen=True, slots=True)
class Draft:
    """Speculative decoding: a built-in MTP head (`type: mtp`) or a model of its own."""

    type: str
    model: str | None = None
    n_max: int | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """How llama.cpp spreads a model over several cards. An empty ratio means evenly."""

    mode: str = "layer"
    ratio: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class DeclaredMemory:
    """A size that the user wrote, in bytes per card (one entry: the same on each card)."""

    sizes: tuple[int, ...]
    force: bool = False

    def per_card(self, count: int) -> tuple[int, ...] | None:
        """Sizes for `count` cards, None when the declaration has another number of entries."""
        if len(self.sizes) == 1:
            return self.sizes * count
        return self.sizes if len(self.sizes) == count else None


@dataclass(frozen=True, slots=True)
class CardRequest:
    """How many cards, or exactly which (UUIDs or NVML indexes, in the order given)."""

    count: int = 1
    exact: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drain:
    """How long running requests may take to finish, and what then."""

    deadline: float = 30.0
    then: AfterDeadline = AfterDeadline.CUT


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Restarts of a service that exits by itself: at most so many within so long."""

    when: RestartWhen = RestartWhen.FAILURE
    within: float = 600.0
    at_most: int = 3


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """Keys that only vLLM has. None means: not passed, vLLM's own default."""

    gpu_memory_utilization: float | None = None
    kv_cache_dtype: str | None = None
    kv_cache_memory: int | None = None
    max_num_batched_tokens: int | None = None
    mamba_cache_mode: str | None = None
    quantization: str | None = None
    dtype: str | None = None
    enforce_eager: bool = False


@dataclass(frozen=True, slots=True)
class LlamaOptions:
    """Keys that only llama.cpp has. None means: not passed, or gpumod's own choice."""

    gpu_layers: int | None = None
    cpu_moe_layers: int | None = None
    batch: int | None = None
    ubatch: int | None = None
    threads: int | None = None
    flash_attention: bool | None = None
    prompt_cache: int | None = None
    """Bytes of host memory for the states of earlier prompts."""

    def prompt_cache_size(self, *, on_host_card: bool) -> int:
        """The prompt cache in bytes. llama-server's own default is 8 GiB that no budget knows of."""
        if self.prompt_cache is not None:
            return self.prompt_cache
        return 0 if on_host_card else PROMPT_CACHE


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of the host that a container sees."""

    source: str
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class ContainerOptions:
    """How a container is run: its image, mounts and the port that the server inside listens on."""

    image: str
    port: int = 8000
    mounts: tuple[Mount, ...] = ()
    command: tuple[str, ...] = ()
    runtime: str | None = None
    """`podman` or `docker`; None takes the first that is installed."""


@dataclass(frozen=True, slots=True)
class CommandOptions:
    """Any OpenAI-compatible server. `${PORT}` stands for the service's port.

    `ready` and `in_flight` are HTTP paths; `in_flight` may name a JSON field: `/load#running`.
    """

    cmd: tuple[str, ...]
    ready: str = "/v1/models"
    in_flight: str | None = None
    stop_cmd: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One service as its files ask for it: a preset with the mode's overrides applied.

    Args:
        id: the service's own id; the preset's id unless the mode gives another.
        context: tokens per slot.
        slots: requests that run at once.
        vram: bytes per card as declared; None means learned, else estimated.
        ram: bytes on the host as declared; None means estimated.
        memory_max: bytes of host memory above which the service is killed; only systemd enforces it.
        env: sorted pairs.
    """

    id: ServiceId
    preset: PresetId
    engine: EngineKind
    model: str | None = None
    served_name: str | None = None
    mmproj: str | None = None
    task: Task = Task.CHAT
    context: int | None = None
    slots: int | None = None
    kv_cache: KvCache | None = None
    draft: Draft | None = None
    vram: DeclaredMemory | None = None
    ram: int | None = None
    memory_max: int | None = None
    cards: CardRequest = CardRequest()
    split: Split | None = None
    sampler: tuple[tuple[str, float], ...] = ()
    aliases: tuple[str, ...] = ()
    port: int | None = None
    startup_timeout: float = 600.0
    drain: Drain = Drain()
    stop_grace: float = 20.0
    leave: Leave = Leave.STOP
    restart: RestartPolicy = RestartPolicy()
    depends_on: tuple[ServiceId, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    binary: str | None = None
    """The engine's program for this preset; None takes the configured one."""
    llama: LlamaOptions = LlamaOptions()
    vllm: VllmOptions = VllmOptions()
    container: ContainerOptions | None = None
    command: CommandOptions | None = None
    idle: Idle | None = None
    """`stop` or `sleep`."""
    requests: RequestShape = RequestShape()
    upstream_key: str | None = None
    """A file with the key that the engine itself asks for."""

    @property
    def name(self) -> str:
        """The model name that the engine is told to serve and must answer with."""
        return self.served_name or str(self.id)


@dataclass(frozen=True, slots=True)
class Mode:
    """A named set of services."""

    id: ModeId
    description: str = ""
    services: tuple[ServiceSpec, ...] = ()
    routes: tuple[tuple[str, ServiceId], ...] = ()
    on_failure: OnFailure = OnFailure.RESTORE
    shapes: tuple[tuple[str, RequestShape], ...] = ()
    """What a route changes in requests, by the route's name; it comes before the service's own."""
    on_demand: OnDemand | None = None
    """Whether requests may start a switch to it; None: as the settings say."""
    idle: Idle | None = None
    """`blank`, or `stop`, which stops its services one by one."""


BLANK_MODE = Mode(id=BLANK, description="Nothing of ours runs", on_failure=OnFailure.KEEP)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a user's file. `line` is 1-based; `key` a dotted path."""

    file: str
    detail: str
    line: int | None = None
    key: str = ""
    suggestion: str = ""
    warning: bool = False
    """Worth knowing, but nothing is disabled because of it."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """All presets and modes that can be used, and what is wrong with the others."""

    presets: tuple[ServiceSpec, ...] = ()
    modes: tuple[Mode, ...] = (BLANK_MODE,)
    problems: tuple[Problem, ...] = ()
    disabled: tuple[tuple[str, str], ...] = ()
    """Ids of presets and modes that may not be used, each with the reason."""

    def mode(self, mode_id: ModeId) -> Mode | None:
        """The mode of that id, or None."""
        return next((mode for mode in self.modes if mode.id == mode_id), None)

    def preset(self, preset_id: PresetId) -> ServiceSpec | None:
        """The preset of that id as a service of the same id, or None."""
        return next((preset for preset in self.presets if preset.preset == preset_id), None)
