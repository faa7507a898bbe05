"""The DOIs to measure with: those of a list, then made ones, each in harvester's form and each once."""

import bz2
import gzip
import itertools
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from harvester.core.doi import parse_doi
from harvester.core.errors import InvalidDoi

_OPENERS: dict[str, Callable[..., IO[str]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def write(path: Path, count: int, source: Path | None = None) -> None:
    """Write a list of this many DOIs, one a line.

    Args:
        path: of the list.
        count: of DOIs.
        source: a list with a DOI a line, plain or packed; what it lacks is made.
    """
    listed = itertools.chain(_listed(source) if source else (), _made())
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{doi}\n" for doi in itertools.islice(listed, count))


def _listed(source: Path) -> Iterator[str]:
    seen = set()
    with _OPENERS.get(source.suffix, open)(source, "rt", encoding="utf-8") as file:
        for line in file:
            try:
                doi = parse_doi(line.rstrip("\n"))
            except InvalidDoi:  # every contender is to ask for the same
                continue
            if doi not in seen:
                seen.add(doi)
                yield doi


def _made() -> Iterator[str]:
    """DOIs as long as real ones are, which is 24 characters, under many prefixes."""
    for number in itertools.count():
        yield f"10.{1000 + number % 8999}/made.{number:09d}"
