"""What a running daemon takes from files that were written or changed after its start."""

import pytest

from gpumod.config.reload import reload_catalog

PRESET = "id: gemma\nengine: llama.cpp\nmodel: ${MODELS}/gemma.gguf\n"


@pytest.fixture
def started(folder):
    """A daemon that was started before there was a config.yaml."""
    settings = folder.settings()
    folder.preset("gemma", PRESET)
    return settings


def test_variables_are_those_of_the_file_as_it_is_now(folder, started):
    folder.write("config.yaml", "vars: {MODELS: /srv/models}\n")
    catalog = reload_catalog(started)
    assert [preset.model for preset in catalog.presets] == ["/srv/models/gemma.gguf"]
    assert catalog.problems == ()


def test_shipped_modes_come_into_use(folder, started):
    folder.write("config.yaml", "vars: {MODELS: /srv/models}\nmodes: [code]\n")
    assert "code" in {mode.id for mode in reload_catalog(started).modes}


def test_settings_that_only_a_start_reads_are_named(folder, started):
    folder.write(
        "config.yaml",
        "vars: {MODELS: /m}\nheadroom: {host: 1GiB, card: 1GiB}\nengines: {llama.cpp: {binary: /bin/x}}\n",
    )
    (problem,) = reload_catalog(started).problems
    assert problem.warning
    assert problem.detail.startswith("engines, headroom changed: restart the daemon")


def test_a_mistake_in_the_settings_is_told_and_leaves_the_former_ones(folder):
    folder.write("config.yaml", "vars: {MODELS: /srv/models}\n")
    started = folder.settings()
    folder.preset("gemma", PRESET)
    folder.write("config.yaml", "vars: {MODELS: /elsewhere}\nlistn: 1\n")
    catalog = reload_catalog(started)
    assert [preset.model for preset in catalog.presets] == ["/srv/models/gemma.gguf"]
    whole, problem = catalog.problems
    assert "not read" in whole.detail
    assert problem.key == "listn"
    assert not whole.warning
    assert not problem.warning


def test_without_a_folder_there_is_nothing_to_read(folder):
    started = folder.settings()
    folder.path.rmdir()
    assert reload_catalog(started).presets == ()
