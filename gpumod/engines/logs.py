"""Why an engine failed, in one sentence, out of the last lines of its log.

Engines exit with 1 (llama.cpp: always) or even 0 (vLLM after its engine core crashed): only the log knows.
The first rule that matches wins; within the log the last match counts, since engines retry.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gpumod.core.names import HOST_CARD, CardId
from gpumod.core.service import ExitReport

_LINES: Final = 400
_FLAGS: Final = re.IGNORECASE | re.MULTILINE
_MIB: Final = 1024**2
_ERROR: Final = re.compile(
    r"^(?:[\d.:]+ )?E |\b(?:error|failed|fatal|exception|traceback|cannot|invalid)\b", re.IGNORECASE
)
_PREFIX: Final = re.compile(
    r"^(?:[\d.:]+ )?[EWIDT] |^\([\w=]+ pid=\d+\) |^(?:ERROR|INFO|WARNING) [\d:. -]+\[\S+\] "
)


@dataclass(frozen=True, slots=True)
class Where:
    """Which cards the engine's device numbers mean."""

    cards: tuple[CardId, ...]

    def card(self, device: str | None) -> str:
        """The card behind a device number, in words."""
        if self.cards == (HOST_CARD,):
            return "the host"
        if device is None:
            return str(self.cards[0]) if len(self.cards) == 1 else "a card"
        index = int(device)
        return str(self.cards[index]) if index < len(self.cards) else f"device {index}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern in the log and the sentence that it means."""

    pattern: re.Pattern[str]
    sentence: Callable[[re.Match[str], Where], str]


def _rule(pattern: str, sentence: str | Callable[[re.Match[str], Where], str]) -> Rule:
    """A rule; a plain sentence may quote groups as `{0}`, `{1}`."""
    if callable(sentence):
        return Rule(re.compile(pattern, _FLAGS), sentence)
    text = sentence
    return Rule(re.compile(pattern, _FLAGS), lambda match, _: text.format(*match.groups()))


def _buffer(match: re.Match[str], where: Where) -> str:
    name, size = match[1], int(match[2]) // _MIB
    device = re.fullmatch(r"CUDA(\d+)", name, re.IGNORECASE)
    on = where.card(device[1]) if device else "the host"
    return f"out of memory on {on}: needed {size} MiB"


def _torch(match: re.Match[str], where: Where) -> str:
    def mib(number: str, unit: str) -> str:
        return f"{float(number) * (1024 if unit.lower() == 'gib' else 1):.0f} MiB"

    free = f", {mib(match[4], match[5])} were free" if match[4] else ""
    return f"out of memory on {where.card(match[3])}: needed {mib(match[1], match[2])}{free}"


def _gib(text: str) -> str:
    return f"{float(text) * 1024:.0f} MiB"


MEMORY_RULES: Final = (
    _rule(
        r"allocating ([\d.]+) MiB on device (\d+): cudaMalloc failed",
        lambda m, w: f"out of memory on {w.card(m[2])}: needed {float(m[1]):.0f} MiB",
    ),
    _rule(
        r"CUDA out of memory\. Tried to allocate ([\d.]+) (MiB|GiB)\."
        r"(?: GPU (\d+) has a total capacity of [\d.]+ GiB of which ([\d.]+) (MiB|GiB) is free)?",
        _torch,
    ),
    _rule(
        r"Free memory on device(?: (?:cuda:)?(\d+))? \(([\d.]+)/([\d.]+) GiB\) on startup is less than "
        r"desired GPU memory utilization \(([\d.]+), ([\d.]+) GiB\)",
        lambda m, w: (
            f"out of memory on {w.card(m[1])}: utilisation {m[4]} needs {_gib(m[5])} free at the start, "
            f"{_gib(m[2])} of {_gib(m[3])} are"
        ),
    ),
    _rule(
        r"max seq len \((\d+)\),? \(?([\d.]+) GiB KV cache is needed, which is larger than the available "
        r"KV cache memory \(([\d.]+) GiB\)(?:.*?estimated maximum model length is (\d+))?",
        lambda m, _: (
            f"the KV cache for a context of {m[1]} needs {_gib(m[2])}, {_gib(m[3])} are available"
            + (f": the longest context that fits is {m[4]}" if m[4] else "")
        ),
    ),
    _rule(
        r"No available memory for the cache blocks",
        "no memory is left for the KV cache: raise gpu_memory_utilization or take a smaller model",
    ),
    _rule(
        r"Error in memory profiling",
        "another process freed or took memory on the card while vLLM measured it",
    ),
    _rule(r"failed to allocate (\S+) buffer of size (\d+)", _buffer),
    _rule(r"unable to allocate (\S+) buffer", "out of memory: no {0} buffer for the model's weights"),
    _rule(
        r"CUDA error: out of memory",
        lambda _, w: f"out of memory on {w.card(None)} while it ran",
    ),
    _rule(r"failed to allocate buffer for (kv|rs) cache", "out of memory: the context cannot be allocated"),
    _rule(
        r"failed to allocate compute \w+ buffers", "out of memory: the compute buffers cannot be allocated"
    ),
    _rule(r"std::bad_alloc|cannot allocate memory", "out of host memory"),
)

