"""Sets a box up: looks at what is there, and writes presets and a first mode for it."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

from gpumod.config.catalog import load_catalog
from gpumod.config.problems import describe
from gpumod.config.settings import CONFIG_FILE, Settings, load_settings
from gpumod.config.writing import write_file
from gpumod.core.cards import Card, CardModel, CardsReading
from gpumod.core.errors import GpumodError
from gpumod.core.footprint import Footprint
from gpumod.core.landmine import Landmine
from gpumod.core.spec import EngineKind, ServiceSpec
from gpumod.core.units import format_size
from gpumod.discovery.box import box_of, held, read_cards
from gpumod.discovery.compose import Composed, Composer
from gpumod.discovery.existing import existing, unchanged_ours
from gpumod.discovery.find import Models, Tell, find_models
from gpumod.discovery.marks import marked
from gpumod.discovery.modes import first_mode, mode_id
from gpumod.discovery.places import places
from gpumod.discovery.preset_text import mode_text, preset_text, settings_text
from gpumod.discovery.programs import Program, best_program, containers, find_programs
from gpumod.discovery.report import Action, Engine, File, Looked, Report
from gpumod.discovery.sizing import Sizer
from gpumod.discovery.values import Place
from gpumod.estimate import ModelFootprints
from gpumod.estimate.landmines.trap import HostFacts

VARIABLE: Final = "MODELS"
_ENGINES: Final = (EngineKind.LLAMA_CPP, EngineKind.VLLM)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    Args:
        config: the user's folder; None takes the usual one. It need not be there.
        folders: where to look besides the usual places, absolute.
        dry_run: write nothing.
        force: replace files that init itself wrote and nobody changed.
    """

    config: Path | None = None
    folders: tuple[str, ...] = ()
    dry_run: bool = False
    force: bool = False


def initialise(request: Request, env: Mapping[str, str], tell: Tell) -> Report:
    """Look around, and write what is missing.

    Raises:
        ConfigError: config.yaml is wrong as it is.
        InvalidRequestError: a file cannot be written.
        GpumodError: what would be written is not sound, which is a defect; nothing was written.
    """
    settings = load_settings(request.config, env, may_be_new=True)
    tell("looking at cards and engines")
    reading, programs = asyncio.run(_look(settings, env))
    looked = places(env, request.folders)
    tell(f"looking for models in {len(looked)} places")
    models = find_models(looked, tell)
    return _Setup(request, env, settings, reading, programs).report(looked, models, tell)


async def _look(settings: Settings, env: Mapping[str, str]) -> tuple[CardsReading, tuple[Program, ...]]:
    reading, programs = await asyncio.gather(read_cards(settings), find_programs(settings.engines, env))
    return reading, programs


