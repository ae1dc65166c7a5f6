"""What ran and on what, in words. It takes what it is given: an older result may know less."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from gpumod.bench.redaction import argv
from gpumod.bench.report.quantities import NOT_MEASURED, quantity, size
from gpumod.bench.report.texts import compact

if TYPE_CHECKING:
    from gpumod.core.job import Result, Sample

Fact = tuple[str, str]
_QUANT: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:UD-)?(?:I?Q\d_(?:[01KS]|[KX]+S?)(?:_[A-Z]{1,3})?|TQ\d_\d|MXFP4|NVFP4|BF16|F16|F32|FP8|AWQ|GPTQ|INT[48])"
    r"(?![A-Za-z0-9])",
    re.IGNORECASE,
)
"""How publishers of models write the types of weights into file names."""
_SENT: Final = ("request", "sent")
"""Members of a sample's details that have the request as it was sent."""
_NOT_SAMPLER: Final = frozenset(
    {"model", "stream", "stream_options", "messages", "tools", "timings_per_token"}
)
_MOST_SENT: Final = 8
_MOST_TYPES: Final = 4


def facts(result: Result) -> list[Fact]:
    """Name and value of everything that was captured."""
    whole = result.provenance
    found: list[Fact] = [
        ("suite", f"{result.suite} {result.suite_version}"),
        ("suite hash", result.suite_hash),
        ("parameters", compact(result.parameters, 2000)),
        ("gpumod", _word(whole.get("gpumod"))),
    ]
    services = _mappings(whole.get("services"))
    asked = whole.get("asked")
    for service in sorted(services, key=lambda one: one.get("id") != asked):
        found += _service(service, prefix=f"{service.get('id')}: " if len(services) > 1 else "")
    for card in _mappings(whole.get("cards")):
        found.append(("card", _card(card)))
        found.append(("power limit", _watts(card.get("power_limit_watts"))))
    found.append(("driver", _word(whole.get("driver"))))
    found += _host(whole)
    found += _memory(whole.get("memory"))
    found += _others(whole.get("requests"))
    if displays := whole.get("displays"):
        found.append(("displays", compact(displays)))
    return found


def sent(samples: Sequence[Sample]) -> list[Fact]:
    """The sampler as it was sent: every combination that there was, and in how many samples."""
    counts: dict[str, int] = {}
    for sample in samples:
        for body in (sample.details.get(key) for key in _SENT):
            if isinstance(body, Mapping):
                kept = {key: value for key, value in body.items() if key not in _NOT_SAMPLER}
                text = json.dumps(kept, sort_keys=True, default=str)
                counts[text] = counts.get(text, 0) + 1
    if not counts:
        return []
    if len(counts) == 1:
        return [
            ("sampler as sent", compact(json.loads(next(iter(counts))), 1000) or "nothing: the server's own")
        ]
    shown = [
        ("sampler as sent", f"{compact(json.loads(text), 1000)} ({count} samples)")
        for text, count in list(counts.items())[:_MOST_SENT]
    ]
    rest = len(counts) - _MOST_SENT
    return shown if rest <= 0 else [*shown, ("sampler as sent", f"and {rest} others")]


def left_out(samples: Sequence[Sample]) -> list[str]:
    """Settings of the sampler that the engine cannot be told."""
    return _listed(samples, "sampler_left_out", 60)


def not_measured(samples: Sequence[Sample]) -> list[str]:
    """What was asked for and does not fit the target, as the suite says it."""
    return _listed(samples, "left_out", 200)


def _listed(samples: Sequence[Sample], detail: str, width: int) -> list[str]:
    """What samples list under a detail, each entry once and cut to a width, in the order it was seen."""
    found: dict[str, None] = {}
    for sample in samples:
        entries = sample.details.get(detail)
        if isinstance(entries, list | tuple):
            found |= dict.fromkeys(compact(one, width) for one in entries)
    return list(found)


def quant(service: Mapping[str, object]) -> str:
    """The type of the weights: as captured, else from the name of the first model file that has one in it."""
    # The projector of a vision model has a type of its own.
    files = [one for one in _mappings(service.get("files")) if "mmproj" not in _file_name(one).lower()]
    for file in files:
        if file.get("quant"):
            return f"{compact(file['quant'])}{_weights(file.get('weights'))}"
    for file in files:
        if match := _QUANT.search(_file_name(file)):
            return f"{match[0]} (by the file's name)"
    return "not known"


