"""What looking around a box finds, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gpumod.core.spec import Task


@dataclass(frozen=True, slots=True)
class Place:
    """A folder to look for models in.

    Args:
        path: absolute.
        given: the user named it; a place that is only usual may be missing without a word.
    """

    path: str
    given: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that looks like a model and gets no preset; `reason` is a phrase."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that may belong to a model.

    Args:
        path: where it was come across, links not followed.
        size: bytes.
        identity: device and inode: the same for every link to one file.
    """

    path: str
    size: int
    identity: tuple[int, int]

    @property
    def folder(self) -> str:
        """The folder it is in."""
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        """Its name without the folder."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class GgufFiles:
    """All parts of one GGUF, in order.

    Args:
        path: the first part: what an engine is given.
        size: bytes of all parts.
        name: what people call it: the file's name without part numbers and ending, or Ollama's name.
        projector: the projector's path, where a manifest names it.
    """

    path: str
    size: int
    name: str
    projector: str | None = None

    @property
    def folder(self) -> str:
        """The folder it is in."""
        return self.path.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with `config.json` and safetensors beside it; `size` is the weights' bytes."""

    path: str
    size: int
    name: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Candidates:
    """What may be a model, judged by names alone."""

    ggufs: tuple[GgufFiles, ...] = ()
    folders: tuple[Folder, ...] = ()
    skipped: tuple[Skipped, ...] = ()


class GgufKind(StrEnum):
    """What a GGUF is good for."""

    MODEL = "model"
    PROJECTOR = "projector"
    DRAFT = "draft"


@dataclass(frozen=True, slots=True)
class GgufFacts:
    """What the header of a GGUF says that matters for a preset.

    Args:
        title: `general.name`; empty where there is none.
        trained: the context it was trained on, in tokens.
        embedding: the length of a token's embedding; of a projector, the one that it makes.
        target: of a draft that needs its model's hidden state, the length of that; else None.
        vocabulary: tokens, None where that is not told.
        tokenizer: which tokenizer, in the header's words: only equal ones can draft for each other.
        projector: the projector's type (`qwen3vl_merger`).
        mtp: a layer for multi-token prediction is in the file.
        draft: the type of a draft, as presets call it: `mtp` or `model`.
        experts: number of experts; 0 for a dense model.
        quantisable_cache: rows of the cache are whole blocks of 32, as q8_0 needs them.
    """

    kind: GgufKind
    architecture: str
    title: str = ""
    task: Task = Task.CHAT
    trained: int | None = None
    embedding: int | None = None
    target: int | None = None
    blocks: int = 0
    vocabulary: int | None = None
    tokenizer: str = ""
    projector: str = ""
    mtp: bool = False
    draft: str = ""
    experts: int = 0
    quantisable_cache: bool = True


@dataclass(frozen=True, slots=True)
class Gguf:
    """A GGUF whose header was read."""

    files: GgufFiles
    facts: GgufFacts


@dataclass(frozen=True, slots=True)
class LlamaFound:
    """A model for llama.cpp with what belongs to it."""

    model: Gguf
    projector: Gguf | None = None
    draft: Gguf | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A safetensors checkpoint for vLLM.

    Args:
        trained: the longest context that its config allows.
        architecture: the first of `architectures`.
    """

    folder: Folder
    architecture: str
    task: Task
    trained: int | None
