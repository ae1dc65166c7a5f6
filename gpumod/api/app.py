"""The application: its routes, and the layers around them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from fastapi import FastAPI

from gpumod.access.rules import API
from gpumod.api import (
    box,
    claims,
    comparisons,
    files,
    happenings,
    jobs,
    reports,
    requests,
    root,
    schedules,
    switching,
)
from gpumod.api.context import Context
from gpumod.api.document import document
from gpumod.api.guard import Guard
from gpumod.api.problems import handle_errors
from gpumod.api.table import RouteTable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from fastapi import APIRouter

    from gpumod.api.deps import ApiDeps


def create_app(deps: ApiDeps, more: Iterable[APIRouter] = ()) -> FastAPI:
    """The API over its ports, and more routes. `app.state.context` ends streams and waits with `close`."""
    context = Context(deps)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await context.close()

    app = FastAPI(
        title="gpumod",
        version=deps.version,
        openapi_url=f"{API}/openapi.json",
        # The interactive pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.context = context
    app.state.routes = routes = RouteTable()
    below = (box, switching, claims, jobs, reports, comparisons, schedules, requests, files, happenings)
    for room, prefix in ((root, ""), *((room, API) for room in below)):
        app.include_router(room.router, prefix=prefix)
        routes.add(room.router, prefix)
    for router in more:
        app.include_router(router)
        routes.add(router)
    app.add_middleware(
        Guard, rules=deps.access, routes=routes, body_seconds=deps.limits.body, answers=context.answers
    )
    handle_errors(app)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    return app
