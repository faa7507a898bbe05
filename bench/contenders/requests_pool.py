"""A pool of threads with `requests`, as published scripts for Paperbuzz use it; most of them without a session."""

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import requests

from bench.contenders import url_of


class Fetcher:
    """Fetches, parses and appends; each thread has a session, and so a connection, of its own.

    Args:
        base_url: of the API.
        file: where the records go.
    """

    def __init__(self, base_url: str, file: IO[str]) -> None:
        self._base_url, self._file = base_url, file
        self._turn = threading.Lock()
        self._own = threading.local()

    def __call__(self, doi: str) -> None:
        """Do it for one DOI."""
        if not hasattr(self._own, "session"):
            self._own.session = requests.Session()
        answer = self._own.session.get(url_of(self._base_url, doi), timeout=35)
        answer.raise_for_status()
        line = json.dumps(answer.json()) + "\n"
        with self._turn:
            self._file.write(line)


def main(base_url: str, dois: Path, output: Path, concurrency: int) -> None:
    """Fetch a whole list."""
    todo = dois.read_text(encoding="utf-8").splitlines()
    with output.open("w", encoding="utf-8") as file, ThreadPoolExecutor(concurrency) as pool:
        for _ in pool.map(Fetcher(base_url, file), todo):  # raises what a thread raised
            pass


if __name__ == "__main__":
    base_url, dois, output, concurrency = sys.argv[1:]
    main(base_url, Path(dois), Path(output), int(concurrency))
