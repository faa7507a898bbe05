"""The ways to do the job that are compared, each a command line of its own on the same list and the same server."""

import importlib.util
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

EMAIL = "bench@example.org"

RATE = 100_000
"""Requests per second that harvester is allowed: more than anything here reaches, and counted all the same."""

BUDGET = 1_000_000_000
"""Requests that harvester is allowed in 24 hours."""


@dataclass(frozen=True, slots=True)
class Task:
    """What every contender is to do.

    Args:
        base_url: of the server, with `/v0/` at its end.
        dois: a list, one a line.
        folder: where the output goes, under any name that begins with `out.`.
        concurrency: requests under way at a time, at the most.
    """

    base_url: str
    dois: Path
    folder: Path
    concurrency: int

    @property
    def output(self) -> Path:
        """The default output."""
        return self.folder / "out.jsonl"


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to do the job.

    Args:
        name: short, as on the command line.
        what: the same in words.
        command: for a task.
        needs: a package or program that it cannot do without.
        environment: more of it, for a task.
        writes: whether there is an output to count.
    """

    name: str
    what: str
    command: Callable[[Task], list[str]]
    needs: str = "harvester"
    environment: Callable[[Task], Mapping[str, str]] = field(default=lambda _: {})
    writes: bool = True

    @property
    def is_here(self) -> bool:
        """Whether it can be run on this machine."""
        return importlib.util.find_spec(self.needs) is not None or shutil.which(self.needs) is not None


def harvester(name: str, what: str, ending: str = ".jsonl", flags: str = "") -> Contender:
    """The tool itself, with every promise on: ledger, budget, retries, checks."""

    def command(task: Task) -> list[str]:
        output = str(task.folder / f"out{ending}")
        return [sys.executable, "-m", "harvester", "run", str(task.dois), "-o", output, "--quiet", *shlex.split(flags)]

    return Contender(name, what, command, environment=lambda task: settings(task.base_url, task.concurrency))


def settings(base_url: str, concurrency: int, rate: float = RATE) -> dict[str, str]:
    """Settings of harvester for a measurement, as environment."""
    return {
        "HARVESTER_PAPERBUZZ__BASE_URL": base_url,
        "HARVESTER_PAPERBUZZ__EMAIL": EMAIL,
        "HARVESTER_PAPERBUZZ__RATE": str(rate),
        "HARVESTER_PAPERBUZZ__CONCURRENCY": str(concurrency),
        "HARVESTER_PAPERBUZZ__DAILY_BUDGET": str(BUDGET),
    }


def _script(module: str) -> Callable[[Task], list[str]]:
    def command(task: Task) -> list[str]:
        rest = [task.base_url, str(task.dois), str(task.output), str(task.concurrency)]
        return [sys.executable, "-m", f"bench.contenders.{module}", *rest]

    return command


def _curl(task: Task) -> list[str]:
    """One transfer a DOI, whose body goes nowhere: what a client costs that does nothing with what it gets."""
    config = task.folder / "curl.txt"
    with task.dois.open(encoding="utf-8") as dois, config.open("w", encoding="utf-8") as file:
        file.writelines(f'url = "{url_of(task.base_url, doi.rstrip(chr(10)))}"\n' for doi in dois)
    at_a_time = ["--parallel", "--parallel-immediate", "--parallel-max", str(task.concurrency)]
    return ["curl", "--silent", "--fail", "--globoff", "--path-as-is", *at_a_time, "--config", str(config)]


def url_of(base_url: str, doi: str) -> str:
    """The URL that is asked for a DOI."""
    return f"{base_url}doi/{quote(doi, safe='/:;()')}?email={quote(EMAIL)}"


BARE = "aiohttp"
"""What the others are compared with."""

CONTENDERS = (
    harvester("harvester", "harvester, `.jsonl`"),
    harvester("harvester-zst", "harvester, `.jsonl.zst`", ".jsonl.zst"),
    Contender(BARE, "bare aiohttp loop", _script("aiohttp_loop"), "aiohttp"),
    Contender(
        "aiohttp-uvloop",
        "bare aiohttp loop on uvloop",
        lambda task: [*_script("aiohttp_loop")(task), "uvloop"],
        "uvloop",
    ),
    Contender("scrapy", "Scrapy, JSON Lines feed", _script("scrapy_spider"), "scrapy"),
    Contender("requests", "`requests`, thread pool", _script("requests_pool"), "requests"),
    Contender("curl", "`curl --parallel`, nothing parsed or kept", _curl, "curl", writes=False),
)