INPUT_RULES: Final = (
    _rule(r"(the embedded llama\.cpp is not installed .*)", "{0}"),
    _rule(r"failed to load multimodal model, '(.+?)'", "the projector {0} cannot be loaded"),
    _rule(r"failed to load draft model, '(.+?)'", "the draft model {0} cannot be loaded"),
    _rule(
        r"failed to create MTP context",
        "the model has no MTP layers: remove `draft`, or take a file with them",
    ),
    _rule(
        r"failed to open (?:GGUF file )?'?(.+?)'?(?: \(|: )(No such file[^)\n]*|Permission denied)",
        "{0}: {1}",
    ),
    _rule(r"invalid magic characters", "the model is not a GGUF file"),
    _rule(
        r"data is not within the file bounds|corrupted or incomplete",
        "the model file is truncated or damaged",
    ),
    _rule(r"unknown model architecture: '(.+?)'", "this build does not know the architecture {0}: update it"),
    _rule(r"missing tensor '(.+?)'", "the model file lacks the tensor {0}"),
    _rule(
        r"wrong number of tensors; expected (\d+), got (\d+)", "the model file has {1} tensors, expected {0}"
    ),
    _rule(
        r"V cache quantization requires flash_attn",
        "a quantised value cache needs flash attention: switch it on",
    ),
    _rule(r"couldn't bind HTTP server socket, hostname: \S+, port: (\d+)", "port {0} is taken"),
    _rule(r"\[Errno 98\].*?port[^\d\n]{0,20}(\d+)", "port {0} is taken"),
    _rule(r"address already in use", "the port is taken"),
    _rule(
        r"invalid device: (\S+)|no device (CUDA\S*):",
        lambda m, _: (
            f"it has no device {m[1] or m[2]}: it was built without CUDA, or CUDA found no usable card"
        ),
    ),
    _rule(r"invalid argument: (\S+)", "this build does not know the argument {0}"),
    _rule(r"error while handling argument \"(\S+?)\": *([^\n]*)", "the argument {0} has a wrong value: {1}"),
    _rule(r"E error: (argument \S+ [^\n]*|argument [^\n]*)", "{0}"),
    _rule(r"unrecognized arguments: ([^\n]+)", "this build does not know the arguments {0}"),
    _rule(r"error: argument (\S+?): ([^\n]+)", "the argument {0} has a wrong value: {1}"),
    _rule(r"error while loading shared libraries: (\S+?):", "the program lacks the library {0}"),
    _rule(r"CUDA driver version is insufficient", "the NVIDIA driver is too old for this build"),
    _rule(r"no CUDA-capable device is detected", "CUDA finds no card"),
    _rule(
        r"is not a local folder and is not a valid model identifier|Repo id must|appropriate cached snapshot",
        "the model is neither a folder on this box nor in the local cache",
    ),
    _rule(r"^ *Value error, ([^\n\[]+?)(?=\. |\[|$)", "{0}"),
    _rule(
        r"^(?:\([^)\n]*\) *)?(?:ERROR [^\]\n]*\] *)?(?:\w+\.)*\w+Error: (?!Engine core init)([^\n]+)",
        "{0}",
    ),
)


def explain(lines: Sequence[str], exit_report: ExitReport | None, cards: tuple[CardId, ...] = ()) -> str:
    """Why an engine failed, in one sentence, as far as its log tells; empty when it does not.

    Args:
        lines: the last lines of the log.
        exit_report: how the process ended, if it did.
        cards: where it ran, in the engine's order.
    """
    if exit_report is not None and exit_report.signal == signal.SIGILL:
        return "the build uses instructions that this CPU does not have"
    return _why("\n".join(lines[-_LINES:]), Where(cards)) or _last_complaint(lines[-_LINES:])


def _why(text: str, where: Where) -> str:
    for rule in (*MEMORY_RULES, *INPUT_RULES):
        if found := list(rule.pattern.finditer(text)):
            return rule.sentence(found[-1], where).strip()
    return ""


def _last_complaint(lines: Sequence[str]) -> str:
    complaint = next((line for line in reversed(lines) if _ERROR.search(line)), "")
    return _PREFIX.sub("", complaint).strip()[:300]
