"""What looks wrong in a night although nothing failed. Pure.

Tonight is compared with last night where there is one, because what is odd in one list is normal in another: a list of
which a third is empty every night is no news. Only a first night is compared with fixed limits.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from harvester.core.errors import FailureKind
from harvester.core.model import Outcome
from harvester.core.text.wording import are, counted, in_words
from harvester.reports.details import ListChange, NightDetails, NightRecords, NightTiming
from harvester.reports.summary import Summary

LEAST_WORKS: Final = 50
"""Shares of fewer works are not judged: with 50, one work more or less is two points."""


RISE: Final = 0.05
"""A share that rose by less than five points is not worth a person's time, even if chance does not explain the rise."""


SIGMAS: Final = 3.0
"""How far beyond chance a change has to be: three standard deviations are met once in 700 quiet nights."""


FIRST_FAILURES: Final = 0.05
"""Share of works that may fail in a first night: failures for good are a few in a thousand (P11)."""


FIRST_POOR: Final = 0.2
"""Share of records that may be empty, or degraded, in a first night. A DOI that Crossref knows is hardly ever either:
one in five means DOIs of another agency, or Crossref or oaDOI down behind Paperbuzz (P4)."""


POOR: Final = {
    Outcome.EMPTY: "Crossref may have been down behind Paperbuzz, or the new DOIs are another agency's. Empty ones are "
    "asked again on another night.",
    Outcome.DEGRADED: "Crossref or oaDOI may have been down behind Paperbuzz. Degraded ones are asked again on another "
    "night.",
}
"""By outcome: why more records than usual may have it."""


LIST_SHRUNK: Final = 0.1
"""A list that lost a tenth of its lines since last night was more likely cut short on its way than cleaned up."""


UNREAD_TOLD: Final = 5
"""Lists that could not be read and are told one by one."""


SLOWER: Final = 2.0
"""How many times the usual median counts as slow; load and time of day explain less than that."""


SLOW_SECONDS: Final = 0.5
"""Medians below it are fast enough, whatever they were before: light answers take 0.05 s, heavy ones 1.5 s (P12)."""


FIRST_SLOW_SECONDS: Final = 5.0
"""Median of a first night from which the service is slow: half of what it gives Crossref before it fails (P5)."""


FIRST_TRUNCATED: Final = 0.01
"""Share of records at the cap of 2,500 events in a first night. Few works have that many events: one in a hundred means
a list of famous works, or a cap that was lowered (P6)."""


CLOCK_JUMP_SECONDS: Final = 60.0
"""From a minute on: the daily budget counts in minutes with two to spare, and time servers move a clock by less."""


JUMPS_TOLD: Final = 3
"""Jumps of the clock that are told one by one."""


FOUND_SHARE: Final = 1 / 3
"""If less than this share of the predicted events came, the night was not just quiet: Paperbuzz may get no new ones."""


PREDICTED_LEAST: Final = 100
"""Predictions of fewer events are not judged: they are off by a tenth and more by themselves."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something that looks wrong although nothing failed.

    Args:
        claim: what it is, as a clause without a full stop.
        advice: what the cause may be and what to do, in sentences.
    """

    claim: str
    advice: str


def anomalies(summary: Summary, last: Summary | None, details: NightDetails) -> tuple[Anomaly, ...]:
    """What looks wrong, the worst first.

    Args:
        summary: of tonight's run.
        last: of the run of the night before; None if there is none.
        details: what the night knows beyond its summary.
    """
    doubted = tuple(_doubted_list(details.list_change))
    return (
        *_unread(details.unread),
        *_mismatches(summary, last),
        *(doubted or _shrunk_list(summary, last)),
        *_poor_records(summary, last),
        *_many_failures(summary, last),
        *_missing_events(details.records),
        *_truncation(summary, last, details.records),
        *_slowness(details.timing),
        *_clock_jumps(details.timing.clock_jumps_seconds),
        *_clock_set_back(summary, last),
    )


def _unread(reasons: Sequence[str]) -> Iterator[Anomaly]:
    for reason in reasons[:UNREAD_TOLD]:
        yield Anomaly(
            f"a list could not be read: {reason.rstrip('.')}",
            "The other lists were harvested. DOIs that stand only in this one rest until it can be read.",
        )
    if (more := len(reasons) - UNREAD_TOLD) > 0:
        yield Anomaly(f"{counted(more, 'further list')} could not be read", "The log names them.")


def _doubted_list(change: ListChange | None) -> Iterator[Anomaly]:
    if change is None or not change.is_doubted:
        return
    parts = [f"{counted(change.gone, 'DOI')} went and {change.come:,} came"]
    if change.turned_invalid:
        parts.append(f"{counted(change.turned_invalid, 'more line')} {are(change.turned_invalid)} no DOIs")
    yield Anomaly(
        f"the list changed much since it was accepted: {', and '.join(parts)}",
        "Nothing was registered. Was the list complete, and the right one? What was harvested of missing DOIs stays. "
        "If all is right, say so once: harvester nightly --accept-list, with your --config. Until then each night asks "
        "you.",
    )


def _mismatches(summary: Summary, last: Summary | None) -> Iterator[Anomaly]:
    """One is enough: a service that mixes up DOIs may also do so where it cannot be seen."""
    now = summary.figures.failures_by_kind.get(FailureKind.DOI_MISMATCH, 0)
    then = last.figures.failures_by_kind.get(FailureKind.DOI_MISMATCH, 0) if last else 0
    if now > then:
        before = f", {then:,} last night" if last else ""
        yield Anomaly(
            f"{now:,} {'answer was' if now == 1 else 'answers were'} about another DOI{before}",
            "Such an answer is never kept. The service cleans and cuts the DOIs it is sent, so that an odd spelling is "
            "the usual reason; plain DOIs among them mean that it mixes them up, which its makers want to know.",
        )


