"""Where people keep models. Pure: the environment is passed in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from gpumod.discovery.values import Place

_SHARED: Final = (
    "/models",
    "/srv/models",
    "/opt/models",
    "/data/models",
    "/var/lib/models",
    "/usr/share/ollama/.ollama/models",
    "/var/lib/ollama/models",
)
_BELOW_HOME: Final = (
    "models",
    "Models",
    "llama.cpp/models",
    ".lmstudio/models",
    ".cache/lm-studio/models",
    ".ollama/models",
)


def places(env: Mapping[str, str], given: Iterable[str] = ()) -> tuple[Place, ...]:
    """The folders to look in: the given ones first, then the usual ones.

    Args:
        env: `HOME`, and what moves caches: `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`, `LLAMA_CACHE`,
            `OLLAMA_MODELS`.
        given: absolute paths.
    """
    usual = (path.rstrip("/") or "/" for path in _usual(env) if path.startswith("/"))
    named = [Place(path.rstrip("/") or "/", given=True) for path in given]
    known = {place.path for place in named}
    return tuple(dict.fromkeys((*named, *(Place(path) for path in usual if path not in known))))


def hub_cache(env: Mapping[str, str]) -> str:
    """The Hugging Face hub's cache, by huggingface_hub's own rules; empty where there is no home."""
    if chosen := env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE"):
        return _expanded(chosen, env)
    if home := env.get("HF_HOME"):
        return f"{_expanded(home, env).rstrip('/')}/hub"
    cache = _cache(env)
    return f"{cache}/huggingface/hub" if cache else ""


def _usual(env: Mapping[str, str]) -> Iterator[str]:
    home, cache = env.get("HOME", "").rstrip("/"), _cache(env)
    if home:
        yield from (f"{home}/{name}" for name in _BELOW_HOME)
    if chosen := env.get("OLLAMA_MODELS"):
        yield _expanded(chosen, env)
    if chosen := env.get("LLAMA_CACHE"):
        yield _expanded(chosen, env)
    elif cache:
        yield f"{cache}/llama.cpp"
    yield hub_cache(env)
    yield from _SHARED


def _cache(env: Mapping[str, str]) -> str:
    home = env.get("HOME", "").rstrip("/")
    return env.get("XDG_CACHE_HOME", "").rstrip("/") or (f"{home}/.cache" if home else "")


def _expanded(path: str, env: Mapping[str, str]) -> str:
    home = env.get("HOME", "").rstrip("/")
    return home + path[1:] if home and (path == "~" or path.startswith("~/")) else path
