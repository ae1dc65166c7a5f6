"""Judges what a preset says: its structure, then what it must be like beyond that."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, cast

from gpumod.config.preset_file import (
    PRESET_MODELS,
    AnyPresetFile,
    CommandPreset,
    ContainerPreset,
    LlamaPreset,
    PresetFile,
    VllmPreset,
)
from gpumod.config.problems import Finding, Keys, close_to, findings_of, known_keys, validate_or_prune
from gpumod.core.spec import EngineKind

_OWN_VARIABLES: Final = {
    "CUDA_VISIBLE_DEVICES": "use `cards:`",
    "NVIDIA_VISIBLE_DEVICES": "use `cards:`",
    "CUDA_DEVICE_ORDER": "leave it out: gpumod names cards by UUID or in PCI order",
}
"""Environment that gpumod sets itself."""

_SECRET_FLAG: Final = re.compile(
    r"--?([a-z0-9]+[-_])*(api-?key|token|secret|password|passwd)(=.*)?", re.IGNORECASE
)
_SECRET_VALUE: Final = re.compile(r"(hf_|sk-|ghp_|github_pat_|AKIA)[A-Za-z0-9_-]{16,}")
_NOT_SECRET: Final = re.compile(r"--?(max|num|n)[-_].*", re.IGNORECASE)


_RESTS_ON: Final = {
    "vram": frozenset({"cards"}),
    "split": frozenset({"cards"}),
    "command": frozenset({"port", "args", "env"}),
}
"""What is said of a key only while these others are sound."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found of a preset; `preset` is None unless it can be used."""

    preset: AnyPresetFile | None
    findings: tuple[Finding, ...] = ()


def judge(value: Mapping[str, Any], *, has_home: bool) -> Judgement:
    """Everything that is wrong, or odd, with what a preset says.

    Args:
        value: the preset, with a mode's overrides in it where it is a mode's service.
        has_home: whether `~/` can be replaced.
    """
    engine = value.get("engine")
    names = [kind.value for kind in EngineKind]
    if engine not in names:
        if engine is None:
            return Judgement(
                None, (Finding(("engine",), f"'engine' is required: one of {', '.join(names)}"),)
            )
        suggestion = close_to(engine, names) if isinstance(engine, str) else ""
        detail = f"must be one of {', '.join(names)}, not {str(engine)[:80]!r}"
        return Judgement(None, (Finding(("engine",), detail, suggestion),))
    kind = EngineKind(engine)
    keys, elsewhere = _vocabulary(kind)
    check = cast("Callable[[object], AnyPresetFile]", PRESET_MODELS[kind].model_validate)
    preset, error, wrong = validate_or_prune(check, dict(value))
    found = findings_of(error, value, keys=keys, elsewhere=elsewhere) if error else []
    if preset is not None:
        found += [
            one
            for one in _findings(preset, has_home=has_home)
            if not wrong & _RESTS_ON.get(str(one.location[0]), frozenset())
        ]
    usable = all(one.warning for one in found)
    return Judgement(preset if usable else None, tuple(found))


@cache
def _vocabulary(kind: EngineKind) -> tuple[Keys, Mapping[str, str]]:
    """The keys of an engine's presets, and where keys belong that are not at the top of them."""
    elsewhere: dict[str, str] = {}
    for other, model in PRESET_MODELS.items():
        for name in model.model_fields:
            engines = [one for one, its in PRESET_MODELS.items() if name in its.model_fields]
            elsewhere[name] = f"is a key of {' and '.join(engines)}, and this preset's engine is {kind}"
        block = other.value.removesuffix(".cpp")
        for name in known_keys(model).get((block,), ()):
            if other is kind:
                elsewhere[name] = f"has its place under `{block}:`"
            elif name not in elsewhere:
                elsewhere[name] = f"belongs to `{block}:` of {other}, and this preset's engine is {kind}"
    return known_keys(PRESET_MODELS[kind]), elsewhere


def _findings(preset: AnyPresetFile, *, has_home: bool) -> Iterator[Finding]:
    yield from _memory(preset)
    yield from _paths(preset, has_home=has_home)
    yield from _environment(preset)
    yield from _arguments(preset.args, ("args",))
    yield from _requests(preset)
    match preset:
        case LlamaPreset():
            yield from _split(preset)
            yield from _draft(preset)
        case VllmPreset():
            yield from _draft(preset)
        case ContainerPreset():
            yield from _arguments(preset.container.command, ("container", "command"))
        case CommandPreset():
            yield from _arguments(preset.command.cmd, ("command", "cmd"))
            yield from _listens(preset)


