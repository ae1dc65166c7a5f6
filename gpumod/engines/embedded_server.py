"""llama.cpp's own HTTP server out of the `xllamacpp` wheel, behind llama-server's command line.

This file is a program: it runs as `python -P embedded_server.py --model FILE --port N ...` and imports
nothing of gpumod, so that it starts in a tenth of a second. It takes those flags of llama-server that gpumod
composes and the usual others, and ends as llama-server does:

* 1 for every failure: a bad flag, a file that does not load, a port that is taken;
* SIGTERM and SIGINT kill at once while the model loads (nobody has installed a handler yet);
* afterwards the first one stops cleanly, waits for clients as llama-server does, and exits 0; a second kills.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

PROGRAM: Final = "gpumod-llama-server"
_LOG_LAG: Final = 0.2
INSTALL_HINT: Final = "install it with: pip install 'gpumod[embedded]'"

_KV_TYPES: Final = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
_LOAD_MODES: Final = {
    "auto": "AUTO",
    "none": "NONE",
    "mmap": "MMAP",
    "mlock": "MLOCK",
    "mmap+mlock": "MMAP_MLOCK",
    "dio": "DIRECT_IO",
}
_FLASH: Final = {"on": "ENABLED", "off": "DISABLED", "auto": "AUTO"}
_SPECULATIVE: Final = ("none", "draft-simple", "draft-mtp")
_SPLIT_MODES: Final = ("none", "layer", "row", "tensor")
_POOLING: Final = ("none", "mean", "cls", "last", "rank")


class UsageError(Exception):
    """The command line cannot be obeyed; the message is for the user."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: its spellings, what its value is called ("" for a switch), and how it is applied."""

    names: tuple[str, ...]
    value: str
    about: str
    apply: Callable[[Any, Any, str], None]


def _set(path: str, convert: Callable[[str], object]) -> Callable[[Any, Any, str], None]:
    """Sets `params.a.b` to the converted value."""
    *parents, last = path.split(".")

    def apply(_library: Any, params: Any, text: str) -> None:
        target = params
        for parent in parents:
            target = getattr(target, parent)
        setattr(target, last, convert(text))

    return apply


def _switch(path: str, *, value: bool) -> Callable[[Any, Any, str], None]:
    return _set(path, lambda _text: value)


def _enum(path: str, family: str, prefix: str, names: dict[str, str]) -> Callable[[Any, Any, str], None]:
    """Sets an enumeration of the library by the word that the command line uses."""

    def apply(library: Any, params: Any, text: str) -> None:
        if text not in names:
            raise UsageError(f"{text!r} is none of {', '.join(names)}")
        _set(path, lambda _text: getattr(getattr(library, family), prefix + names[text]))(
            library, params, text
        )

    return apply


def _same(names: Sequence[str]) -> dict[str, str]:
    return {name: name.upper() for name in names}


def _alias(_library: Any, params: Any, text: str) -> None:
    params.model_alias = {name.strip() for name in text.split(",")}


def _hosts(_library: Any, params: Any, text: str) -> None:
    params.hostnames = text.split(",")


def _gpu_layers(path: str) -> Callable[[Any, Any, str], None]:
    """-1 is llama.cpp's `auto`, -2 its `all`."""
    return _set(path, lambda text: {"auto": -1, "all": -2}.get(text) or int(text))


def _devices(library: Any, _params: Any, text: str) -> None:
    """The wheel has no list of devices to set: what is asked for must be what it has."""
    there = [one["name"] for one in library.get_device_info() if one["name"] != "CPU"]
    wanted = [] if text == "none" else text.split(",")
    if missing := [name for name in wanted if name not in there]:
        has = ", ".join(there) or "the CPU only"
        raise UsageError(f"no device {', '.join(missing)}: this build of xllamacpp has {has}")


def _speculative(library: Any, params: Any, text: str) -> None:
    kinds = text.split(",")
    if unknown := [kind for kind in kinds if kind not in _SPECULATIVE]:
        raise UsageError(f"{', '.join(unknown)}: supported are {', '.join(_SPECULATIVE)}")
    family = library.common_speculative_type
    params.speculative.types = [
        getattr(family, "COMMON_SPECULATIVE_TYPE_" + kind.replace("-", "_").upper()) for kind in kinds
    ]


def _template_kwargs(_library: Any, params: Any, text: str) -> None:
    """llama.cpp keeps each value as JSON text."""
    given = json.loads(text)
    if not isinstance(given, dict):
        raise UsageError("a JSON object is needed")
    params.default_template_kwargs = {key: json.dumps(value) for key, value in given.items()}