def _shrunk_list(summary: Summary, last: Summary | None) -> Iterator[Anomaly]:
    if last and summary.lines < last.lines * (1 - LIST_SHRUNK):
        yield Anomaly(
            f"the list has {summary.lines:,} lines, {last.lines:,} last night",
            "Was the file complete when the night began? What was harvested of the missing DOIs stays.",
        )


def _poor_records(summary: Summary, last: Summary | None) -> Iterator[Anomaly]:
    figures, before = summary.figures, last.figures if last else None
    for outcome, cause in POOR.items():
        now = _Share(figures.outcomes.get(outcome, 0), figures.results)
        then = _Share(before.outcomes.get(outcome, 0), before.results) if before else None
        if _stands_out(now, then, FIRST_POOR):
            yield Anomaly(f"{now} of the records are {outcome}{_last_night(then)}", cause)


def _many_failures(summary: Summary, last: Summary | None) -> Iterator[Anomaly]:
    figures, before = summary.figures, last.figures if last else None
    now = _Share(figures.failures, figures.results + figures.failures)
    then = _Share(before.failures, before.results + before.failures) if before else None
    if _stands_out(now, then, FIRST_FAILURES):
        yield Anomaly(f"{now} of the works failed{_last_night(then)}", "See the failures below.")


class _Share(NamedTuple):
    """A part of a total; shown as a percentage."""

    part: int
    total: int

    def __str__(self) -> str:
        return f"{self.part / self.total:.1%}"


def _stands_out(now: _Share, then: _Share | None, limit: float) -> bool:
    """Whether a share rose since last night by more than chance and by more than `RISE`.

    Args:
        now: tonight's.
        then: last night's.
        limit: what tonight's must not exceed if last night has too few works, or there was none.
    """
    if now.total < LEAST_WORKS:
        return False
    if then is None or then.total < LEAST_WORKS:
        return now.part / now.total > limit
    pooled = (now.part + then.part) / (now.total + then.total)
    # If the accounting does not add up, a part may be larger than its total; there has to be a report all the same.
    chance = math.sqrt(max(0.0, pooled * (1 - pooled)) * (1 / now.total + 1 / then.total))
    return now.part / now.total - then.part / then.total > max(RISE, SIGMAS * chance)


def _last_night(then: _Share | None) -> str:
    return f", {then} last night" if then and then.total else ""


def _missing_events(records: NightRecords) -> Iterator[Anomaly]:
    predicted, found = records.predicted_events, records.found_events
    if predicted is None or found is None or predicted < PREDICTED_LEAST:
        return
    if found < predicted * FOUND_SHARE:
        yield Anomaly(
            f"{counted(found, 'new event')} came where {predicted:,.0f} were expected",
            "Paperbuzz may get no new events from its sources. Compare a lively DOI's latest event with today.",
        )


def _truncation(summary: Summary, last: Summary | None, records: NightRecords) -> Iterator[Anomaly]:
    if records.truncated is None:
        return
    now, then = records.truncated.tonight, records.truncated.last_night
    if _is_more_truncated(now, then, summary.figures.results, last.figures.results if last else 0):
        yield Anomaly(
            f"{counted(now, 'record')} {are(now)} or may be cut at 2,500 events"
            + ("" if then is None else f", {then:,} last night"),
            "The service gives no more events of a DOI than that; what such a record counts is a lower bound.",
        )


def _is_more_truncated(now: int, then: int | None, results: int, last_results: int) -> bool:
    """Whether more records are truncated than last night, by more than chance, given how many records there were."""
    if then is None:
        return results >= LEAST_WORKS and now > FIRST_TRUNCATED * results
    expected = then * results / last_results if last_results else then
    return now > expected + SIGMAS * math.sqrt(expected + 1)


def _slowness(timing: NightTiming) -> Iterator[Anomaly]:
    if timing.median_seconds is None:
        return
    now, usual = timing.median_seconds.tonight, timing.usual_median_seconds
    if now > (FIRST_SLOW_SECONDS if usual is None else max(SLOW_SECONDS, SLOWER * usual)):
        yield Anomaly(
            f"half of the answers took longer than {now:.2f} s" + ("" if usual is None else f", usually {usual:.2f} s"),
            "The service has more to do than usual, or the way to it is slow. A night of the same length gets less "
            "done; the harvest slows down by itself.",
        )


def _clock_jumps(jumps_seconds: Sequence[float]) -> Iterator[Anomaly]:
    large = [jump for jump in jumps_seconds if abs(jump) >= CLOCK_JUMP_SECONDS]
    if large:
        told = " and ".join(
            f"{'back' if jump < 0 else 'ahead'} by {in_words(abs(jump))}" for jump in large[:JUMPS_TOLD]
        )
        in_all = f", {len(large)} times in all" if len(large) > JUMPS_TOLD else ""
        yield Anomaly(
            f"the clock jumped {told}{in_all}",
            "Someone set it, a time server corrected it late, or the machine slept. Times in the records of this night "
            "may be wrong by as much; the budget errs on the side of the service.",
        )


def _clock_set_back(summary: Summary, last: Summary | None) -> Iterator[Anomaly]:
    """Timestamps in one format sort like the times they stand for, so that text can be compared."""
    if last and summary.started_at < last.started_at:
        yield Anomaly(
            f"by the clock the night began at {_minute(summary.started_at)}, before the last one, at "
            f"{_minute(last.started_at)}",
            "The clock is wrong now, or was last night. When each DOI was asked last is known by that clock: until it "
            "has caught up, DOIs of last night rest.",
        )


def _minute(timestamp: str) -> str:
    return f"{timestamp[:10]} {timestamp[11:16]} UTC"
