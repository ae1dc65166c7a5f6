"""How long gpumodctl takes, as a whole process."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from gpumod.testing.bench.box import BenchError, box, folder
from gpumod.testing.bench.numbers import Figure, Finding, Goal, compared, in_turns
from gpumod.testing.engine_server import Script

_STATUS = "from gpumod.cli.main import main; main(['status', '--json'])"
_PARSED = "from gpumod.cli.app import run; import sys; sys.exit(run(['status', '--json']))"
_NOTHING = "pass"


def status(rounds: int) -> list[Finding]:
    """`gpumodctl status` beside an interpreter that does nothing, and beside the way through typer."""
    with folder() as root, box(root / "box", limit=2048) as bench:
        bench.scripted("a", Script(host_mib=16))
        bench.start()
        bench.switch("a")
        environment = {**os.environ, "GPUMOD_SOCKET": bench.socket}

        def run(program: str) -> float:
            began = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-c", program], env=environment, stdout=subprocess.DEVNULL, check=False
            )
            if done.returncode:
                raise BenchError(f"{program!r} ended with {done.returncode}")
            return (time.monotonic() - began) * 1000

        run(_PARSED)  # compiles what was never imported before
        ours, nothing = in_turns(rounds, lambda: run(_STATUS), lambda: run(_NOTHING))
        again, parsed = in_turns(rounds, lambda: run(_STATUS), lambda: run(_PARSED))
    return [
        compared("gpumodctl status", "ms", ours, "python -c pass", nothing, Goal(Figure.OURS, 150.0)),
        compared("gpumodctl status", "ms", again, "the same through typer", parsed),
    ]
