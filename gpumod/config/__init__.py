"""Settings, preset and mode files: everything wrong with them in one answer.

`settings.load_settings` reads config.yaml and the environment, `catalog.load_catalog` the presets
and modes, `schema.json_schema` publishes what both accept, `edit` changes a mode file.
"""

from gpumod.config.catalog import check_files, load_catalog
from gpumod.config.changes import Changes, changes
from gpumod.config.edit import set_mode_service
from gpumod.config.problems import describe
from gpumod.config.reload import reload_catalog
from gpumod.config.schema import json_schema
from gpumod.config.settings import Settings, config_dir, load_settings

__all__ = [
    "Changes",
    "Settings",
    "changes",
    "check_files",
    "config_dir",
    "describe",
    "json_schema",
    "load_catalog",
    "load_settings",
    "reload_catalog",
    "set_mode_service",
]
