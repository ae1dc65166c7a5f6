"""What of the gateway is not on the path of bytes: the list of models, and what is not there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from gpumod.core.ports import Switching
from gpumod.gateway.errors import error_document
from gpumod.gateway.exchange import Dialect
from gpumod.gateway.models import (
    ContextOf,
    Listed,
    anthropic_entry,
    anthropic_list,
    listing,
    openai_entry,
    openai_list,
)


@dataclass(frozen=True, slots=True)
class WebDeps:
    """What the routes need.

    Args:
        context_of: may read files.
        allowed: the names that a key may use, by the key's name; empty: all.
        created: unix time; clients want one for every model.
    """

    switching: Switching
    context_of: ContextOf
    allowed: Callable[[str], Collection[str]]
    created: int


def models_router(deps: WebDeps) -> APIRouter:
    """The routes below `/v1` that the control plane answers."""
    router = APIRouter(tags=["models"], include_in_schema=False)

    @router.api_route("/v1/models", methods=["GET", "HEAD"])
    async def models(request: Request) -> JSONResponse:
        found = await _listing(deps, request)
        told = anthropic_list if _is_anthropic(request) else openai_list
        return JSONResponse(told(found, deps.created))

    @router.api_route("/v1/models/{name:path}", methods=["GET", "HEAD"])
    async def model(request: Request, name: str) -> JSONResponse:
        found = next((one for one in await _listing(deps, request) if one.name == name), None)
        if found is None:
            return _missing(
                request, f"there is no model {name}: `GET /v1/models` lists what there is", "model_not_found"
            )
        told = anthropic_entry if _is_anthropic(request) else openai_entry
        return JSONResponse(told(found, deps.created))

    @router.api_route("/v1/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
    async def nothing(request: Request, path: str) -> JSONResponse:
        return _missing(request, f"there is nothing at /v1/{path}", "not_found")

    return router


async def _listing(deps: WebDeps, request: Request) -> tuple[Listed, ...]:
    status = await deps.switching.status()
    catalog = deps.switching.catalog()
    allowed = deps.allowed(request.state.principal.name)
    return await asyncio.to_thread(listing, catalog, status.mode, status.services, deps.context_of, allowed)


def _missing(request: Request, message: str, code: str) -> JSONResponse:
    dialect = Dialect.ANTHROPIC if _is_anthropic(request) else Dialect.OPENAI
    document: dict[str, Any] = error_document(dialect, 404, code, message[:300])
    return JSONResponse(document, 404)


def _is_anthropic(request: Request) -> bool:
    """Anthropic's clients say which version of its API they speak."""
    return "anthropic-version" in request.headers
