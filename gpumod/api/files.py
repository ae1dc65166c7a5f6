"""Routes on what users' files say: modes, presets, and what is wrong in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path
from starlette.responses import Response

from gpumod.api.bodies import NAME, Nothing, VersionAnswer
from gpumod.api.context import Answer, Ctx, answer
from gpumod.api.document import changing, reading
from gpumod.api.idempotency import OnceOnly
from gpumod.core.errors import NotFoundError
from gpumod.core.names import ModeId, PresetId
from gpumod.core.near import hint
from gpumod.core.spec import Catalog, Mode, Problem, ServiceSpec

router = APIRouter(tags=["files"])
Id = Annotated[str, Path(pattern=NAME)]


@router.get("/modes", responses=reading(tuple[Mode, ...]))
async def modes(ctx: Ctx) -> Response:
    """Every mode in use."""
    return answer(ctx.deps.switching.catalog().modes)


@router.get("/modes/{id}", responses=reading(Mode, 404))
async def mode(ctx: Ctx, id: Id) -> Response:
    """One mode."""
    catalog = ctx.deps.switching.catalog()
    found = catalog.mode(ModeId(id))
    if found is None:
        raise _missing("mode", id, catalog, [one.id for one in catalog.modes])
    return answer(found)


@router.get("/presets", responses=reading(tuple[ServiceSpec, ...]))
async def presets(ctx: Ctx) -> Response:
    """Every preset in use."""
    return answer(ctx.deps.switching.catalog().presets)


@router.get("/presets/{id}", responses=reading(ServiceSpec, 404))
async def preset(ctx: Ctx, id: Id) -> Response:
    """One preset."""
    catalog = ctx.deps.switching.catalog()
    found = catalog.preset(PresetId(id))
    if found is None:
        raise _missing("preset", id, catalog, [one.preset for one in catalog.presets])
    return answer(found)


def _missing(kind: str, id_: str, catalog: Catalog, known: Sequence[str]) -> NotFoundError:
    disabled = dict(catalog.disabled).get(id_)
    if disabled:
        detail = f"{kind} {id_} is disabled: {disabled}"
    else:
        detail = f"no {kind} is called {id_}; {hint(id_, known)}"
    return NotFoundError(detail, {kind: id_})


@router.get("/config/problems", responses=reading(tuple[Problem, ...]))
async def problems(ctx: Ctx) -> Response:
    """What is wrong in the files; what they describe is disabled until it is mended."""
    return answer(ctx.deps.switching.catalog().problems)


@router.post("/config/reload", responses=changing(Catalog))
async def reload(ctx: Ctx, once: OnceOnly, body: Nothing) -> Response:
    """Read the files again; running services are not touched."""

    async def effect() -> Answer:
        return Answer(200, await ctx.act(ctx.deps.switching.reload()))

    return await once(body, effect)


@router.get("/config/schema", responses=reading(dict[str, Any]))
async def schema(ctx: Ctx) -> Response:
    """The JSON Schema of the files that users write."""
    return answer(ctx.deps.schema())


@router.get("/version", responses=reading(VersionAnswer), tags=["box"])
async def version(ctx: Ctx) -> Response:
    """Versions of the daemon and of this API, and the folder of the daemon's files."""
    return answer(VersionAnswer(ctx.deps.version, "v1", ctx.deps.config_dir))
