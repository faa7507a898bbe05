"""What is not as it was in the nights before. Pure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from harvester.core.wording import are, counted, in_words
from harvester.reports.failures import Group
from harvester.reports.summary import Summary

EXAMPLES: Final = 3
"""Examples shown of one kind of failure: enough to see whether they are alike."""


LEAST_WORKS: Final = 50
"""Shares of fewer works are not judged: with 50, one work more or less is two points."""


RISE: Final = 0.05
"""A share that rose by less than five points is not worth a person's morning, even where it is no chance."""


SIGMAS: Final = 3.0
"""How far beyond chance a change has to be: three standard deviations are met once in 700 quiet nights."""


FIRST_SHARES: Final = {"empty": 0.2, "degraded": 0.2}
"""Shares of records that a first night may have: a DOI that Crossref knows is hardly ever empty or degraded, so that
one in five means another agency's DOIs, or Crossref or oaDOI down behind Paperbuzz (P4)."""


FIRST_FAILURES: Final = 0.05
"""Share of works that may fail in a first night: failures for good are a few in a thousand (P11)."""


LIST_SHRUNK: Final = 0.1
"""A list that lost a tenth of its lines since last night was more likely cut in half on its way than weeded."""


SLOWER: Final = 2.0
"""Times the usual median at which the service counts as slower; less is what load and time of day do."""


SLOW_SECONDS: Final = 0.5
"""Medians below it are fast enough, whatever they were before: light answers take 0.05 s, heavy ones 1.5 s (P12)."""


FIRST_SLOW_SECONDS: Final = 5.0
"""Median of a first night from which the service is slow: half of what it gives Crossref before it fails (P5)."""


FIRST_TRUNCATED: Final = 0.01
"""Share of records at the cap of 2,500 events in a first night: few works have that many, one in a hundred is a list
of the famous, or a cap that was lowered (P6)."""


CLOCK_JUMP_SECONDS: Final = 60.0
"""From a minute on: the daily budget counts in minutes with two to spare, and time servers move a clock by less."""


FOUND_SHARE: Final = 1 / 3
"""Less than this of the new events that were predicted is no quiet night: rather no new events reach Paperbuzz."""


PREDICTED_LEAST: Final = 100
"""Predictions of fewer events are not held against what came: their own scatter is a tenth and more."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """How far a list is that takes more than a night.

    Args:
        works: DOIs in the list.
        covered: those that were asked at least once.
        tonight: those of them that were asked for the first time tonight.
    """

    works: int
    covered: int
    tonight: int

    @property
    def nights_left(self) -> int | None:
        """Nights until all are covered, at tonight's pace; None if there is no pace."""
        left = max(0, self.works - self.covered)
        if not left:
            return 0
        return math.ceil(left / self.tonight) if self.tonight > 0 else None


@dataclass(frozen=True, slots=True)
class NightDetails:
    """What a night knows beyond its summary; what it does not know is left out.

    Args:
        groups: tonight's failures, see `FailureGroups`; kinds without a group are shown without an example.
        changed: records that differ from the ones before.
        truncated: records that miss events at the cap of 2,500, or may do so.
        last_truncated: the same of last night.
        median_seconds: the median time of tonight's good answers.
        last_median_seconds: the same of last night.
        usual_median_seconds: what is in the middle of the medians of the nights before.
        clock_jumps_seconds: by how much the wall clock ran off the monotonic one, each time; negative: set back.
        predicted_events: new events expected in the works that were asked.
        found_events: new events in them.
        daily_budget: requests a day; None or 0 without a limit.
        campaign: how far the list is covered.
        files: further files by name, beside those of the summary.
    """

    groups: Sequence[Group] = ()
    changed: int | None = None
    truncated: int | None = None
    last_truncated: int | None = None
    median_seconds: float | None = None
    last_median_seconds: float | None = None
    usual_median_seconds: float | None = None
    clock_jumps_seconds: Sequence[float] = ()
    predicted_events: float | None = None
    found_events: int | None = None
    daily_budget: int | None = None
    campaign: Campaign | None = None
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something that looks wrong although nothing failed.

    Args:
        claim: what, as a clause without a full stop.
        advice: what it may be and what to do, in sentences.
    """

    claim: str
    advice: str


def anomalies(report: Summary, last: Summary | None, extras: NightDetails) -> list[Anomaly]:
    """What looks wrong, the worst first."""
    return [
        *_mismatches(report, last),
        *_shrunk(report, last),
        *_shares(report, last),
        *_events_missing(extras),
        *_truncation(report, last, extras),
        *_slowness(extras),
        *_jumps(extras.clock_jumps_seconds),
        *_set_back(report, last),
    ]


def _mismatches(report: Summary, last: Summary | None) -> Iterator[Anomaly]:
    """One is enough: a service that mixes up DOIs may do so where it cannot be seen."""
    now = report.figures.failures_by_kind.get("doi-mismatch", 0)
    then = last.figures.failures_by_kind.get("doi-mismatch", 0) if last else 0
    if now > then:
        before = f", {then:,} last night" if last else ""
        yield Anomaly(
            f"{now:,} {'answer was' if now == 1 else 'answers were'} about another DOI{before}",
            "Such an answer is never kept. The service cleans and cuts the DOIs it is sent, so that an odd spelling is "
            "the usual reason; plain DOIs among them mean that it mixes them up, which its makers want to know.",
        )


def _shrunk(report: Summary, last: Summary | None) -> Iterator[Anomaly]:
    if last and report.lines < last.lines * (1 - LIST_SHRUNK):
        yield Anomaly(
            f"the list has {report.lines:,} lines, {last.lines:,} last night",
            "Was the file complete when the night began? What was harvested of the missing DOIs stays.",
        )


def _shares(report: Summary, last: Summary | None) -> Iterator[Anomaly]:
    causes = {
        "empty": "Crossref may have been down behind Paperbuzz, or the new DOIs are another agency's. Empty ones are "
        "asked again on another night.",
        "degraded": "Crossref or oaDOI may have been down behind Paperbuzz. Degraded ones are asked again on another "
        "night.",
    }
    for outcome, cause in causes.items():
        now = report.figures.outcomes.get(outcome, 0)
        then = (last.figures.outcomes.get(outcome, 0), last.figures.results) if last else None
        if _stands_out(now, report.figures.results, then, FIRST_SHARES[outcome]):
            yield Anomaly(f"{_share(now, report.figures.results)} of the records are {outcome}{_was(then)}", cause)
    then = (last.figures.failures, last.figures.results + last.figures.failures) if last else None
    answered = report.figures.results + report.figures.failures
    if _stands_out(report.figures.failures, answered, then, FIRST_FAILURES):
        yield Anomaly(
            f"{_share(report.figures.failures, answered)} of the works failed{_was(then)}", "See the failures below."
        )


def _stands_out(now: int, total: int, then: tuple[int, int] | None, limit: float) -> bool:
    """Whether a share rose against last night's by more than chance and by `RISE`; without one, passes a limit."""
    if total < LEAST_WORKS:
        return False
    if then is None or then[1] < LEAST_WORKS:
        return now / total > limit
    pooled = (now + then[0]) / (total + then[1])
    # Where the accounting does not add up a part may be larger than the whole; the page has to come out all the same.
    chance = math.sqrt(max(0.0, pooled * (1 - pooled)) * (1 / total + 1 / then[1]))
    return now / total - then[0] / then[1] > max(RISE, SIGMAS * chance)