def _template_file(_library: Any, params: Any, text: str) -> None:
    with open(text, encoding="utf-8") as file:  # noqa: PTH123 - pathlib would be this program's slowest import
        params.chat_template = file.read()


def _tensor_split(_library: Any, params: Any, text: str) -> None:
    shares = [float(share) for share in text.split(",")]
    params.tensor_split = shares + [0.0] * (len(params.tensor_split) - len(shares))


def _embedding(_library: Any, params: Any, _text: str) -> None:
    params.embedding = True


def _rerank(library: Any, params: Any, _text: str) -> None:
    params.embedding = True
    params.pooling_type = library.llama_pooling_type.LLAMA_POOLING_TYPE_RANK


def _fit(_library: Any, params: Any, text: str) -> None:
    if text not in {"on", "off"}:
        raise UsageError(f"{text!r} is neither on nor off")
    params.fit_params = text == "on"


def _threads(path: str) -> Callable[[Any, Any, str], None]:
    """Not positive means: as many as there are cores."""
    return _set(path, lambda text: number if (number := int(text)) > 0 else (os.cpu_count() or 1))


FLAGS: Final = (
    Flag(("-m", "--model"), "FNAME", "model path to load", _set("model.path", str)),
    Flag(("-mm", "--mmproj"), "FILE", "path to a multimodal projector file", _set("mmproj.path", str)),
    Flag(("--no-mmproj-offload",), "", "keep it in host memory", _switch("mmproj_use_gpu", value=False)),
    Flag(("-a", "--alias"), "STRING", "model name aliases, comma-separated", _alias),
    Flag(("--host",), "HOST", "address to listen on (default: 127.0.0.1)", _hosts),
    Flag(("--port",), "PORT", "port to listen on", _set("port", int)),
    Flag(("--metrics",), "", "enable the Prometheus endpoint", _switch("endpoint_metrics", value=True)),
    Flag(("--props",), "", "enable POST /props", _switch("endpoint_props", value=True)),
    Flag(("--slots",), "", "expose /slots (default)", _switch("endpoint_slots", value=True)),
    Flag(("--no-slots",), "", "do not expose /slots", _switch("endpoint_slots", value=False)),
    Flag(("-c", "--ctx-size"), "N", "context of all slots together (0: the model's)", _set("n_ctx", int)),
    Flag(("-np", "--parallel"), "N", "number of slots", _set("n_parallel", int)),
    Flag(("-b", "--batch-size"), "N", "logical maximum batch size", _set("n_batch", int)),
    Flag(("-ub", "--ubatch-size"), "N", "physical maximum batch size", _set("n_ubatch", int)),
    Flag(("-n", "--predict", "--n-predict"), "N", "tokens to predict by default", _set("n_predict", int)),
    Flag(("--keep",), "N", "tokens to keep from the prompt", _set("n_keep", int)),
    Flag(("-t", "--threads"), "N", "CPU threads", _threads("cpuparams.n_threads")),
    Flag(("-tb", "--threads-batch"), "N", "CPU threads for prompts", _threads("cpuparams_batch.n_threads")),
    Flag(("--threads-http",), "N", "threads for HTTP requests", _set("n_threads_http", int)),
    Flag(("--poll",), "0...100", "how busily threads wait for work", _set("cpuparams.poll", int)),
    Flag(
        ("-fa", "--flash-attn"),
        "[on|off|auto]",
        "flash attention ('on', 'off', or 'auto')",
        _enum("flash_attn_type", "llama_flash_attn_type", "LLAMA_FLASH_ATTN_TYPE_", _FLASH),
    ),
    Flag(
        ("-ctk", "--cache-type-k"), "TYPE", "type of the key cache",
        _enum("cache_type_k", "ggml_type", "GGML_TYPE_", _same(_KV_TYPES)),
    ),
    Flag(
        ("-ctv", "--cache-type-v"), "TYPE", "type of the value cache",
        _enum("cache_type_v", "ggml_type", "GGML_TYPE_", _same(_KV_TYPES)),
    ),
    Flag(("-kvu", "--kv-unified"), "", "one KV buffer for all slots", _switch("kv_unified", value=True)),
    Flag(("-no-kvu", "--no-kv-unified"), "", "one per slot (default)", _switch("kv_unified", value=False)),
    Flag(("-nkvo", "--no-kv-offload"), "", "keep it in host memory", _switch("no_kv_offload", value=True)),
    Flag(("--swa-full",), "", "full-size cache for sliding windows", _switch("swa_full", value=True)),
    Flag(("-cram", "--cache-ram"), "N", "MiB of host memory for prompts", _set("cache_ram_mib", int)),
    Flag(("--cache-reuse",), "N", "min chunk to reuse by KV shifting", _set("n_cache_reuse", int)),
    Flag(("--no-cache-prompt",), "", "no prompt caching", _switch("cache_prompt", value=False)),
    Flag(("--context-shift",), "", "shift the context when it is full", _switch("ctx_shift", value=True)),
    Flag(
        ("-lm", "--load-mode"), "MODE", f"one of {', '.join(_LOAD_MODES)}",
        _enum("load_mode", "llama_load_mode", "LLAMA_LOAD_MODE_", _LOAD_MODES),
    ),
    Flag(("-dev", "--device"), "<dev1,dev2,..>", "devices to use (none: the CPU)", _devices),
    Flag(("-ngl", "--gpu-layers", "--n-gpu-layers"), "N", "layers on the GPUs", _gpu_layers("n_gpu_layers")),
    Flag(
        ("-sm", "--split-mode"), "{none,layer,row,tensor}", "how to use several GPUs",
        _enum("split_mode", "llama_split_mode", "LLAMA_SPLIT_MODE_", _same(_SPLIT_MODES)),
    ),
    Flag(("-ts", "--tensor-split"), "N0,N1,...", "share of each GPU", _tensor_split),
    Flag(("-mg", "--main-gpu"), "INDEX", "the first GPU", _set("main_gpu", int)),
    Flag(("-fit", "--fit"), "[on|off]", "shrink what was not given until it fits", _fit),
    Flag(("--no-warmup",), "", "no empty run after loading", _switch("warmup", value=False)),
    Flag(("--check-tensors",), "", "look for invalid weights", _switch("check_tensors", value=True)),
    Flag(("--spec-type",), ",".join(_SPECULATIVE), "types of speculative decoding", _speculative),
    Flag(
        ("-md", "--model-draft", "--spec-draft-model"), "FNAME", "draft model",
        _set("speculative.draft.mparams.path", str),
    ),
    Flag(("--spec-draft-n-max",), "N", "tokens to draft", _set("speculative.draft.n_max", int)),
    Flag(("--spec-draft-n-min",), "N", "least tokens to draft", _set("speculative.draft.n_min", int)),
    Flag(
        ("-ngld", "--gpu-layers-draft", "--n-gpu-layers-draft", "--spec-draft-ngl"), "N",
        "layers of the draft model on the GPUs", _gpu_layers("speculative.draft.n_gpu_layers"),
    ),
    Flag(("-s", "--seed"), "SEED", "seed of the sampler", _set("sampling.seed", int)),
    Flag(("--temp", "--temperature"), "N", "temperature", _set("sampling.temp", float)),
    Flag(("--top-k",), "N", "top-k sampling", _set("sampling.top_k", int)),
    Flag(("--top-p",), "N", "top-p sampling", _set("sampling.top_p", float)),
    Flag(("--min-p",), "N", "min-p sampling", _set("sampling.min_p", float)),
    Flag(("--repeat-last-n",), "N", "tokens that penalties look at", _set("sampling.penalty_last_n", int)),
    Flag(("--repeat-penalty",), "N", "penalty for repetition", _set("sampling.penalty_repeat", float)),
    Flag(("--presence-penalty",), "N", "penalty for presence", _set("sampling.penalty_present", float)),
    Flag(("--frequency-penalty",), "N", "penalty for frequency", _set("sampling.penalty_freq", float)),
    Flag(("--ignore-eos",), "", "go on after the end of text", _switch("sampling.ignore_eos", value=True)),
    Flag(("--jinja",), "", "Jinja chat templates (default)", _switch("use_jinja", value=True)),
    Flag(("--no-jinja",), "", "built-in chat templates only", _switch("use_jinja", value=False)),
    Flag(("--chat-template",), "TEMPLATE", "chat template", _set("chat_template", str)),
    Flag(("--chat-template-file",), "FILE", "file with a chat template", _template_file),
    Flag(("--chat-template-kwargs",), "JSON", "parameters for the template", _template_kwargs),
    Flag(("--embedding", "--embeddings"), "", "serve embeddings only", _embedding),
    Flag(("--rerank", "--reranking"), "", "serve reranking", _rerank),
    Flag(
        ("--pooling",), "{none,mean,cls,last,rank}", "pooling for embeddings",
        _enum("pooling_type", "llama_pooling_type", "LLAMA_POOLING_TYPE_", _same(_POOLING)),
    ),
    Flag(("--api-key",), "KEY", "keys, comma-separated", _set("api_keys", lambda text: text.split(","))),
    Flag(("-to", "--timeout"), "N", "HTTP timeout in seconds", _set("timeout_read", int)),
    Flag(("--sse-ping-interval",), "N", "seconds between pings in a stream", _set("sse_ping_interval", int)),
    Flag(("--sleep-idle-seconds",), "N", "sleep after so long without work", _set("sleep_idle_seconds", int)),
    Flag(("--no-ui", "--no-webui"), "", "no web page", _switch("ui", value=False)),
    Flag(
        ("-lv", "--verbosity", "--log-verbosity"), "N",
        "0: output, 1: error, 2: warning, 3: info, 4: trace (more info), 5: debug", _set("verbosity", int),
    ),
)  # fmt: skip
"""What is supported. llama-server has more; anything else is an error, never ignored."""

