"""The entry point of gpumodctl: sends `status` the short way and everything else to the command parser."""

import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from gpumod.cli.outcome import ExitCode, report, say
from gpumod.core.errors import GpumodError


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with its code."""
    args = sys.argv[1:] if args is None else args
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Whatever a process calls itself, in whatever locale: showing it may not fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        say("gpumodctl: interrupted")
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the answer has gone (`gpumodctl events | head`). Python would complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.FAILED
    except Exception as error:  # noqa: BLE001 - a defect of ours; a program still gets its document
        code = _defect(error, as_json="--json" in args)
    sys.exit(int(code))


def _run(args: Sequence[str]) -> int:
    if "status" in args:
        from gpumod.cli import status

        options = status.quick_options(args)
        if options is not None:
            return status.run(options)
    from gpumod.cli.app import run

    return run(args)


def _defect(error: Exception, *, as_json: bool) -> ExitCode:
    import traceback

    traceback.print_exc()
    return report(GpumodError(f"a defect in gpumodctl: {error!r}"), as_json=as_json)


if __name__ == "__main__":
    main()
