"""What a reload changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpumod.core.spec import Catalog


@dataclass(frozen=True, slots=True)
class Difference:
    """Ids that came, went, and mean something else now; each sorted."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference between two catalogs. Preset and mode files that say the same are no change."""

    presets: Difference
    modes: Difference

    def __bool__(self) -> bool:
        return bool(self.presets or self.modes)


def changes(old: Catalog, new: Catalog) -> Changes:
    """What is different in `new`. A mode has changed when any of its services has."""
    return Changes(
        presets=_difference(
            {spec.preset: spec for spec in old.presets}, {spec.preset: spec for spec in new.presets}
        ),
        modes=_difference({mode.id: mode for mode in old.modes}, {mode.id: mode for mode in new.modes}),
    )


def _difference(old: Mapping[str, object], new: Mapping[str, object]) -> Difference:
    return Difference(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(sorted(name for name in old.keys() & new.keys() if old[name] != new[name])),
    )