_BY_NAME: Final = {name: flag for flag in FLAGS for name in flag.names}


def help_text() -> str:
    """The supported flags, laid out as llama-server's help is."""
    lines = [
        "----- supported params -----",
        "",
        "-h,    --help, --usage                  print usage and exit",
    ]
    lines.append("--version                               show version and exit")
    for flag in FLAGS:
        head = f"{', '.join(flag.names)} {flag.value}".rstrip()
        lines.append(f"{head:<39} {flag.about}" if len(head) < 40 else f"{head}\n{'':<40}{flag.about}")
    return "\n".join(lines)


def apply_flags(library: Any, params: Any, argv: Sequence[str]) -> None:
    """Put a command line into the library's parameters.

    Raises:
        UsageError: an unknown flag, a missing or a wrong value.
    """
    words = iter(argv)
    for word in words:
        name = word.replace("_", "-") if word.startswith("--") else word
        flag = _BY_NAME.get(name)
        if flag is None:
            raise UsageError(f"invalid argument: {word} (supported: see --help)")
        text = next(words, None) if flag.value else ""
        if text is None:
            raise UsageError(f"argument {word}: expected a value ({flag.value})")
        try:
            flag.apply(library, params, text)
        except (ValueError, OverflowError, TypeError, OSError) as error:
            raise UsageError(f"argument {word}: {text!r} is no {flag.value}: {error}") from error
        except UsageError as error:
            raise UsageError(f"argument {word}: {error}") from error
    if not params.model.path:
        raise UsageError("--model FNAME is needed")


