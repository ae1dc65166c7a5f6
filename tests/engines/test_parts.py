"""The small parts: stop ladders, arguments, help texts, metrics, answers."""

import os
import pwd
import signal

import pytest

from gpumod.core.bounds import DEFAULT_BOUNDS
from gpumod.core.states import ServiceState
from gpumod.engines.args import Given, contradictions, flags, owned, unknown
from gpumod.engines.environment import inherited
from gpumod.engines.http import Answer
from gpumod.engines.ladders import ladder
from gpumod.engines.metrics import total
from gpumod.engines.probing import model_names
from gpumod.engines.programs import options
from tests.engines.processes import spec_of


def test_engines_inherit_little_and_no_tokens():
    env = inherited(environment={"PATH": "/bin", "HF_TOKEN": "secret", "LLAMA_ARG_PORT": "1", "HOME": "/h"})
    assert env == {"PATH": "/bin", "HOME": "/h"}
    assert inherited(environment={})["PATH"]


def test_engines_of_another_user_have_that_users_home():
    me = pwd.getpwuid(os.getuid())
    env = inherited(me.pw_name, {"HOME": "/elsewhere", "XDG_RUNTIME_DIR": "/run/user/0", "PATH": "/bin"})
    assert env == {"PATH": "/bin", "HOME": me.pw_dir, "USER": me.pw_name, "LOGNAME": me.pw_name}


@pytest.mark.parametrize("drained", [True, False])
@pytest.mark.parametrize("state", list(ServiceState))
def test_every_ladder_ends_in_a_kill_and_every_wait_is_bounded(state, drained):
    rungs = ladder(spec_of(stop_grace=7.0), DEFAULT_BOUNDS, state, drained=drained)
    assert rungs[-1].act == "kill"
    assert all(0 < rung.wait < 3600 for rung in rungs)


@pytest.mark.parametrize("state", [ServiceState.STARTING, ServiceState.LOADING, ServiceState.PARKED])
def test_what_ignores_sigterm_is_killed_at_once(state):
    assert [rung.act for rung in ladder(spec_of(), DEFAULT_BOUNDS, state, drained=False)] == ["kill"]


def test_a_drained_engine_gets_sigterm_and_its_grace():
    rungs = ladder(spec_of(stop_grace=7.0), DEFAULT_BOUNDS, ServiceState.DRAINING, drained=True)
    assert (rungs[0].act, rungs[0].number, rungs[0].wait) == ("signal", signal.SIGTERM, 7.0)


def test_an_engine_with_requests_in_flight_is_not_asked_since_it_would_hang():
    rungs = ladder(spec_of(), DEFAULT_BOUNDS, ServiceState.DRAINING, drained=False)
    assert [rung.act for rung in rungs] == ["kill"]


def test_flags_in_every_spelling():
    given = list(flags(["--a_b=1", "--c", "-1", "-d", "--e", "x y", "bare"]))
    assert given == [Given("--a-b", "1"), Given("--c", "-1"), Given("-d", None), Given("--e", "x y")]


def test_beginnings_of_flags_count_where_the_parser_takes_them():
    owners = [owned("context", "--max-model-len")]
    assert contradictions(["--max-model", "5"], owners, argparse=True)
    assert not contradictions(["--max-model", "5"], owners)
    assert not contradictions(["--m", "5"], owners, argparse=True)


def test_unknown_flags_are_told_only_of_a_build_that_was_asked():
    assert unknown(["--bogus"], ()) == ()
    (sentence,) = unknown(["--bogus", "--jinja"], {"--jinja"})
    assert "--bogus" in sentence


def test_options_of_llama_cpps_help():
    text = """----- common params -----

-h,    --help, --usage                  print usage and exit
-kvo,  --kv-offload, -nkvo, --no-kv-offload
                                        --not-an-option in a description
-ngl,  --gpu-layers, --n-gpu-layers N   max. number of layers, see --fit
-hf,   -hfr, --hf-repo <user>/<model>[:quant]
--spec-type none,draft-mtp              types
"""
    assert options(text) == {
        "-h", "--help", "--usage", "-kvo", "--kv-offload", "-nkvo", "--no-kv-offload", "-ngl", "--gpu-layers",
        "--n-gpu-layers", "-hf", "-hfr", "--hf-repo", "--spec-type",
    }  # fmt: skip


def test_options_of_argparses_help():
    assert options("  -c N, --ctx-size N   context\n  --flag   text\n") == {"-c", "--ctx-size", "--flag"}


def test_metrics_are_summed_over_labels():
    text = """# HELP vllm:num_requests_running help
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a"} 2.0
vllm:num_requests_running{engine="1",model_name="a"} 1.0
vllm:num_requests_running_total 50
vllm:num_requests_waiting{engine="0"} 1e1
"""
    assert total(text, ("vllm:num_requests_running", "vllm:num_requests_waiting")) == 13
    assert total(text, ("llamacpp:requests_processing",)) is None


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ({"data": [{"id": "a", "aliases": ["b"]}, {"id": "c"}]}, {"a", "b", "c"}),
        ({"data": []}, set()),
        ({"data": "x"}, set()),
        ([], set()),
        (None, set()),
        ({"data": [1, None]}, set()),
    ],
)
def test_model_names(document, names):
    assert model_names(document) == names


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b'{"error": {"message": "Loading model", "code": 503}}', "500: Loading model"),
        (b'{"detail": "no"}', "500: {'detail': 'no'}"),
        (b"plain", "500: plain"),
        (b"", "500"),
    ],
)
def test_what_an_error_answer_says(body, complaint):
    assert Answer(500, body).complaint == complaint
