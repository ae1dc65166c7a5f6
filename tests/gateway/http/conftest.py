"""Every test of the path of bytes runs on both event loops: uvloop is the daemon's."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

# It keeps two descriptors for the life of a process: they are no leak of the first test.
uvloop.new_event_loop().close()


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