def _fail(message: str) -> NoReturn:
    print(f"E {message}", file=sys.stderr, flush=True)  # noqa: T201 - the log of this program
    # Not os._exit: the library's log is written by a thread, and its last lines say why it failed.
    sys.exit(1)


def _serve(library: Any, params: Any) -> NoReturn:
    """Load the model, serve until a signal, and end the process."""
    try:
        server = library.Server(params)
    except RuntimeError as error:
        # The library logs in a thread of its own and has no call that waits for it: the reason comes late.
        time.sleep(_LOG_LAG)
        _fail(f"exiting due to model loading error: {error}")
    wake_read, wake_write = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(wake_write, b"x"))
    os.read(wake_read, 1)
    # The destructor waits for clients, as llama-server does, and keeps the interpreter's lock: no handler of
    # ours could run. With the default action a second signal kills.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    del server
    os._exit(0)


def main(argv: Sequence[str]) -> NoReturn:
    """The program."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if {"-h", "--help", "--usage"} & set(argv):
        print(help_text())  # noqa: T201 - what was asked for
        sys.exit(0)
    try:
        import xllamacpp
    except ImportError as error:
        _fail(f"the embedded llama.cpp is not installed ({error}): {INSTALL_HINT}")
    if "--version" in argv:
        print(f"version: embedded (xllamacpp {xllamacpp.__version__})")  # noqa: T201 - what was asked for
        sys.exit(0)
    params = xllamacpp.CommonParams()
    try:
        apply_flags(xllamacpp, params, argv)
    except UsageError as error:
        _fail(f"error: {error}")
    _serve(xllamacpp, params)


if __name__ == "__main__":
    main(sys.argv[1:])