def _weights(sizes: object) -> str:
    """Bytes by type of the weights, the largest ones."""
    if not isinstance(sizes, Mapping) or not sizes:
        return ""
    shown = [
        f"{compact(kind)} {quantity(size, 'bytes')}"
        for kind, size in list(sizes.items())[:_MOST_TYPES]
        if isinstance(size, int)
    ]
    more = ", and others" if len(sizes) > _MOST_TYPES else ""
    return f" ({', '.join(shown)}{more})"


def _service(service: Mapping[str, object], prefix: str) -> Iterator[Fact]:
    arguments = service.get("argv")
    yield f"{prefix}engine", _word(service.get("engine"))
    yield f"{prefix}engine build", _word(service.get("build"))
    if service.get("preset"):
        yield f"{prefix}preset", compact(service["preset"])
    files = _mappings(service.get("files"))
    for file in files:
        yield f"{prefix}model file", _file(file)
    if not files:
        yield f"{prefix}model file", "not known"
    yield f"{prefix}quant", quant(service)
    slots = service.get("slots")
    several = f", for each of {compact(slots)} slots" if isinstance(slots, int) and slots > 1 else ""
    context = service.get("context")
    yield f"{prefix}context", f"{compact(context)} tokens{several}" if context else "not known"
    cache = service.get("kv_cache")
    yield f"{prefix}KV cache", compact(cache) if cache else "the engine's default"
    if service.get("sampler"):
        yield f"{prefix}sampler of the preset", compact(service["sampler"])
    words = argv(arguments) if isinstance(arguments, list | tuple) else []
    yield f"{prefix}command", shlex.join(words) if words else "not known"
    if service.get("fingerprint"):
        yield f"{prefix}fingerprint", compact(service["fingerprint"])


def _file(file: Mapping[str, object]) -> str:
    bytes_ = file.get("size")
    return f"{_file_name(file)}, {size(bytes_)}" if isinstance(bytes_, int) else _file_name(file)


def _file_name(file: Mapping[str, object]) -> str:
    return PurePath(str(file.get("path", ""))).name


def _card(card: Mapping[str, object]) -> str:
    words = [_word(card.get("name"))]
    total, capability = card.get("total"), card.get("compute_capability")
    if isinstance(total, int):
        words.append(quantity(total, "bytes"))
    if isinstance(capability, list | tuple):
        words.append(f"compute capability {'.'.join(map(str, capability))}")
    if card.get("power_watts") is not None:
        words.append(f"{_watts(card['power_watts'])} at the start")
    if card.get("temperature") is not None:
        words.append(f"{_word(card['temperature'])} °C at the start")
    words.append(_word(card.get("id")))
    return ", ".join(words)


def _host(whole: Mapping[str, object]) -> Iterator[Fact]:
    host, end = whole.get("host"), whole.get("host_load_at_end")
    if not isinstance(host, Mapping):
        yield "host", "not known"
        return
    memory = host.get("memory")
    words = [_word(host.get("system")), f"{_word(host.get('cpus'))} CPUs"]
    if isinstance(memory, int):
        words.append(quantity(memory, "bytes"))
    yield "host", ", ".join(words)
    after = end.get("load") if isinstance(end, Mapping) else None
    most = end.get("load_max") if isinstance(end, Mapping) else None
    peak = f", at most {most:.2f} over a minute" if isinstance(most, int | float) else ""
    yield (
        "host load",
        f"{_load(host.get('load'))} at the start, {_load(after)} at the end (1, 5, 15 minutes){peak}",
    )


def _memory(held: object) -> Iterator[Fact]:
    if not isinstance(held, Mapping):
        return
    for card, sizes in held.items():
        if isinstance(sizes, Mapping):
            ends = (sizes.get(key) for key in ("first", "peak"))
            first, peak = (quantity(one, "bytes") if isinstance(one, int) else NOT_MEASURED for one in ends)
            yield "memory held", f"{first} at the first look, {peak} at the peak, on {compact(card)}"


def _others(requests: object) -> Iterator[Fact]:
    """What the engine did for other clients meanwhile, by its own counters."""
    if not isinstance(requests, Mapping):
        return
    served, unknown = requests.get("others"), requests.get("cases_not_counted")
    text = compact(served) if isinstance(served, Mapping) else "not known"
    yield "served to others", f"{text} (not counted in {unknown} cases)" if unknown else text


def _load(values: object) -> str:
    if not isinstance(values, list | tuple):
        return NOT_MEASURED
    return " ".join(f"{one:.2f}" if isinstance(one, int | float) else "?" for one in values)


def _watts(value: object) -> str:
    return f"{value:.0f} W" if isinstance(value, int | float) else NOT_MEASURED


def _word(value: object) -> str:
    return "not known" if value is None or value == "" else compact(value)


def _mappings(value: object) -> list[Mapping[str, object]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list | tuple) else []