def _count(preset: PresetFile) -> int:
    return preset.cards.count if preset.cards else 1


def _memory(preset: PresetFile) -> Iterator[Finding]:
    if preset.vram is None:
        return
    sizes, count = len(preset.vram.size), _count(preset)
    if sizes not in {1, count}:
        yield Finding(("vram",), f"has {sizes} sizes for {count} {'card' if count == 1 else 'cards'}")
    if not all(preset.vram.size):
        yield Finding(("vram",), "must be more than nothing", "write `vram: auto` to leave it to gpumod")


def _paths(preset: AnyPresetFile, *, has_home: bool) -> Iterator[Finding]:
    """The daemon's working directory means nothing to a user, so paths are absolute.

    A variable that is left in a path has no value, which has been said.
    """
    paths: list[tuple[tuple[str | int, ...], str | None]] = []
    match preset:
        case LlamaPreset():
            paths = [(("model",), preset.model), (("mmproj",), preset.mmproj)]
            paths += [(("draft", "model"), preset.draft.model if preset.draft else None)]
        case CommandPreset():
            paths = [(("upstream_key_file",), preset.upstream_key_file)]
        case ContainerPreset():
            mounts = enumerate(preset.container.mounts or ())
            paths = [(("upstream_key_file",), preset.upstream_key_file)]
            paths += [(("container", "mounts", index), mount.source) for index, mount in mounts]
        case VllmPreset():
            # Anything else that is no absolute path is a name on the hub.
            paths = [(("model",), preset.model if preset.model.startswith(("./", "../")) else None)]
    for location, path in paths:
        if path is None or path.startswith(("/", "${")) or (has_home and path.startswith("~/")):
            continue
        yield Finding(
            location,
            f"{path!r} is not an absolute path",
            "begin it with / or with a variable, such as ${MODELS}/model.gguf",
        )


def _environment(preset: PresetFile) -> Iterator[Finding]:
    for name in preset.env or {}:
        if name in _OWN_VARIABLES:
            yield Finding(("env", name), f"{name} is set by gpumod", _OWN_VARIABLES[name])


def _requests(preset: PresetFile) -> Iterator[Finding]:
    if preset.requests and (wrong := preset.requests.forbidden()):
        yield Finding(("requests",), wrong)
    if preset.idle and preset.idle.then == "sleep":
        yield Finding(("idle", "then"), "sleep is not built yet", "write `then: stop`")


def _arguments(arguments: Iterable[str] | None, location: tuple[str, ...]) -> Iterator[Finding]:
    for index, argument in enumerate(arguments or ()):
        named = _SECRET_FLAG.fullmatch(argument) and not _NOT_SECRET.fullmatch(argument)
        if named or _SECRET_VALUE.search(argument):
            yield Finding(
                (*location, index),
                "looks like a secret, and every user of this machine can read the arguments of processes",
                "put it into `env:`",
                warning=True,
            )


def _split(preset: LlamaPreset) -> Iterator[Finding]:
    if preset.split is None:
        return
    count = _count(preset)
    if count == 1:
        yield Finding(
            ("split",), "needs several cards, and `cards:` is 1", "set `cards:`, or leave `split:` out"
        )
    elif preset.split.ratio and len(preset.split.ratio) != count:
        yield Finding(("split", "ratio"), f"has {len(preset.split.ratio)} entries for {count} cards")
    elif preset.split.ratio and not any(preset.split.ratio):
        yield Finding(("split", "ratio"), "leaves nothing for any card")


def _draft(preset: LlamaPreset | VllmPreset) -> Iterator[Finding]:
    if preset.draft is not None and preset.draft.type == "model" and preset.draft.model is None:
        yield Finding(
            ("draft",), "needs a model", "write {model: ...}, or {type: mtp} for a built-in MTP head"
        )


def _listens(preset: CommandPreset) -> Iterator[Finding]:
    """A command that is not told its port would be waited for in vain."""
    told = [*preset.command.cmd, *(preset.args or ()), *(preset.env or {}).values()]
    if preset.port is None and not any("${PORT}" in text for text in told):
        yield Finding(
            ("command", "cmd"),
            "is not told its port",
            "use ${PORT} in it, in `args` or in `env`, or set `port:`",
        )
