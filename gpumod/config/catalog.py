"""All presets and modes that can be used, and everything that is wrong with the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from gpumod.config.documents import Document, DocumentError, Location, read_document
from gpumod.config.modes import RESERVED, Presets, Surroundings, named_presets, resolve_mode
from gpumod.config.preset_checks import judge
from gpumod.config.problems import close_to, describe, in_order, located, problem_at
from gpumod.config.settings import Settings, read_settings
from gpumod.config.sources import Kind, Reader, Source, shipped_files
from gpumod.config.specs import service_spec
from gpumod.core.names import BLANK
from gpumod.core.spec import BLANK_MODE, Catalog, Mode, Problem, ServiceSpec


def load_catalog(settings: Settings, texts: Mapping[Path, str] | None = None) -> Catalog:
    """Read all presets and modes. Never raises for what is in them.

    Shipped presets and modes are templates: in use once a mode of the user's or `modes:` and
    `presets:` in config.yaml name them. A file of the user's with the same id comes first, even a
    bad one: what the user meant to replace does not come back by itself.

    Args:
        settings: where the user's files are, variables, and which templates are in use.
        texts: contents that stand in for files on disk.
    """
    return _Loading(settings, Reader(settings.variables, dict(texts or {}))).catalog()


def check_files(
    chosen: Path | None = None, env: Mapping[str, str] | None = None
) -> tuple[Settings | None, Catalog, tuple[Problem, ...]]:
    """Everything that is wrong, or odd, with settings, presets and modes, in one answer.

    Presets and modes are judged although settings are wrong, unless config.yaml cannot be read at all.

    Raises:
        ConfigError: the folder that was asked for is not there.
    """
    settings, problems = read_settings(chosen, env)
    catalog = Catalog() if settings is None else load_catalog(settings)
    return settings, catalog, in_order([*problems, *catalog.problems])


class _Loading:
    def __init__(self, settings: Settings, reader: Reader) -> None:
        self._settings = settings
        self._reader = reader
        self._env = settings.variables.environment
        self._problems: list[Problem] = []
        self._disabled: dict[Kind, dict[str, str]] = {"presets": {}, "modes": {}}

    def catalog(self) -> Catalog:
        """Read everything."""
        modes = self._sources("modes", self._settings.modes)
        named = [name for source in modes for name in named_presets(source.value)]
        presets = self._sources("presets", self._settings.presets, named)
        specs, usable = self._presets(presets)
        known = self._modes(modes, usable)
        self._boot(known)
        return Catalog(
            presets=tuple(sorted(specs, key=lambda spec: spec.preset)),
            modes=(BLANK_MODE, *sorted(known, key=lambda mode: mode.id)),
            problems=in_order(self._problems),
            disabled=tuple(sorted({*self._disabled["presets"].items(), *self._disabled["modes"].items()})),
        )

    def _sources(self, kind: Kind, listed: Iterable[str], named: Iterable[str] = ()) -> tuple[Source, ...]:
        """The user's files, and the shipped ones that are listed or named and not the user's own."""
        sources, problems = self._reader.users(self._settings.config_dir / kind)
        self._problems += problems
        shipped = shipped_files(kind)
        own = {source.id for source in sources}
        for index, name in enumerate(listed):
            if name not in own and name not in shipped:
                suggestion = close_to(name, {*own, *shipped})
                self._configured((kind, index), f"there is no {kind[:-1]} {name}", suggestion)
        wanted = dict.fromkeys([*listed, *named])
        return sources + tuple(
            self._reader.source(shipped[name]) for name in wanted if name in shipped and name not in own
        )

    def _presets(self, sources: tuple[Source, ...]) -> tuple[list[ServiceSpec], Presets]:
        specs: list[ServiceSpec] = []
        values = {}
        twice = _duplicates(sources)
        for source in sources:
            problems = [*source.problems, *twice.get(source.document.file, ())]
            judgement = judge(source.value, has_home=bool(self._env.get("HOME"))) if source.value else None
            if judgement is not None:
                problems += [located(source.document, one) for one in judgement.findings]
            elif source.sound:
                problems.append(problem_at(source.document, (), "the file says nothing"))
            if (
                self._keep("presets", source, problems)
                and judgement is not None
                and judgement.preset is not None
            ):
                specs.append(service_spec(judgement.preset, preset_id=source.id, env=self._env))
                values[source.id] = source.value
        for name in values:
            # An unreadable file whose name happens to be the id of a sound preset.
            self._disabled["presets"].pop(name, None)
        return specs, Presets(values, dict(self._disabled["presets"]), tuple(shipped_files("presets")))

    def _modes(self, sources: tuple[Source, ...], presets: Presets) -> list[Mode]:
        ports = tuple(address.port for address in self._settings.listen)
        around = Surroundings(self._env, ports)
        modes = []
        twice = _duplicates(sources)
        for source in sources:
            mode, problems = resolve_mode(source, presets, around) if source.value else (None, [])
            problems = [*source.problems, *twice.get(source.document.file, ()), *problems]
            if not problems and mode is None:
                problems.append(problem_at(source.document, (), "the file says nothing"))
            if self._keep("modes", source, problems) and mode is not None:
                modes.append(mode)
        for mode in modes:
            self._disabled["modes"].pop(mode.id, None)
        return modes

    def _keep(self, kind: Kind, source: Source, problems: list[Problem]) -> bool:
        """Note what is wrong; whether the file can be used."""
        self._problems += problems
        reason = next((describe(one) for one in in_order(problems) if not one.warning), "")
        if reason and source.id not in RESERVED:
            self._disabled[kind].setdefault(source.id, reason)
        return not reason

    def _boot(self, modes: list[Mode]) -> None:
        boot = self._settings.boot
        names = {mode.id for mode in modes}
        if boot in {"last", BLANK, *names}:
            return
        if reason := self._disabled["modes"].get(boot):
            self._configured(("boot",), f"mode {boot} is disabled: {reason}", "")
        else:
            self._configured(("boot",), f"there is no mode {boot}", close_to(boot, {"last", BLANK, *names}))

    def _configured(self, location: Location, detail: str, suggestion: str) -> None:
        """Note what is wrong with a setting that names a preset or a mode."""
        try:
            document = read_document(self._settings.config_file)
        except DocumentError:
            document = Document(str(self._settings.config_file), {})
        if isinstance(document.value, dict) and location[0] in document.value:
            self._problems.append(problem_at(document, location, detail, suggestion))
        else:
            key = f"GPUMOD_{str(location[0]).upper()}"
            self._problems.append(Problem("environment", detail, key=key, suggestion=suggestion))


def _duplicates(sources: Iterable[Source]) -> dict[str, list[Problem]]:
    """Problems, by file, of files whose id another file has too."""
    declared = [source for source in sources if source.value.get("id") == source.id]
    count = Counter(source.id for source in declared)
    found: dict[str, list[Problem]] = {}
    for source in declared:
        if count[source.id] > 1:
            others = [one.document.file for one in declared if one.id == source.id and one is not source]
            problem = problem_at(source.document, ("id",), f"{', '.join(others)} has the id {source.id} too")
            found[source.document.file] = [problem]
    return found
