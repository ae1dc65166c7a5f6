"""Reads the files of a running daemon again."""

from __future__ import annotations

from dataclasses import fields, replace

from gpumod.config.catalog import load_catalog
from gpumod.config.problems import in_order
from gpumod.config.settings import Settings, read_settings
from gpumod.core.spec import Catalog, Problem

_NOW = frozenset({"variables", "modes", "presets"})
"""Fields of Settings that say how presets and modes are read: they take effect at once."""
_NOT_SET = frozenset({"config_dir", "warnings"})
_KEYS = {"headroom_of": "headroom", "host_headroom": "headroom"}
"""Keys of config.yaml that are called otherwise in Settings."""


def reload_catalog(started: Settings) -> Catalog:
    """Presets and modes as the files are now, by `vars`, `modes` and `presets` of config.yaml as it is now.

    Mistakes in config.yaml leave those settings as the daemon started with them. They are told with the
    catalog's own problems, and so is, as a warning, what the daemon has to be restarted for.

    Args:
        started: the settings that the daemon runs with.
    """
    if not started.config_dir.is_dir():
        return load_catalog(started)
    settings, problems = read_settings(started.config_dir, started.variables.environment)
    if settings is None or any(not one.warning for one in problems):
        catalog = load_catalog(started)
        problems = [*problems, _not_read(started)]
    else:
        now = replace(started, variables=settings.variables, modes=settings.modes, presets=settings.presets)
        catalog = load_catalog(now)
        problems += _restart_for(started, settings)
    return replace(catalog, problems=in_order([*problems, *catalog.problems]))


def _not_read(started: Settings) -> Problem:
    return Problem(
        str(started.config_file),
        "not read because of its mistakes: the settings that the daemon started with hold",
    )


def _restart_for(started: Settings, now: Settings) -> list[Problem]:
    """One warning that names the settings which only a start of the daemon reads."""
    changed = {
        _KEYS.get(field.name, field.name)
        for field in fields(Settings)
        if field.name not in _NOW | _NOT_SET and getattr(started, field.name) != getattr(now, field.name)
    }
    if not changed:
        return []
    detail = f"{', '.join(sorted(changed))} changed: restart the daemon for that (engines go on running)"
    return [Problem(str(now.config_file), detail, warning=True)]
