"""The load runs on the daemon's own event loop."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

# It keeps two descriptors for the life of a process: they are no leak of the first test.
uvloop.new_event_loop().close()


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}
