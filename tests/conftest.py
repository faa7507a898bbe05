"""What all tests share."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aioresponses import core


class _Answer(aiohttp.ClientResponse):
    """Fills in what aioresponses 0.7.9 does not give and aiohttp 3.14 wants."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"stream_writer": SimpleNamespace(output_size=0), **kwargs})


@pytest.fixture(scope="session", autouse=True)
def aioresponses_work_with_this_aiohttp() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core, "ClientResponse", _Answer)
        yield
