import pytest

from gpumod.bench.sandbox import NoSandboxError, open_sandbox


@pytest.fixture
async def sandbox():
    """The box's sandbox; the reason where there is none."""
    try:
        return await open_sandbox()
    except NoSandboxError as error:
        pytest.skip(error.detail)
