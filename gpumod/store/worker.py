"""A thread with one connection of its own that does jobs one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar, cast

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from gpumod.core.bounds import DEFAULT_BOUNDS
from gpumod.core.errors import StoreError
from gpumod.store.failures import explain

P = ParamSpec("P")
T = TypeVar("T")

_FULL, _NORMAL = "FULL", "NORMAL"


class Access(Enum):
    """What a connection is for: the statement that opens its transactions, and its pragmas.

    In WAL, `synchronous=FULL` is what makes a commit survive the loss of power; NORMAL would not
    (https://www.sqlite.org/pragma.html#pragma_synchronous).
    """

    WRITE = ("BEGIN IMMEDIATE", ("foreign_keys=ON", "synchronous=FULL"))
    READ = ("BEGIN", ("query_only=ON",))
    MIGRATE = ("BEGIN IMMEDIATE", ("foreign_keys=OFF", "synchronous=FULL"))
    """Without foreign keys: a table that is rebuilt must not take others' rows with it."""

    def __init__(self, begin: str, pragmas: tuple[str, ...]) -> None:
        self.begin = begin
        self.pragmas = pragmas


def make_engine(path: Path, access: Access, *, busy: float = DEFAULT_BOUNDS.store_locked) -> Engine:
    """An engine whose transactions are SQLite's own.

    The driver's implicit BEGIN is off (`isolation_level=None`): it would begin late and deferred, and a
    transaction that reads before it writes would then fail or lose an update.
    """

    def connect() -> sqlite3.Connection:
        connection = open_file(path, busy=busy)
        try:
            for pragma in access.pragmas:
                connection.execute(f"PRAGMA {pragma}")
            if access is not Access.READ:
                _use_wal(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(access.begin))
    return engine


def open_file(path: Path, *, busy: float) -> sqlite3.Connection:
    """A plain connection to a file that exists; `busy` seconds bound the wait for others' locks."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=busy, isolation_level=None)


def _use_wal(connection: sqlite3.Connection, path: Path) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise StoreError(
            f"{path} is on a file system that cannot share memory between processes (a network file system, "
            "for one): put the state directory on a local disk.",
            {"file": str(path), "journal_mode": mode},
        )


class Worker:
    """Does jobs in the order in which they were asked for, each in a transaction of its own.

    A job that was asked for is done, even if the task that waits for it is cancelled. After an error the
    connection is opened anew, so that the next job works as soon as the cause is gone.

    Transactions survive the end of the daemon, however it ends. Those of `run` survive a loss of power too,
    together with all that came before them; those of `run_lightly` do so once the next `run` has returned.
    What a loss of power leaves is therefore always what an earlier end of the daemon could have left.
    """

    def __init__(
        self, name: str, path: Path, access: Access, *, busy: float = DEFAULT_BOUNDS.store_locked
    ) -> None:
        self._path = path
        self._engine = make_engine(path, access, busy=busy)
        self._connection: Connection | None = None
        self._sync = _FULL
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._closed = False

    async def run(self, job: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do a job in a transaction; returns once it is committed.

        Raises:
            StoreError: it could not be done, and nothing of it was.
        """
        return await self.call(partial(self._in_transaction, _FULL, job, *args, **kwargs))

    async def run_lightly(
        self, job: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `run`, without waiting for the disk to sync, which takes most of a small transaction's time.

        Raises:
            StoreError: as `run`.
        """
        return await self.call(partial(self._in_transaction, _NORMAL, job, *args, **kwargs))

    async def call(self, act: Callable[[], T]) -> T:
        """Do something in the thread, in turn, without a transaction."""
        if self._closed:
            raise StoreError(f"{self._path} has been closed.", {"file": str(self._path)})
        return await self._submit(act)

    async def _submit(self, act: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[T] = loop.create_future()

        def done(result: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(_hand_over, result, waiter)

        self._executor.submit(self._explained, act).add_done_callback(done)
        return await waiter

    async def close(self, last: Callable[[Connection], object] | None = None) -> None:
        """Do what was asked for, then `last`, then close connection and thread."""
        if self._closed:
            return
        self._closed = True
        try:
            await self._submit(partial(self._end, last))
        except asyncio.CancelledError:
            self._executor.shutdown(wait=False)  # the thread ends by itself
            raise
        self._executor.shutdown(wait=True)

    def _end(self, last: Callable[[Connection], object] | None) -> None:
        if last is not None and self._connection is not None:
            with contextlib.suppress(DBAPIError):
                last(self._connection)
        self._drop()
        self._engine.dispose()

    def _in_transaction(
        self, sync: str, job: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if self._connection is None:
            self._connection = self._engine.connect()
            self._sync = _FULL
        if sync != self._sync:
            self._set_sync(self._connection, sync)
        with self._connection.begin():
            return job(self._connection, *args, **kwargs)

    def _set_sync(self, connection: Connection, sync: str) -> None:
        # Past SQLAlchemy, which would begin a transaction: SQLite refuses this pragma within one.
        driver = cast("sqlite3.Connection", connection.connection.driver_connection)
        driver.execute(f"PRAGMA synchronous={sync}")
        self._sync = sync

    def _explained(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except BaseException as error:
            self._drop()
            if isinstance(error, DBAPIError | sqlite3.Error | OSError):
                raise explain(error, self._path) from error
            raise

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(DBAPIError, sqlite3.Error):
                connection.close()


def _hand_over(result: Future[T], waiter: asyncio.Future[T]) -> None:
    if waiter.done():  # cancelled: nobody waits any more
        return
    error = result.exception()
    if error is None:
        waiter.set_result(result.result())
    else:
        waiter.set_exception(error)
