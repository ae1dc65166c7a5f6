"""Changes a mode file and keeps what its author wrote around it."""

from __future__ import annotations

import re
from pathlib import Path

from gpumod.config.catalog import load_catalog
from gpumod.config.documents import DocumentError, parse_document, read_text
from gpumod.config.fields import ID_PATTERN, PATTERN_WORDS
from gpumod.config.mode_text import services_from, with_service
from gpumod.config.problems import describe
from gpumod.config.settings import Settings
from gpumod.config.sources import Reader, shipped_files
from gpumod.config.writing import write_file
from gpumod.core.errors import InvalidRequestError, NotFoundError
from gpumod.core.names import BLANK, ModeId
from gpumod.core.spec import Catalog


def set_mode_service(settings: Settings, mode: str, service: str, preset: str) -> Path:
    """Let a service of a mode run from a preset; a service that the mode has not is added to it.

    Nothing else in the file changes, comments included. A shipped mode is copied to the user's folder
    first. Nothing is written unless the mode can be used afterwards.

    Returns:
        the file that was written.

    Raises:
        NotFoundError: no such mode or preset.
        InvalidRequestError: the mode is built in, an id is malformed, or the mode could not be used then.
    """
    _check(mode, service, preset)
    target, text = _file_of(settings, mode)
    _write(settings, target, with_service(text, service, preset), mode, preset)
    return target


def replace_preset(settings: Settings, mode: str, old: str, new: str) -> tuple[Path, tuple[str, ...]]:
    """Let the services of a mode that run from one preset run from another; they keep their ids and keys.

    Everything else as in `set_mode_service`.

    Returns:
        the file that was written, and the services that were changed.

    Raises:
        NotFoundError: no such mode or preset, or the mode runs nothing from the old one.
        InvalidRequestError: as `set_mode_service`.
    """
    _check(mode, old, new)
    target, text = _file_of(settings, mode)
    services = services_from(text, old)
    if not services:
        raise NotFoundError(f"mode {mode} runs nothing from {old}", {"mode": mode, "preset": old})
    for service in services:
        text = with_service(text, service, new)
    _write(settings, target, text, mode, new)
    return target, tuple(services)


def _check(mode: str, *names: str) -> None:
    if mode == BLANK:
        raise InvalidRequestError("mode blank is built in and has no services")
    for name in names:
        if not re.fullmatch(ID_PATTERN, name):
            raise InvalidRequestError(f"{name!r} {PATTERN_WORDS[ID_PATTERN]}")


def _write(settings: Settings, target: Path, changed: str, mode: str, preset: str) -> None:
    """Write a mode's file, if the mode can be used then."""
    catalog = load_catalog(settings, {target: changed})
    if catalog.mode(ModeId(mode)) is None:
        raise _refusal(catalog, target, mode, preset)
    write_file(target, changed)


def _file_of(settings: Settings, mode: str) -> tuple[Path, str]:
    """The user's file of a mode and its text; for a shipped mode the file that it will be."""
    folder = settings.config_dir / "modes"
    sources, _ = Reader(settings.variables).users(folder)
    found = [Path(source.document.file) for source in sources if source.id == mode]
    if len(found) > 1:
        names = ", ".join(map(str, found))
        raise InvalidRequestError(f"several files have the id {mode}: {names}")
    source = found[0] if found else shipped_files("modes").get(mode)
    if source is None:
        raise NotFoundError(f"there is no mode {mode}", {"mode": mode})
    try:
        text = read_text(source)
        # Bounded and one document: what `with_service` asks for.
        parse_document(text, str(source))
    except DocumentError as error:
        raise InvalidRequestError(describe(error.problem)) from error
    return (source if found else folder / f"{mode}.yaml"), text


def _refusal(catalog: Catalog, target: Path, mode: str, preset: str) -> Exception:
    problems = [one for one in catalog.problems if one.file == str(target) and not one.warning]
    detail = "; ".join(describe(one) for one in problems) or dict(catalog.disabled).get(
        mode, "it cannot be used"
    )
    facts = {"mode": mode, "preset": preset}
    if any(f"there is no preset {preset}" in one.detail for one in problems):
        return NotFoundError(f"nothing was changed: {detail}", facts)
    return InvalidRequestError(f"nothing was changed, since mode {mode} could not be used: {detail}", facts)