def _events_missing(extras: NightDetails) -> Iterator[Anomaly]:
    predicted, found = extras.predicted_events, extras.found_events
    if predicted is None or found is None or predicted < PREDICTED_LEAST:
        return
    if found < predicted * FOUND_SHARE:
        yield Anomaly(
            f"{counted(found, 'new event')} came where {predicted:,.0f} were expected",
            "Paperbuzz may get no new events from its sources. Compare a lively DOI's latest event with today.",
        )


def _truncation(report: Summary, last: Summary | None, extras: NightDetails) -> Iterator[Anomaly]:
    """More than last night by more than chance, given how many records there were then and are now."""
    now, then = extras.truncated or 0, extras.last_truncated
    if then is None:
        more = report.figures.results >= LEAST_WORKS and now > FIRST_TRUNCATED * report.figures.results
    else:
        alike = then * report.figures.results / last.figures.results if last and last.figures.results else then
        more = now > alike + SIGMAS * math.sqrt(alike + 1)
    if more:
        yield Anomaly(
            f"{counted(now, 'record')} {are(now)} or may be cut at 2,500 events"
            + ("" if then is None else f", {then:,} last night"),
            "The service gives no more events of a DOI than that; what such a record counts is a lower bound.",
        )


def _slowness(extras: NightDetails) -> Iterator[Anomaly]:
    now, usual = extras.median_seconds, extras.usual_median_seconds
    if now is None:
        return
    if now > (FIRST_SLOW_SECONDS if usual is None else max(SLOW_SECONDS, SLOWER * usual)):
        yield Anomaly(
            f"half of the answers took longer than {now:.2f} s" + ("" if usual is None else f", usually {usual:.2f} s"),
            "The service has more to do than usual, or the way to it is slow. A night of the same length gets less "
            "done; the harvest slows down by itself.",
        )


def _jumps(jumps: Sequence[float]) -> Iterator[Anomaly]:
    large = [jump for jump in jumps if abs(jump) >= CLOCK_JUMP_SECONDS]
    if large:
        told = " and ".join(f"{'back' if jump < 0 else 'ahead'} by {in_words(abs(jump))}" for jump in large[:EXAMPLES])
        in_all = f", {len(large)} times in all" if len(large) > EXAMPLES else ""
        yield Anomaly(
            f"the clock jumped {told}{in_all}",
            "Someone set it, a time server corrected it late, or the machine slept. Times in the records of this night "
            "may be wrong by as much; the budget errs on the side of the service.",
        )


def _set_back(report: Summary, last: Summary | None) -> Iterator[Anomaly]:
    """Timestamps of one form sort as the times do."""
    if last and report.started_at < last.started_at:
        yield Anomaly(
            f"by the clock the night began at {_minute(report.started_at)}, before the last one, at "
            f"{_minute(last.started_at)}",
            "The clock is wrong now, or was last night. When each DOI was asked last is known by that clock: until it "
            "has caught up, DOIs of last night rest.",
        )


def _minute(timestamp: str) -> str:
    return f"{timestamp[:10]} {timestamp[11:16]} UTC"


def _share(part: int, total: int) -> str:
    return f"{part / total:.1%}"


def _was(then: tuple[int, int] | None) -> str:
    return f", {_share(*then)} last night" if then and then[1] else ""
