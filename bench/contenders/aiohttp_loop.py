"""The loop that is written in ten minutes: some workers, one session, parse, append. No promise is kept."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import aiohttp
import orjson

from bench.contenders import url_of


async def work(session: aiohttp.ClientSession, base_url: str, dois: Iterator[str], file: IO[bytes]) -> None:
    """Fetch, parse and append, until there is nothing more to ask."""
    for doi in dois:
        async with session.get(url_of(base_url, doi)) as answer:
            body = await answer.read()
        orjson.loads(body)
        file.write(body)  # it ends with a newline


async def main(base_url: str, dois: Iterator[str], file: IO[bytes], concurrency: int) -> None:
    """Fetch a whole list."""
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(work(session, base_url, dois, file) for _ in range(concurrency)))


if __name__ == "__main__":
    base_url, dois, output, concurrency, *loop = sys.argv[1:]
    factory = __import__("uvloop").new_event_loop if loop else None
    todo = iter(Path(dois).read_text(encoding="utf-8").splitlines())
    with Path(output).open("wb") as records, asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main(base_url, todo, records, int(concurrency)))
