"""docs/configuration.md: its examples load, and it names every key."""

import dataclasses
import re
from pathlib import Path

from gpumod.config import json_schema
from gpumod.core.bounds import Bounds

TEXT = (Path(__file__).resolve().parents[2] / "docs/configuration.md").read_text()
EXAMPLES = dict(re.findall(r"```yaml\n# (\S+)\n(.*?)```", TEXT, re.DOTALL))


def test_the_examples_load_without_a_word(folder):
    for name, text in EXAMPLES.items():
        folder.write(name, text)
    folder.write("laptop.key", "secret").chmod(0o600)
    settings = folder.settings(HF_TOKEN="x")
    assert settings.warnings == ()
    catalog = folder.catalog(HF_TOKEN="x")
    assert catalog.problems == ()
    assert {"code", "chat", "hermes-agent"} <= {mode.id for mode in catalog.modes}
    assert len(catalog.presets) >= 4


def test_defaults_that_are_shown_are_the_defaults(folder):
    bare = folder.settings()
    folder.write("config.yaml", EXAMPLES["config.yaml"])
    folder.write("laptop.key", "secret").chmod(0o600)
    shown = folder.settings()
    for name in ("listen", "cards", "headroom", "host_headroom", "runner", "systemd_manager", "ports"):
        assert getattr(shown, name) == getattr(bare, name)
    for name in ("boot", "on_exit", "log", "bounds", "state_dir", "gateway"):
        assert getattr(shown, name) == getattr(bare, name)


def test_every_key_is_named():
    words = set(re.findall(r"[A-Za-z_][A-Za-z0-9_.]*", TEXT))
    bounds = {field.name for field in dataclasses.fields(Bounds)}
    assert _keys(json_schema()) - bounds - words == set()


def _keys(schema: object) -> set[str]:
    found = set()
    if isinstance(schema, dict):
        found |= set(schema.get("properties", {}))
        for inner in schema.values():
            found |= _keys(inner)
    elif isinstance(schema, list):
        for inner in schema:
            found |= _keys(inner)
    return found
