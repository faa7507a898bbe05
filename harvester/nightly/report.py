"""Gather what the report of a night is made of, and write it beside the night's output."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from statistics import median

from harvester.core.clock import timestamp
from harvester.core.errors import StopRun
from harvester.core.files import write_atomically
from harvester.core.ownership import refuse_others_file, size_of
from harvester.monitoring.courtesy import courtesy
from harvester.nightly.files import last_summary, output_of, report_path
from harvester.nightly.lifecycle import NightProgress
from harvester.records.kinds import REPORT
from harvester.reports import text
from harvester.reports.compared import Compared
from harvester.reports.details import Campaign, ListChange, NightDetails, NightRecords, NightTiming
from harvester.reports.failures import FailureGroup, FailureGroups
from harvester.reports.night import night_report
from harvester.reports.summary import Summary
from harvester.storage.ledger import Ledger
from harvester.storage.store import Store

MAX_PAGE_BYTES = 64 * 1024
"""What is kept of an earlier page; one has a few KiB."""


async def write_report(
    store: Store,
    output: Path,
    summary: Summary,
    night: NightProgress,
    *,
    clock_jumps_seconds: Sequence[float],
    daily_budget: int,
    unread: Sequence[str] = (),
    list_change: ListChange | None = None,
) -> None:
    """Write the report of a night beside its output. It is a courtesy: if it fails, that is a warning.

    Args:
        store: open.
        output: path of the night's output.
        summary: of the night's harvest.
        night: its forecast and figures, and how earlier nights went.
        clock_jumps_seconds: by how much the clock was set during the night, each time.
        daily_budget: requests allowed in 24 hours; 0 for any number.
        unread: why lists could not be read.
        list_change: how the list changed.
    """
    with courtesy("the report of the night"):
        groups = await store.call(_groups, store.ledger)
        details = NightDetails(
            groups,
            _records(night, is_complete=not summary.figures.pending),
            _timing(night, clock_jumps_seconds),
            daily_budget=daily_budget,
            campaign=_campaign(night, summary.figures.works),
            files={"page": str(report_path(output))},
            unread=unread,
            list_change=list_change,
        )
        await _write(store, output, summary, night, details)


async def _write(store: Store, output: Path, summary: Summary, night: NightProgress, details: NightDetails) -> None:
    last = await store.call(last_summary, night.outputs)
    report = text.page(night_report(summary, last, details))
    await store.call(write_atomically, report_path(output), [report.encode(errors="replace")], REPORT)


def write_failure_page(template: str, reason: StopRun, now: datetime) -> None:
    """Write the page of a night that ended with an error: it could not begin, or not be summed up.

    If the night has a page already, that stands below.

    Args:
        template: of the outputs.
        reason: why it ended.
        now: when.

    Raises:
        StopRun, OSError: the page cannot be written.
    """
    path = report_path(Path(output_of(template, now)))
    refuse_others_file(path, REPORT)
    before = path.read_bytes()[:MAX_PAGE_BYTES] if size_of(path) else b""
    content = text.failure_page(exit_code=reason.exit_code, name=reason.name, reason=str(reason), now=timestamp(now))
    write_atomically(path, [content.encode(errors="replace"), *([b"\n", before] if before else [])], REPORT)


def _groups(ledger: Ledger) -> tuple[FailureGroup, ...]:
    groups = FailureGroups()
    for failure in ledger.failures(with_urls=True):
        groups.add(failure)
    return groups.largest_first()


def _records(night: NightProgress, *, is_complete: bool) -> NightRecords:
    last = night.paces[-1] if night.paces else None
    return NightRecords(
        changed=night.figures.changed,
        truncated=Compared(night.figures.pace.truncated, last.truncated if last else None),
        predicted_events=night.night.expected if is_complete else None,
        found_events=round(night.night.found),
    )


def _timing(night: NightProgress, clock_jumps_seconds: Sequence[float]) -> NightTiming:
    now, last = night.figures.pace.median_seconds, night.paces[-1] if night.paces else None
    medians = [each.median_seconds for each in night.paces if each.median_seconds is not None]
    return NightTiming(
        median_seconds=None if now is None else Compared(now, last.median_seconds if last else None),
        usual_median_seconds=median(medians) if medians else None,
        clock_jumps_seconds=tuple(clock_jumps_seconds),
    )


def _campaign(night: NightProgress, works: int) -> Campaign | None:
    """How many works were asked for the first time, tonight and so far; None if every work was asked."""
    return Campaign(works, night.covered, night.figures.first) if night.covered < works else None
