"""The buffer sizes that llama.cpp logs when it starts.

One line per buffer, such as `load_tensors:        CUDA0 model buffer size =  4403.49 MiB`; levels below
`--verbosity 4` leave some of them out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

_MIB: Final = 1 << 20
_LINE: Final = re.compile(
    r"(?P<who>\w+): +(?P<device>[\w:.-]+) +(?P<kind>model|KV|RS|output|compute) +"
    r"buffer size *(?:=|is) *(?P<size>\d+\.\d+) MiB"
)

PARTS: Final = {
    "model": "weights",
    "KV": "KV cache",
    "RS": "recurrent state",
    "output": "output buffer",
    "compute": "compute buffer",
}
"""A part's name by the word that llama.cpp has for it."""


class LoggedBuffer(NamedTuple):
    """One buffer.

    Args:
        part: as footprints name it.
        device: llama.cpp's name of the buffer, such as `CUDA0`, `CPU_Mapped` or `CUDA_Host`.
        size: bytes, as exact as the line is.
        rounding: by how many bytes `size` may be off.
        who: the function that wrote the line: a projector's are not the model's.
    """

    part: str
    device: str
    size: int
    rounding: int
    who: str

    @property
    def on_host(self) -> bool:
        """Whether it is in the host's memory."""
        return self.device.startswith("CPU") or self.device.endswith("_Host")


def logged_buffers(lines: Iterable[str]) -> Iterator[LoggedBuffer]:
    """The buffers in a log, in its order; a model and its draft each have theirs."""
    for line in lines:
        match = _LINE.search(line)
        if match is not None and "expectation" not in line:
            digits = len(match["size"].partition(".")[2])
            rounding = -(-_MIB // (2 * 10**digits))
            size = round(float(match["size"]) * _MIB)
            yield LoggedBuffer(PARTS[match["kind"]], match["device"], size, rounding, match["who"])
