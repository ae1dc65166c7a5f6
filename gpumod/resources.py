"""Where the files that come with gpumod are: in the wheel, or in a source checkout."""

from pathlib import Path
from typing import Literal

__all__ = ["ShippedName", "shipped"]

ShippedName = Literal["presets", "modes", "migrations", "systemd"]

_PACKAGE = Path(__file__).resolve().parent


def shipped(name: ShippedName) -> Path:
    """The directory of shipped files called `name`.

    A wheel carries these directories under `gpumod/_shipped/`; a source checkout
    (an editable install) has them beside the package.

    Raises:
        FileNotFoundError: the installation is incomplete, neither place exists.
    """
    packed = _PACKAGE / "_shipped" / name
    if packed.is_dir():
        return packed
    beside = _PACKAGE.parent / name
    # Without the check, a broken wheel would pick up any `site-packages/presets` of somebody else.
    if beside.is_dir() and (_PACKAGE.parent / "pyproject.toml").is_file():
        return beside
    raise FileNotFoundError(f"gpumod's shipped {name} are missing: looked for {packed} and {beside}")
