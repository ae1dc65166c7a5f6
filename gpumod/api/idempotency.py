"""Idempotency-Key: a request that is sent again has its effect once.

Follows the IETF draft `draft-ietf-httpapi-idempotency-key-header`: the answer of the first request,
success or refusal, is kept and given again; the same key with another request is an error.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Header, Request
from pydantic import BaseModel
from starlette.responses import Response

from gpumod.api.context import Answer, Caller, Context, Ctx
from gpumod.api.wire import dumps
from gpumod.core.errors import GpumodError, IdempotencyMismatchError, StoreError
from gpumod.core.problem import HTTP_STATUS, problem_from

_log = logging.getLogger(__name__)
Effect = Callable[[], Awaitable[Answer]]


class Once:
    """One request with an effect; call it with the body and the effect."""

    def __init__(self, ctx: Context, path: str, by: str, key: str | None) -> None:
        self._ctx = ctx
        self._path = path
        self._key = None if key is None else f"{by}\n{key}"
        self.by = by

    async def __call__(self, body: BaseModel, effect: Effect) -> Response:
        """The answer, from the effect or from what was kept.

        Raises:
            IdempotencyMismatchError: the key was used for another request.
            StoreError: it cannot be told whether the key was used.
        """
        if self._key is None:
            return (await effect()).response()
        fingerprint = hashlib.sha256(f"{self._path}\n{body.model_dump_json()}".encode()).hexdigest()
        if self._key not in self._ctx.under_way:
            task = self._ctx.spawn(self._first(self._key, fingerprint, effect))
            self._ctx.under_way[self._key] = (fingerprint, task)
            task.add_done_callback(lambda _: self._ctx.under_way.pop(self._key or "", None))
        known, task = self._ctx.under_way[self._key]
        if known != fingerprint:
            raise _mismatch()
        # The effect goes on if this caller leaves; another may wait for the same.
        return (await asyncio.shield(task)).response()

    async def _first(self, key: str, fingerprint: str, effect: Effect) -> Answer:
        kept = await self._kept(key)
        if kept is None:
            answer = await _outcome(effect)
            await self._keep(key, fingerprint, answer)
            return answer
        known, text = kept
        if known != fingerprint:
            raise _mismatch()
        return Answer(**json.loads(text))

    async def _kept(self, key: str) -> tuple[str, str] | None:
        try:
            async with asyncio.timeout(self._ctx.deps.limits.answer):
                return await self._ctx.deps.store.idempotent(key)
        except TimeoutError:
            detail = "the store does not answer, so it is not known whether this was done: try again later"
            raise StoreError(detail) from None

    async def _keep(self, key: str, fingerprint: str, answer: Answer) -> None:
        """Remember the answer; if that fails, what was done is done, and the caller is told of it."""
        deps = self._ctx.deps
        kept = {"status": answer.status, "value": answer.value, "headers": answer.headers}
        try:
            async with asyncio.timeout(deps.limits.answer):
                await deps.store.save_idempotent(key, fingerprint, dumps(kept).decode(), deps.now())
        except (StoreError, TimeoutError) as error:
            _log.error("an answer could not be kept under its idempotency key: %s", error)


async def _outcome(effect: Effect) -> Answer:
    """The effect's answer; a refusal is one as well, a breakdown is not and may be tried again."""
    try:
        return await effect()
    except GpumodError as error:
        if HTTP_STATUS[error.code] >= 500:
            raise
        return Answer(HTTP_STATUS[error.code], problem_from(error))


def _mismatch() -> IdempotencyMismatchError:
    return IdempotencyMismatchError("this Idempotency-Key was used for another request: use a new one")


async def _once(
    request: Request,
    ctx: Ctx,
    caller: Caller,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            pattern=r"^[!-~]{1,128}$",
            description="Sending the request again with the same key does not repeat its effect.",
        ),
    ] = None,
) -> Once:
    return Once(ctx, request.url.path, caller.name, key)


OnceOnly = Annotated[Once, Depends(_once)]
