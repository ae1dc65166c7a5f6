"""Every recorded axis on which results differ."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from gpumod.bench.comparison.argv import flags_of
from gpumod.bench.comparison.models import Files, files_of, model_of, shown_files
from gpumod.bench.redaction import argv as redacted
from gpumod.core.comparison import Axis
from gpumod.core.job import Result
from gpumod.core.units import format_size

NOTHING: Final = "-"
_LOAD: Final = 0.25
"""Another load of a machine is an axis from this share of its processors on."""
_WINDOW: Final = 3600.0
"""Results are of one host window if no more than so many seconds lie between them."""
_KEYS_OF_FLAGS: Final = {
    "--ctx-size": "context", "--max-model-len": "context", "--parallel": "slots",
    "--max-num-seqs": "slots", "--cache-type-k": "kv_cache", "--cache-type-v": "kv_cache",
    "--kv-cache-dtype": "kv_cache", "--model": "files", "--hf-repo": "files",
}  # fmt: skip
"""Flags that say what an axis of its own says already."""
_TOLD: Final = frozenset({"gpumod", "services", "cards", "driver", "host"})
_PASSING: Final = frozenset({"asked", "displays", "memory", "host_load_at_end", "requests"})
"""What is measured, or only names the target."""
_SERVICE_TOLD: Final = frozenset(
    {"engine", "build", "argv", "files", "cards", "context", "slots", "kv_cache", "sampler",
     "id", "preset", "fingerprint"}
)  # fmt: skip
_CARD_TOLD: Final = frozenset(
    {"id", "name", "total", "compute_capability", "power_watts", "power_limit_watts", "temperature"}
)
_LONGEST: Final = 200

Values = tuple[str, ...]


def axes_of(results: Sequence[Result]) -> tuple[Axis, ...]:
    """The axes on which the results differ, model first."""
    every = [*_services(results), *_box(results), *_suite(results)]
    return tuple(Axis(name, values) for name, values in every if len(set(values)) > 1)


def credit_of(axes: Sequence[Axis]) -> str:
    """Whether what is found may be credited to one axis, in one sentence."""
    if not axes:
        return "No difference between them is recorded: what is found is not explained by these records."
    if len(axes) == 1:
        values = " against ".join(axes[0].values)
        return (
            f"The only recorded difference is {axes[0].name} ({values}); what is not recorded may differ too."
        )
    names = ", ".join(axis.name for axis in axes)
    return (
        f"They differ on {len(axes)} axes ({names}): "
        "what is found cannot be credited to any one of them alone."
    )


def _services(results: Sequence[Result]) -> Iterator[tuple[str, Values]]:
    every = [_list(one.provenance.get("services")) for one in results]
    if len({len(services) for services in every}) > 1:
        yield "services", tuple(", ".join(_text(one.get("id")) for one in services) for services in every)
        return
    count = len(every[0]) if every else 0
    for place in range(count):
        services = [one[place] for one in every]
        prefix = f"{_text(services[0].get('id'))}: " if count > 1 else ""
        for name, values in _service(services):
            yield prefix + name, values


def _service(services: Sequence[Mapping[str, object]]) -> Iterator[tuple[str, Values]]:
    yield from _model(services)
    yield "engine", _of(services, "engine")
    yield "build", _of(services, "build")
    commands = [redacted([str(token) for token in _any_list(one.get("argv"))]) for one in services]
    yield "binary", tuple(command[0] if command else NOTHING for command in commands)
    for name, key in (("context", "context"), ("slots", "slots"), ("KV type", "kv_cache")):
        yield name, _of(services, key)
    yield "preset's sampler", _of(services, "sampler")
    told = {flag for flag, key in _KEYS_OF_FLAGS.items() if all(one.get(key) for one in services)}
    flags = [
        flags_of(command, (path for path, _, _ in files_of(one)))
        for command, one in zip(commands, services, strict=True)
    ]
    for flag in dict.fromkeys(flag for each in flags for flag in each):
        if flag not in told:
            yield f"flag {flag}", tuple(_short(each.get(flag, NOTHING)) for each in flags)
    for key in _others(services, _SERVICE_TOLD):
        yield key.replace("_", " "), _of(services, key)


def _model(services: Sequence[Mapping[str, object]]) -> Iterator[tuple[str, Values]]:
    """Model and quantisation; the files themselves where these do not tell them apart."""
    models = [model_of(one) for one in services]
    yield "model", tuple(one.name for one in models)
    yield "quantisation", tuple(one.quantisation for one in models)
    files: dict[tuple[str, str], set[Files]] = defaultdict(set)
    for one in models:
        files[one.name, one.quantisation].add(one.files)
    if any(len(same) > 1 for same in files.values()):
        yield "model file", shown_files([one.files for one in models])
    yield "further files", shown_files([one.further for one in models])


def _box(results: Sequence[Result]) -> Iterator[tuple[str, Values]]:
    every = [one.provenance for one in results]
    yield "driver", _of(every, "driver")
    cards = [_list(one.get("cards")) for one in every]
    names = tuple(" + ".join(_card(card) for card in each) or NOTHING for each in cards)
    yield "card", names
    if len(set(names)) == 1:
        yield "which card", tuple(", ".join(_text(card.get("id")) for card in each) for each in cards)
    yield "power limit", tuple(", ".join(_of(each, "power_limit_watts")) or NOTHING for each in cards)
    for key in _others([card for each in cards for card in each], _CARD_TOLD):
        yield f"card's {key.replace('_', ' ')}", tuple(", ".join(_of(each, key)) for each in cards)
    hosts = [_mapping(one.get("host")) for one in every]
    for name, key in (
        ("host's system", "system"),
        ("host's memory", "memory"),
        ("host's processors", "cpus"),
    ):
        yield name, _of(hosts, key)
    yield "host window", _windows(results)
    yield "host's load", _loads(hosts)
    for key in _others(hosts, frozenset({"system", "memory", "cpus", "load"})):
        yield f"host's {key.replace('_', ' ')}", _of(hosts, key)
    yield "gpumod", _of(every, "gpumod")
    for key in _others(every, _TOLD | _PASSING):
        yield key.replace("_", " "), _of(every, key)


def _suite(results: Sequence[Result]) -> Iterator[tuple[str, Values]]:
    yield "suite", tuple(one.suite for one in results)
    yield "suite's version", tuple(one.suite_version for one in results)
    yield "suite's hash", tuple(one.suite_hash[:12] for one in results)
    given = [one.parameters for one in results]
    for key in _others(given, frozenset()):
        yield f"parameter {key}", _of(given, key)


def _windows(results: Sequence[Result]) -> Values:
    """When each was measured; the same for all if none was measured long after another."""
    spans = sorted((one.started, one.ended) for one in results)
    gaps = (later[0] - max(span[1] for span in spans[:place]) for place, later in enumerate(spans) if place)
    if all(gap <= _WINDOW for gap in gaps):
        return ("one",) * len(results)
    return tuple(time.strftime("%Y-%m-%d %a %H:%M UTC", time.gmtime(one.started)) for one in results)


def _loads(hosts: Sequence[Mapping[str, object]]) -> Values:
    loads = [_load(host) for host in hosts]
    known = [load for load in loads if load is not None]
    if len(known) == len(loads) and max(known) - min(known) <= _LOAD:
        return ("like",) * len(loads)
    return tuple(NOTHING if load is None else f"{load:.0%} of its processors" for load in loads)


def busy(result: Result) -> float | None:
    """The most that the host was loaded meanwhile, as a share of its processors; None: not known."""
    host = _mapping(result.provenance.get("host"))
    most = _mapping(result.provenance.get("host_load_at_end")).get("load_max")
    begun, cpus = _load(host), host.get("cpus")
    if begun is None or not isinstance(cpus, int) or not isinstance(most, int | float):
        return begun
    return max(begun, most / cpus)


def _load(host: Mapping[str, object]) -> float | None:
    load, cpus = _any_list(host.get("load")), host.get("cpus")
    if not load or not isinstance(load[0], int | float) or not isinstance(cpus, int) or cpus < 1:
        return None
    return load[0] / cpus


def _card(card: Mapping[str, object]) -> str:
    total = card.get("total")
    size = f" {format_size(total)}" if isinstance(total, int) else ""
    return f"{_text(card.get('name'))}{size}"


def _of(ones: Sequence[Mapping[str, object]], key: str) -> Values:
    return tuple(_text(one.get(key)) for one in ones)


def _text(value: object) -> str:
    if value is None or value in ("", {}, []):
        return NOTHING
    return _short(value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _others(ones: Sequence[Mapping[str, object]], told: frozenset[str]) -> list[str]:
    """Keys that are no axis of a name of its own, so that none is left out."""
    return sorted({str(key) for one in ones for key in one} - told)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _any_list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _list(value: object) -> list[Mapping[str, object]]:
    return [_mapping(one) for one in _any_list(value)]