class _Setup:
    def __init__(
        self,
        request: Request,
        env: Mapping[str, str],
        settings: Settings,
        reading: CardsReading,
        programs: tuple[Program, ...],
    ) -> None:
        self._request = request
        self._env = env
        self._settings = settings
        self._reading = reading
        self._programs = programs
        self._box = box_of(reading)
        nvidia = not self._box.on_host
        best = {kind: best_program(programs, kind, nvidia=nvidia) for kind in _ENGINES}
        self._best = {kind: program for kind, program in best.items() if program is not None}
        self._existing = existing(settings)
        self._config_is_free = not settings.config_file.exists() or (
            request.force and unchanged_ours(settings.config_file)
        )

    def report(self, looked: tuple[Place, ...], models: Models, tell: Tell) -> Report:
        """Compose, check and write; what was done."""
        tell("working out what fits")
        composed = self._composer().compose(models)
        variables = self._variables(models, composed)
        files = [*self._config(variables, composed), *self._presets(composed, variables)]
        mode, mode_files = self._mode(composed)
        files += mode_files
        self._check(files)
        if not self._request.dry_run:
            for file in files:
                if file.action is not Action.KEPT:
                    write_file(file.path, file.text)
        return Report(
            config=self._settings.config_dir,
            cards=self._reading.cards,
            host=self._reading.host,
            driver=self._reading.reason,
            engines=tuple(self._engines()),
            containers=containers(self._env),
            looked=_looked(looked, models),
            models=tuple(composed.models),
            skipped=(*models.skipped, *composed.skipped),
            files=tuple(files),
            mode=mode,
            notes=tuple(self._notes()),
            dry_run=self._request.dry_run,
        )

    def _composer(self) -> Composer:
        host = HostFacts(self._reading.host.total, wsl=Path("/dev/dxg").exists())
        footprints = ModelFootprints(host=host)
        builds = {kind: program.build for kind, program in self._best.items()}

        @cache
        def predict(spec: ServiceSpec, count: int, model: CardModel) -> Footprint:
            return footprints.footprint(spec, count, model, builds.get(spec.engine))

        def landmines(spec: ServiceSpec, count: int, model: CardModel) -> tuple[Landmine, ...]:
            return footprints.landmines(spec, count, model, builds.get(spec.engine))

        named = frozenset(
            kind
            for kind, program in self._best.items()
            if not (self._config_is_free or program.configured or program.found)
        )
        folder = self._settings.config_dir / "presets"
        sizer = Sizer(self._box, predict, landmines)
        return Composer(sizer, self._best, named, self._existing, folder, self._request.force)

    # --- files ------------------------------------------------------------------------------------

    def _variables(self, models: Models, composed: Composed) -> dict[str, str]:
        """Folders that paths can be told by: the user's own, and the one with most of the models."""
        known = {name: path for name, path in self._settings.variables.own.items() if path.startswith("/")}
        if VARIABLE in self._settings.variables.own or not self._config_is_free:
            return known
        paths = [preset.spec.model or "" for preset in composed.presets.values()]
        count = Counter(place.path for path in paths if (place := _place_of(path, models.there)))
        found = [place for place, _ in count.most_common(1) if "/." not in place]
        return known | {VARIABLE: found[0]} if found else known

    def _config(self, variables: Mapping[str, str], composed: Composed) -> Iterator[File]:
        path = self._settings.config_file
        if not self._config_is_free:
            yield File(path, Action.KEPT)
            return
        programs = {
            kind.value: (program.name, _one_line(program.build.version if program.build else ""))
            for kind, program in self._best.items()
        }
        if composed.presets and (variables or programs):
            action = Action.REPLACED if path.exists() else Action.NEW
            yield File(path, action, marked(settings_text(variables, programs)))

    def _presets(self, composed: Composed, variables: Mapping[str, str]) -> Iterator[File]:
        for path, preset in composed.presets.items():
            action = Action.REPLACED if path.exists() else Action.NEW
            yield File(path, action, marked(preset_text(preset, variables)))
        for model in composed.models:
            written = self._existing.presets.get(model.preset)
            if model.action is Action.KEPT and written is not None:
                yield File(written.path, Action.KEPT)

    def _mode(self, composed: Composed) -> tuple[str, list[File]]:
        """The first mode, where the user has none; what is to be switched to."""
        own = sorted(self._existing.modes.values(), key=lambda one: one.id)
        ours = [one for one in own if one.ours and self._request.force]
        if own and not ours:
            usable = [
                one.id for one in own if any(mode.id == one.id for mode in self._existing.catalog.modes)
            ]
            return (usable[0] if usable else ""), [File(one.path, Action.KEPT) for one in own]
        members = first_mode(composed.members, self._box)
        if not members:
            return "", []
        name = ours[0].id if ours else mode_id(self._existing.ids)
        path = ours[0].path if ours else self._settings.config_dir / "modes" / f"{name}.yaml"
        default = str(members[0].spec.id)
        about = ["The largest model that fits, and what fits beside it."]
        text = mode_text(name, "What init found", [str(one.spec.id) for one in members], default, about)
        return name, [File(path, Action.REPLACED if ours else Action.NEW, marked(text))]

    def _check(self, files: Iterable[File]) -> None:
        """Read what would be written as the daemon would, before anything is written.

        Raises:
            GpumodError: it is not sound.
        """
        texts = {file.path: file.text for file in files if file.text}
        settings = self._settings
        if settings.config_file in texts:
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, CONFIG_FILE).write_text(texts.pop(settings.config_file), encoding="utf-8")
                settings = replace(load_settings(Path(folder), self._env), config_dir=settings.config_dir)
        problems = load_catalog(settings, texts).problems
        ours = [describe(one) for one in problems if not one.warning and Path(one.file) in texts]
        if ours:
            raise GpumodError(f"a defect in gpumodctl, nothing was written: {'; '.join(ours)}")

    # --- what to tell -----------------------------------------------------------------------------

    def _engines(self) -> Iterator[Engine]:
        for one in self._programs:
            used = self._best.get(one.kind) is one
            yield Engine(one.kind, one.name, one.build.version if one.build else "", used, one.problem)

    def _notes(self) -> Iterator[str]:
        llama = self._best.get(EngineKind.LLAMA_CPP)
        if llama is not None and llama.cuda is False and self._box.rooms and not self._box.on_host:
            yield f"{llama.name} seems to be built without CUDA: it cannot use the cards; install one that is"
        for card, used in held(self._reading.cards):
            yield (
                f"{format_size(used)} of card {card.index} are held by {_holders(card)}: presets count "
                "on them; stop what holds them before a switch"
            )
        yield from (card.reason for card in self._reading.cards if not card.usable and card.reason)


def _place_of(path: str, places: Iterable[Place]) -> Place | None:
    """The innermost place that a path is below."""
    around = [place for place in places if path.startswith(place.path.rstrip("/") + "/")]
    return max(around, key=lambda place: len(place.path), default=None)


def _looked(looked: Iterable[Place], models: Models) -> tuple[Looked, ...]:
    paths = [found.model.files.path for found in models.ggufs] + [
        one.folder.path for one in models.checkpoints
    ]
    count = Counter(place.path for path in paths if (place := _place_of(path + "/", models.there)))
    there = {place.path for place in models.there}
    return tuple(Looked(place.path, place.path in there, count[place.path]) for place in looked)


def _holders(card: Card) -> str:
    names = [
        f"{Path(one.command.split(' ')[0]).name or 'process'} {one.pid}"
        for one in card.processes
        if not one.graphics
    ]
    return ", ".join(names)


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()
