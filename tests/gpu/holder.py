"""A program that is not ours and holds memory on a card, through the driver alone: no toolkit, no framework.

`python holder.py BYTES` with CUDA_VISIBLE_DEVICES naming one card says `held` once it has the memory, and
keeps it until its standard input is closed or it is killed.
"""

from __future__ import annotations

import ctypes
import sys


def main(size: int) -> None:
    """Hold so many bytes, on top of what the driver takes for the process itself."""
    cuda = ctypes.CDLL("libcuda.so.1")
    context, memory = ctypes.c_void_p(), ctypes.c_uint64()
    _check("cuInit", cuda.cuInit(0))
    _check("cuDevicePrimaryCtxRetain", cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
    _check("cuCtxSetCurrent", cuda.cuCtxSetCurrent(context))
    _check("cuMemAlloc", cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(size)))
    print("held", flush=True)
    sys.stdin.read()


def _check(call: str, code: int) -> None:
    if code:
        sys.exit(f"{call} answered {code}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
