"""What survives the daemon: one SQLite file, and the lock on its directory."""

from gpumod.store.lock import StateLock
from gpumod.store.sqlite import SqliteStore, open_store

__all__ = ["SqliteStore", "StateLock", "open_store"]
