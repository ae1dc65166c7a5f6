"""Boxes of real processes."""

import contextlib
import tempfile
from pathlib import Path

import pytest

from tests.e2e.cards_box import CardsBox
from tests.e2e.gateway_box import GatewayBox
from tests.e2e.real_box import RealBox
from tests.nvml.fixtures import nvml_library

__all__ = ["nvml_library"]


@contextlib.contextmanager
def boxes(kind=RealBox, *given):
    """Makes boxes in one temporary folder, and ends what they started."""
    made: list[RealBox] = []
    # A short path: the name of a Unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="gm-") as folder:

        def make(**options):
            root = Path(folder) / str(len(made))
            root.mkdir()
            made.append(kind(root, *given, **options))
            return made[-1]

        try:
            yield make
        finally:
            for box in made:
                box.close()


@pytest.fixture
def make_real_box():
    with boxes() as make:
        yield make


@pytest.fixture(scope="module")
def make_module_box():
    with boxes() as make:
        yield make


@pytest.fixture(scope="module")
def make_cards_box(nvml_library):
    with boxes(CardsBox, nvml_library) as make:
        yield make


@pytest.fixture(scope="module")
def make_gateway_box():
    with boxes(GatewayBox) as make:
        yield make
