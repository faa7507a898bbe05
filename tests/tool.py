"""The tool as a user has it: a process of its own, against a sandbox, in a folder of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harvester.politeness.limiter import default_burst
from harvester.sandbox.server import Sandbox

PASSWORD = "sandbox"

RATE = 2000.0
"""Requests per second, unless a test says otherwise: beyond what one process reaches, and still watched."""

SLACK_SECONDS = 0.5
"""What a loaded machine may bring together on either side."""


@dataclass
class Tool:
    """Runs `harvester` in a folder.

    Args:
        folder: where it runs; its state directory is in it as well.
        sandbox: what it talks to.
        extra: more environment.
        without: variables that are not set.
        started: processes that were started and not waited for.
        at_a_time: processes that may ask at the same time; each has the rate for itself.
    """

    folder: Path
    sandbox: Sandbox
    extra: dict[str, str] = field(default_factory=dict)
    without: list[str] = field(default_factory=list)
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)
    at_a_time: int = 1

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HARVESTER_")}
        given = kept | {
            "XDG_STATE_HOME": str(self.folder / "state"),
            "HARVESTER_PAPERBUZZ__BASE_URL": self.sandbox.paperbuzz_url,
            "HARVESTER_PAPERBUZZ__EMAIL": "demo@example.org",
            "HARVESTER_PAPERBUZZ__RATE": str(RATE),
            "HARVESTER_PAPERBUZZ__DAILY_BUDGET": "0",
            "HARVESTER_OPERAS__BASE_URL": self.sandbox.operas_url,
            "HARVESTER_OPERAS__RATE": "1000",
            "HARVESTER_OPERAS__PASSWORD": PASSWORD,
            **self.extra,
        }
        return {name: value for name, value in given.items() if name not in self.without}

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start it; the caller waits for it, `close` tidies up."""
        process = subprocess.Popen(
            [sys.executable, "-m", "harvester", *arguments],
            cwd=self.folder,
            env=self.environment,
            text=True,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options,
        )
        self.started.append(process)
        return process

    def close(self) -> None:
        """End what was started and is still there; no test may have overspent the rate in any window (promise G5)."""
        for process in self.started:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        assert not self.overspent()

    def overspent(self) -> list[Any]:
        """Windows in which the sandbox saw more requests than the rate allows."""
        rate = float(self.environment["HARVESTER_PAPERBUZZ__RATE"])
        burst = self.at_a_time * float(self.environment.get("HARVESTER_PAPERBUZZ__BURST", default_burst(rate)))
        return list(self.sandbox.rate_violations(self.at_a_time * rate, burst, slack_seconds=SLACK_SECONDS))

    def __call__(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            [sys.executable, "-m", "harvester", *arguments],
            cwd=self.folder,
            env=self.environment,
            text=True,
            input=given,
            capture_output=True,
            timeout=110,
            check=False,
        )

    def write(self, name: str, lines: list[str]) -> str:
        """Make a list in the folder."""
        (self.folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return name

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The records of a file."""
        return list(records(self.folder / name))

    def summary(self, stem: str = "out") -> dict[str, Any]:
        """The summary of a run."""
        content: dict[str, Any] = json.loads((self.folder / f"{stem}.summary.json").read_bytes())
        return content


def spoil(sandbox: Sandbox, *dois: str) -> None:
    """Let these DOIs get the record of another one from now on, and no others."""
    setattr(  # noqa: B010 - a method, for this sandbox alone
        sandbox.paperbuzz, "named_fault", lambda key, _: "wrong-doi" if key in dois else None
    )


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSON Lines file, split at LF and nowhere else."""
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line)


def dois(count: int, prefix: str = "10.5555") -> list[str]:
    """So many DOIs that have ordinary records in the sandbox."""
    return [f"{prefix}/ok-{number:05d}" for number in range(count)]
