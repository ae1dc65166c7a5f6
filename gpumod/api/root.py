"""Routes at the root: for probes, for Prometheus, and the page for people."""

from __future__ import annotations

import html

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from gpumod.access import Scope
from gpumod.api import metrics
from gpumod.api.bodies import ReadyAnswer
from gpumod.api.context import Caller, Context, Ctx, answer
from gpumod.api.document import reading, shown
from gpumod.api.page import PAGE, POLICY
from gpumod.core.cards import DriverState
from gpumod.core.errors import GpumodError
from gpumod.core.metrics import MEDIA_TYPE, exposition

router = APIRouter(tags=["root"])
_PATIENCE = 2.0
"""Seconds for what probes and people wait for."""
_COUNTED = 200
"""So many switches may end between two scrapes and all be counted."""


@router.get("/health", responses=reading(ReadyAnswer))
async def health() -> Response:
    """That the daemon is alive."""
    return answer(ReadyAnswer("alive"))


@router.get(
    "/ready",
    responses={**reading(ReadyAnswer), 503: shown(ReadyAnswer, "Not ready, and why.")},
)
async def ready(ctx: Ctx, caller: Caller) -> Response:
    """Whether the daemon has recovered, and its driver and store are well."""
    reason = ctx.deps.ready() or await _driver(ctx)
    # Anybody may ask; what is wrong is for those who may read.
    shown = reason if caller.may(Scope.READ) else ""
    verdict = ReadyAnswer("not ready" if reason else "ready", shown)
    return Response(answer(verdict).body, 503 if reason else 200, media_type="application/json")


async def _driver(ctx: Context) -> str:
    try:
        look = (
            await ctx.read(ctx.deps.switching.status(), within=min(_PATIENCE, ctx.deps.limits.answer))
        ).reading
    except GpumodError as error:
        return error.detail
    if look.driver in {DriverState.OK, DriverState.ABSENT}:
        return ""
    return look.reason or f"the driver is {look.driver}"


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        **reading(None),
        200: {
            "description": "Prometheus' text format.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
    },
)
async def scrape(ctx: Ctx) -> Response:
    """Everything that can be counted, for Prometheus."""
    deps = ctx.deps
    box = await ctx.read(deps.switching.status())
    latest = await ctx.read(deps.switching.switches(_COUNTED))
    await ctx.metrics.count(latest, lambda id_: ctx.read(deps.switching.switch(id_)))
    every = (
        *metrics.of_box(box),
        *ctx.metrics.switches(),
        *metrics.of_api(ctx.answers, ctx.streams.open),
        *deps.metrics(),
    )
    return Response(exposition(every), media_type=MEDIA_TYPE)


@router.get(
    "/",
    response_class=HTMLResponse,
    responses={
        **reading(None),
        200: {"description": "The status page.", "content": {"text/html": {"schema": {"type": "string"}}}},
    },
)
async def page(ctx: Ctx, caller: Caller) -> Response:
    """The status page; it reads the API, with a key where one is needed."""
    said = await _in_words(ctx) if caller.may(Scope.READ) else ""
    return HTMLResponse(
        PAGE.replace("<!--box-->", html.escape(said)), headers={"Content-Security-Policy": POLICY}
    )


async def _in_words(ctx: Context) -> str:
    """The box in one sentence, for a browser that runs no scripts."""
    try:
        box = await ctx.read(ctx.deps.switching.status(), within=min(_PATIENCE, ctx.deps.limits.answer))
    except GpumodError as error:
        return error.detail
    return f"Mode {box.mode}, {box.state}: {box.reason}."
