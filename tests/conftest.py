"""What all tests share."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aioresponses import core

from harvester.sandbox.run import run_in_thread
from harvester.sandbox.server import Sandbox
from tests.tool import Tool


class _Answer(aiohttp.ClientResponse):
    """Fills in what aioresponses 0.7.9 does not give and aiohttp 3.14 wants."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"stream_writer": SimpleNamespace(output_size=0), **kwargs})


@pytest.fixture(scope="session", autouse=True)
def aioresponses_work_with_this_aiohttp() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core, "ClientResponse", _Answer)
        yield


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Both services as they are by default; a module that needs them otherwise has its own fixture of this name."""
    with run_in_thread() as running:
        yield running


@pytest.fixture
def harvester(tmp_path: Path, sandbox: Sandbox) -> Iterator[Tool]:
    """The tool in an empty folder, against the sandbox."""
    tool = Tool(tmp_path, sandbox)
    yield tool
    tool.close()
