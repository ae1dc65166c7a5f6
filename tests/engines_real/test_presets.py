"""Every shipped preset is a command line that the real engine's own parser accepts."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from gpumod.config.preset_checks import judge
from gpumod.config.sources import shipped_files
from gpumod.config.specs import service_spec
from gpumod.core.names import CardId
from gpumod.core.spec import EngineKind, ServiceSpec
from gpumod.engines import engines
from gpumod.engines.programs import output
from tests.engines.processes import Listeners, launch_of

pytestmark = pytest.mark.engines

CARDS = tuple(CardId(f"GPU-{number}") for number in range(8))
VLLM_PARSER = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser
for argv in json.loads(sys.argv[1]):
    arguments = make_arg_parser(FlexibleArgumentParser()).parse_args(argv)
    validate_parsed_serve_args(arguments)
    print("parsed", arguments.served_model_name)
"""


def specs(kind: EngineKind) -> list[ServiceSpec]:
    found = []
    for name, path in sorted(shipped_files("presets").items()):
        text = Path(path).read_text().replace("${MODELS}", "/nonexistent")
        judged = judge(YAML(typ="safe").load(text), has_home=False)
        assert judged.preset is not None, (name, judged.findings)
        spec = service_spec(judged.preset, preset_id=Path(path).stem, env={})
        found += [spec] if spec.engine is kind else []
    return found


async def test_llama_cpp_parses_every_preset(llama_server, start):
    """A command line that is parsed ends with the missing model; one that is not, with an argument error."""
    engine = engines(Listeners(), llama_server=str(llama_server))[EngineKind.LLAMA_CPP]
    presets = specs(EngineKind.LLAMA_CPP)
    assert presets
    for spec in presets:
        build = await engine.build(spec)
        assert not isinstance(build, str)
        assert engine.check(spec, build).contradictions == ()
        launch = await launch_of(engine, spec, cards=CARDS[: spec.cards.count])
        # The build has no CUDA, and would refuse its devices.
        argv = ["none" if word.startswith("CUDA0") else word for word in launch.argv]
        process = start(argv, launch.env, log=f"{spec.id}.log")
        assert process.ended() == 1
        why = engine.explain(process.lines, None, launch)
        assert "/nonexistent" in why, (spec.id, why)
        assert "loading model" in "\n".join(process.lines)


async def test_vllm_parses_every_preset(vllm_program):
    engine = engines(Listeners(), vllm=str(vllm_program))[EngineKind.VLLM]
    presets = specs(EngineKind.VLLM)
    assert presets
    lines = []
    for spec in presets:
        assert engine.check(spec, None).contradictions == ()
        launch = await launch_of(
            engine, spec, cards=CARDS[: spec.cards.count], card_indexes=dict.fromkeys(CARDS, 0)
        )
        # The parser of `serve` takes the model as its positional argument.
        lines.append(list(launch.argv[2:]))
    code, printed = await output(
        (str(vllm_program.with_name("python")), "-c", VLLM_PARSER, json.dumps(lines)), seconds=300
    )
    assert code == 0, printed[-3000:]
    assert printed.count("parsed ") == len(presets)
