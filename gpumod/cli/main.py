"""The entry point of gpumodctl: sends `status` the short way and everything else to the command parser."""

import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from gpumod.cli.outcome import ExitCode, report, say
from gpumod.core.errors import GpumodError, InvalidRequestError


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with its code."""
    args = sys.argv[1:] if args is None else args
    _prepare_streams()
    try:
        code = _run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        say("gpumodctl: interrupted")
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the answer has gone (`gpumodctl events | head`).
        _forget_stdout()
        code = ExitCode.FAILED
    except OSError as error:
        code = _unwritten(error) if _stdout_fails() else _defect(error, as_json="--json" in args)
    except UnicodeEncodeError as error:
        code = _undecoded(error, args)
    except Exception as error:  # noqa: BLE001 - a defect of ours; a program still gets its document
        code = _defect(error, as_json="--json" in args)
    sys.exit(int(code))


def _prepare_streams() -> None:
    """Have every text shown, in whatever locale, and nothing begun whose answer nobody could get."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - held until the end
    if sys.stdout is None:
        say("gpumodctl: cannot write the answer: stdout is closed; nothing was done")
        sys.exit(int(ExitCode.FAILED))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _stdout_fails() -> bool:
    """Whether what went wrong was writing the answer; a blank line harms none."""
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        return True
    return False


def _unwritten(error: OSError) -> ExitCode:
    _forget_stdout()
    say(f"gpumodctl: cannot write the answer: {error.strerror or error}")
    return ExitCode.FAILED


def _forget_stdout() -> None:
    """Give up what is not written yet: Python would try, and complain, at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _undecoded(error: UnicodeEncodeError, args: Sequence[str]) -> ExitCode:
    """An argument with bytes that are no UTF-8 cannot be sent to the daemon."""
    for argument in args:
        if argument.encode(errors="replace").decode() != argument:
            return report(InvalidRequestError(f"{argument!r} is no text in UTF-8"), as_json="--json" in args)
    return _defect(error, as_json="--json" in args)


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
