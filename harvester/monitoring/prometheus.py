"""The figures of a night as a file for the Prometheus node exporter's textfile collector.

All of them are gauges, because they are about one night and begin anew with the next; by Prometheus's rules only
counters end in `_total`. Units are base units, seconds and bytes. Labels take few values: outcomes, kinds of failures,
services, and never a DOI, a path or an address.

The collector reads `*.prom` while we write, so the file is replaced as a whole. Its name has to end in `.prom`; the
temporary name under which it is written does not.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from harvester.core.errors import FailureKind
from harvester.core.files import write_atomically
from harvester.core.model import Outcome
from harvester.core.ownership import FileKind, objection
from harvester.reports.summary import Summary

FETCH_KINDS: Final = tuple(kind for kind in FailureKind if kind not in (FailureKind.INVALID_DOI, FailureKind.REJECTED))
"""The kinds of failure that works may have. Invalid lines and rejected registrations are counted apart."""

READABLE: Final = 0o644
"""The collector runs as another user, and there is nothing to hide; the umask of a hardened service would hide it."""

METRICS: Final = FileKind("a file with harvester's metrics", lambda head: head.startswith(b"# HELP harvester_"))

_LAST_SUCCESS: Final = "last_success_timestamp_seconds"

_LAST_SUCCESS_LINE = re.compile(
    rb"^harvester_" + _LAST_SUCCESS.encode() + rb" ([0-9]{1,15}(?:\.[0-9]+)?(?:e\+[0-9]{1,2})?)$", re.MULTILINE
)


def write_metrics(path: Path, summary: Summary) -> None:
    """Replace the file by the figures of this run, atomically; if the run failed, the last success stays as it was.

    Args:
        path: what the textfile collector reads, `NAME.prom`.
        summary: of the run that just ended.

    Raises:
        DiskFailed: it cannot be written, or somebody else's file has its name; the old file is untouched.
    """
    _replace(path, lambda last_success: metrics_text(summary, last_success))


def write_failure(path: Path, exit_code: int, ended: datetime) -> None:
    """Replace the file by what is known about a run that ended without figures.

    Args:
        path: as for `write_metrics`.
        exit_code: of the run.
        ended: when it ended.

    Raises:
        DiskFailed: it cannot be written, or somebody else's file has its name; the old file is untouched.
    """

    def text(last_success: float | None) -> bytes:
        registry = CollectorRegistry()
        _add_end(registry, exit_code, ended.timestamp(), last_success)
        return generate_latest(registry)

    _replace(path, text)


def _replace(path: Path, text: Callable[[float | None], bytes]) -> None:
    previous = b""
    with suppress(OSError):  # none yet, or one that cannot be read: then nothing is known of earlier nights
        if objection(path, METRICS) is None:
            previous = path.read_bytes()
    write_atomically(path, [text(last_success(previous))], METRICS, mode=READABLE)


def last_success(previous: bytes) -> float | None:
    """When a run last succeeded, by an earlier file, in seconds since 1970; None if the file does not say."""
    found = _LAST_SUCCESS_LINE.search(previous)
    return float(found[1]) if found else None


def metrics_text(summary: Summary, last_success: float | None) -> bytes:
    """The figures of a run in the text format of Prometheus.

    Args:
        summary: of the run that just ended.
        last_success: when a run before it succeeded, in seconds since 1970; None if none is known.
    """
    registry = CollectorRegistry()

    def gauge(name: str, about: str, value: float) -> None:
        Gauge(name, about, namespace="harvester", registry=registry).set(value)

    def gauges(name: str, about: str, label: str, names: tuple[str, ...], values: Mapping[str, int]) -> None:
        # Zeros are written as well: a series that comes and goes cannot be alerted on.
        family = Gauge(name, about, [label], namespace="harvester", registry=registry)
        for each in dict.fromkeys((*names, *values)):
            family.labels(each).set(values.get(each, 0))

    figures = summary.figures
    gauge("works", "DOIs in the list, each once.", figures.works)
    gauge("pending", "Works still to be asked.", figures.pending)
    gauge("gone", "Works that left the list.", figures.gone)
    gauge("registered", "Works that OPERAS acknowledged.", figures.registered)
    gauge("rejected", "Works that OPERAS refuses.", figures.rejected)
    gauge("registration_pending", "Works that wait to be registered.", figures.registration_pending)
    gauge("retries", "Requests of the last run beyond the first for each work.", summary.retries)
    gauge("duration_seconds", "How long the last run took.", summary.duration_seconds)
    gauge("invalid_lines", "Lines of the list that are no DOI.", summary.invalid)
    gauges("results", "Works with a record, by outcome.", "outcome", tuple(Outcome), figures.outcomes)
    gauges("failures", "Works without a record, by kind of failure.", "kind", FETCH_KINDS, figures.failures_by_kind)
    gauges("requests", "Requests sent in the last run, by service.", "service", (), summary.requests)
    gauge("received_bytes", "Decompressed bytes of records received in the last run.", summary.bytes)
    if summary.budget_left is not None:
        gauge("budget_left", "Requests left in the daily budget when the last run ended.", summary.budget_left)

    ended = datetime.fromisoformat(summary.finished_at).timestamp()
    _add_end(registry, summary.exit.code, ended, ended if summary.exit.code == 0 else last_success)
    return generate_latest(registry)


def _add_end(registry: CollectorRegistry, exit_code: int, ended: float, success: float | None) -> None:
    told = [
        ("exit_code", "Exit code of the last run; 0 is success.", exit_code),
        ("last_run_timestamp_seconds", "When the last run ended.", ended),
        (_LAST_SUCCESS, "When a run last ended with exit code 0.", success),
    ]
    for name, about, value in told:
        if value is not None:
            Gauge(name, about, namespace="harvester", registry=registry).set(value)
