"""`gpumodctl status`, without what starts slowly: no HTTP library, no pydantic, no command parser."""

import sys
from collections.abc import Sequence

from gpumod.cli.layout import Block
from gpumod.cli.outcome import ExitCode, Options, print_json, report
from gpumod.cli.screen import show
from gpumod.cli.status_view import status_blocks
from gpumod.client import fast
from gpumod.client.address import find_address, find_key
from gpumod.core.errors import GpumodError

_VALUES = {"--host": "host", "--socket": "socket", "--key-file": "key_file"}


def quick_options(args: Sequence[str]) -> Options | None:
    """The options of a plain `status` command; None where the full command parser has to look at it."""
    found: dict[str, str] = {}
    as_json, command, rest = False, "", list(args)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name in _VALUES and (equals or rest):
            found[_VALUES[name]] = value if equals else rest.pop(0)
        elif name == "--json" and not equals:
            as_json = True
        elif name == "status" and not equals and not command:
            command = name
        else:
            return None
    return Options(json=as_json, **found) if command else None


def run(options: Options) -> ExitCode:
    """Show what the box is like."""
    try:
        address = find_address(options.host, options.socket)
        answer = fast.get(address, "status", find_key(key_file=options.key_file))
        if options.json:
            print_json(answer)
        else:
            show(_blocks(answer))
    except GpumodError as error:
        return report(error, as_json=options.json)
    sys.stdout.flush()
    return ExitCode.DONE


def _blocks(answer: object) -> list[Block]:
    try:
        return status_blocks(answer)  # type: ignore[arg-type]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise GpumodError(
            f"the daemon's status is not understood ({error!r}): "
            "are gpumodctl and gpumodd of the same version?"
        ) from error
