"""What a landmine is made of: the facts of a launch, and a function of them that tells whether it goes off.

A new landmine is one function in the engine's file, with its words in the decorator:

    @trap(
        "llama-something",
        engines=LLAMA,
        reason="What goes wrong, and why, as the documentation says it.",
        fix="What to do about it.",
        source="where that is known from",
    )
    def something(launch: Launch) -> Found | None:
        if launch.spec.slots != 7:
            return None
        return Found("slots: 7 does this and that")

and its name in the tuple at the end of that file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from gpumod.core.cards import HOST_CARD_NAME, CardModel
from gpumod.core.landmine import Landmine
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import EngineKind, ServiceSpec
from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.gguf.header import GgufHeader
from gpumod.estimate.prediction import Prediction
from gpumod.estimate.vllm.checkpoint import Checkpoint
from gpumod.estimate.vllm.model import Model


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What is known of the box besides its cards.

    Args:
        memory: bytes of the host's memory; None where it is not known.
        wsl: the kernel is that of the Windows Subsystem for Linux.
    """

    memory: int | None = None
    wsl: bool = False


@dataclass(frozen=True, slots=True)
class Launch:
    """Everything that is known of a launch before it.

    Args:
        spec: the service.
        count: how many cards of `card`'s model it would run on.
        card: the cards' model.
        build: the engine's program; None where it was not found or not asked.
        gguf: the model's header, where it is a GGUF that could be read.
        checkpoint: the model, where it is a folder that vLLM loads and that could be read.
        trouble: why the model could not be read, where it could not.
        prediction: what the formulas say of it, where they could say something.
        host: what is known of the box.
    """

    spec: ServiceSpec
    count: int
    card: CardModel
    build: EngineBuild | None = None
    gguf: GgufHeader | None = None
    checkpoint: Checkpoint | None = None
    trouble: ModelFileError | None = None
    prediction: Prediction | None = None
    host: HostFacts = field(default_factory=HostFacts)

    @property
    def model(self) -> Model | None:
        """What the config.json of a checkpoint says."""
        return self.checkpoint.model if self.checkpoint is not None else None

    @property
    def on_host(self) -> bool:
        """Whether it runs on the host's memory instead of a GPU."""
        return self.card.name == HOST_CARD_NAME

    def given(self, *names: str) -> str | None:
        """The value of an option in the user's `args`: `""` where it has none, None where it is not there.

        Args:
            names: every spelling of the option.
        """
        for index, word in enumerate(self.spec.args):
            name, equals, value = word.partition("=")
            if name in names:
                following = self.spec.args[index + 1 : index + 2]
                after = following[0] if following and not following[0].startswith("-") else ""
                return value if equals else after
        return None

    def before(self, major: int, minor: int) -> bool:
        """Whether the engine's build is known to be older than a version."""
        if self.build is None:
            return False
        numbers = self.build.version.split(".")[:2]
        if len(numbers) < 2 or not all(number.isdigit() for number in numbers):
            return False
        return (int(numbers[0]), int(numbers[1])) < (major, minor)


@dataclass(frozen=True, slots=True)
class Found:
    """A landmine in the way of one launch.

    Args:
        detail: one sentence with this launch's numbers.
        fix: what to do about this one; None takes the trap's own.
        fatal: whether this one stops the launch; None takes the trap's own.
    """

    detail: str
    fix: str | None = None
    fatal: bool | None = None


@dataclass(frozen=True, slots=True)
class Trap:
    """A known landmine.

    Args:
        id: stable, beginning with the engine.
        engines: whose launches it lies in the way of.
        reason: what goes wrong and why, for the documentation.
        fix: what to do.
        source: where it is known from: a file and function of the engine, an issue, or `measured`.
        fatal: the launch cannot work, unless `find` says otherwise.
        find: says whether a launch steps on it.
    """

    id: str
    engines: frozenset[EngineKind]
    reason: str
    fix: str
    source: str
    fatal: bool
    find: Callable[[Launch], Found | None]
    varies: bool = False
    """Whether `find` decides for each launch if it is fatal."""

    @property
    def severity(self) -> str:
        """In a word or three, for the documentation."""
        if self.varies:
            return "warning or fatal"
        return "fatal" if self.fatal else "warning"

    def landmine(self, launch: Launch) -> Landmine | None:
        """The landmine as it is shown, where the launch steps on it."""
        found = self.find(launch) if launch.spec.engine in self.engines else None
        if found is None:
            return None
        return Landmine(
            self.id,
            found.detail,
            self.fix if found.fix is None else found.fix,
            fatal=self.fatal if found.fatal is None else found.fatal,
        )


def trap(
    id: str,
    *,
    engines: Collection[EngineKind],
    reason: str,
    fix: str,
    source: str,
    fatal: bool = False,
    varies: bool = False,
) -> Callable[[Callable[[Launch], Found | None]], Trap]:
    """Make a trap of the function that finds it; the arguments are those of `Trap`."""

    def made(find: Callable[[Launch], Found | None]) -> Trap:
        return Trap(id, frozenset(engines), reason, fix, source, fatal, find, varies)

    return made
