"""One daemon per state directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from gpumod.core.errors import AlreadyRunningError, StoreError


class StateLock:
    """Holds a state directory until it is released or the process ends, however it ends.

    The lock is the kernel's (`flock`); the pid in the file only tells people who holds it. The file stays:
    removing it would let two daemons lock two files of the same name. A child that is forked without exec
    shares the lock.

    Raises (at construction):
        AlreadyRunningError: another daemon holds it.
        StoreError: the directory cannot be made or written.
    """

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "daemon.lock"
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"the state directory {state_dir} cannot be used ({error.strerror}): make it writable, or "
                "name another one.",
                {"directory": str(state_dir)},
            ) from error
        try:
            self._lock(state_dir)
        except BaseException:
            os.close(self._descriptor)
            raise

    def _lock(self, state_dir: Path) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            pid = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            raise AlreadyRunningError(
                f"another gpumodd, pid {pid or 'unknown'}, uses the state directory {state_dir}: stop it, or "
                "give this one another state directory.",
                {"directory": str(state_dir), "pid": int(pid) if pid.isdecimal() else None},
            ) from None
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be locked ({error.strerror}): free some space if the disk is full, or "
                "put the state directory on a local disk.",
                {"directory": str(state_dir)},
            ) from error

    def release(self) -> None:
        """Let another daemon have the directory."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
