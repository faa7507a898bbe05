"""A pool of threads with `requests`, as published scripts for Paperbuzz use it; most of them without a session."""

import json
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

from bench.contenders import url_of


def fetching(base_url: str) -> Callable[[str], Any]:
    """A function that fetches one DOI's record; each thread has a session, and so a connection, of its own."""
    own = threading.local()

    def fetch(doi: str) -> Any:
        if not hasattr(own, "session"):
            own.session = requests.Session()
        answer = own.session.get(url_of(base_url, doi), timeout=35)
        answer.raise_for_status()
        return answer.json()

    return fetch


def main(base_url: str, dois: Path, output: Path, concurrency: int) -> None:
    """Fetch a whole list."""
    todo = dois.read_text(encoding="utf-8").splitlines()
    with output.open("w", encoding="utf-8") as file, ThreadPoolExecutor(concurrency) as pool:
        for record in pool.map(fetching(base_url), todo):
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    base_url, dois, output, concurrency = sys.argv[1:]
    main(base_url, Path(dois), Path(output), int(concurrency))
