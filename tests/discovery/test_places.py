"""Where models are looked for, by the environment."""

import pytest

from gpumod.discovery.places import hub_cache, places


@pytest.mark.parametrize(
    ("env", "cache"),
    [
        ({"HOME": "/home/ada"}, "/home/ada/.cache/huggingface/hub"),
        ({"HOME": "/home/ada", "XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({"HOME": "/home/ada", "HF_HOME": "/big/hf"}, "/big/hf/hub"),
        ({"HOME": "/home/ada", "HF_HOME": "~/hf/"}, "/home/ada/hf/hub"),
        ({"HOME": "/home/ada", "HF_HOME": "/big/hf", "HF_HUB_CACHE": "/hub"}, "/hub"),
        ({}, ""),
    ],
)
def test_the_hubs_cache_is_where_its_own_library_looks(env, cache):
    assert hub_cache(env) == cache


def test_given_folders_come_first_and_usual_ones_follow():
    found = [
        place.path for place in places({"HOME": "/home/ada", "LLAMA_CACHE": "/lc"}, ["/x/", "/srv/models"])
    ]
    assert found[:2] == ["/x", "/srv/models"]
    assert len(found) == len(set(found))
    assert {"/home/ada/models", "/home/ada/.lmstudio/models", "/home/ada/.ollama/models", "/lc"} <= set(found)
    assert "/home/ada/.cache/llama.cpp" not in found


def test_without_a_home_only_shared_folders_are_looked_at():
    found = [place.path for place in places({})]
    assert "/srv/models" in found
    assert all(path.startswith("/") for path in found)
