"""The morning's page: what a person reads after a night that nobody watched.

It answers, in this order: is there anything to do (one sentence), what looks wrong, do the figures add up and how do
they differ from last night's, what failed and what to do about it, how registration and budget stand, when everything
will be covered, and where the files are.

The verdict. Of four cases the first that holds:

1. the run ended in a way that only a person can mend (credentials, disk, settings, …): "Look at this: …";
2. it ended early and goes on by itself the next night (`GOES_ON`): "Not finished: …";
3. it is complete, but something looks wrong: "Look at this: …";
4. "All is well: …".

A suspicion compares with last night where there is one, for what is odd in one list is normal in another: a list of
which a third is empty every night is no news. Only a first night is held against fixed limits.
"""

import math
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from harvester.outcome import Failure
from harvester.report import Report, in_words
from harvester.text import printable, redacted

WIDTH: Final = 80
"""Columns of the page; only a path may be longer, for a broken one cannot be copied."""

GOES_ON: Final = frozenset({4, 69, 130, 143})
"""Exit codes after which the next night goes on by itself: budget or time used up, service down, stopped."""

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

ADVICE: Final[Mapping[str, tuple[str, str]]] = {
    "invalid-doi": (
        "The text is no DOI.",
        "Correct the lines in the list; the failures file names file and line.",
    ),
    "timeout": (
        "No complete answer in time, in any attempt.",
        "Often passes by itself. Where it stays, raise timeout or lower concurrency under [paperbuzz].",
    ),
    "connection": (
        "No connection to Paperbuzz, or it broke off, in every attempt.",
        "Look at this machine's network and name resolution; `harvester check` tries both services.",
    ),
    "http": (
        "Paperbuzz answers with an error, in every attempt.",
        (
            "A few 500s are for good, each for its DOI alone. Where there are many, the service has trouble: "
            "`harvester check` says whether it still has."
        ),
    ),
    "invalid-json": (
        "The answer is no JSON, or not the object that was promised.",
        (
            "A few: a mistake of the service with these DOIs. Many: something else answers in its place; see base_url "
            "and the network in between."
        ),
    ),
    "doi-mismatch": (
        "The answer is the record of another DOI; nothing of it was kept.",
        "Compare the spelling of these DOIs with their publisher's: the service cleans and cuts what it is sent.",
    ),
    "too-large": (
        "The answer is larger than max_body.",
        "Raise max_body under [paperbuzz] if the machine has the memory.",
    ),
    "redirect": (
        "The answer points to another host, or in circles.",
        "The service may have moved: see base_url under [paperbuzz].",
    ),
    "rejected": (
        "OPERAS does not take the DOI or one of its URLs; the record was harvested all the same.",
        "Correct the URLs in the list; the failures file says which.",
    ),
}
"""By kind of failure: the cause, and what to do."""


@dataclass(frozen=True, slots=True)
class Group:
    """Failures that are alike.

    Args:
        kind: of all of them.
        http_status: of all of them; None if there was no answer.
        count: how many.
        example: the first one's DOI, or its input if that is no DOI.
        message: the first one's.
    """

    kind: str
    http_status: int | None
    count: int
    example: str
    message: str


class Groups:
    """Puts failures that are alike together, one after the other, in memory that does not grow with their number."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, int | None]] = Counter()
        self._first: dict[tuple[str, int | None], Failure] = {}

    def add(self, failure: Failure) -> None:
        """One more."""
        key = failure.kind, failure.http_status
        self._counts[key] += 1
        self._first.setdefault(key, failure)

    def largest_first(self) -> tuple[Group, ...]:
        """What was added, in groups."""
        return tuple(
            Group(kind, status, count, first.doi or first.input, first.message)
            for (kind, status), count in self._counts.most_common()
            for first in [self._first[kind, status]]
        )


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
class Extras:
    """What a night knows beyond its summary; what it does not know is left out.

    Args:
        groups: tonight's failures, see `Groups`; kinds without a group are shown without an example.
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
class Suspicion:
    """Something that looks wrong although nothing failed.

    Args:
        claim: what, as a clause without a full stop.
        advice: what it may be and what to do, in sentences.
    """

    claim: str
    advice: str


def morning(report: Report, last: Report | None, extras: Extras) -> str:
    """The page.

    Args:
        report: of tonight's run.
        last: of the run of the night before; None if there is none.
        extras: what the report does not hold.
    """
    began, ended = report.started_at, report.finished_at
    night = f"Night of {began[:10]}, {began[11:16]} to {ended[11:16]} UTC, {in_words(report.duration_seconds)}"
    suspected = suspicions(report, last, extras)
    sections = [
        _wrapped(verdict(report, last, extras)),
        [night],
        _titled("Look at this", _suspected(suspected)),
        _titled("Accounting", _accounting(report, last)),
        _titled("Failures and what to do", _failures(report, last, extras.groups)),
        _titled("Records and events", _records(extras)),
        _titled("Registration", _registration(report, last)),
        _titled("Service and budget", _service(report, last, extras)),
        _titled("How far", _campaign(extras.campaign)),
        _titled("How it ended", _wrapped(f"Exit code {report.exit.code}, {report.exit.name}. {report.exit.reason}")),
        _titled("Files", _files({**report.files, **extras.files})),
    ]
    return "\n\n".join("\n".join(section) for section in sections if section) + "\n"


# The verdict


def verdict(report: Report, last: Report | None, extras: Extras) -> str:
    """The night in one sentence; the cases are those at the top of this file."""
    suspected = suspicions(report, last, extras)
    reason = _first_sentence(report.exit.reason) or report.exit.name
    if report.exit.code not in GOES_ON | {0, 3}:
        return _one_line(f"Look at this: {reason}{_and_more(len(suspected))}.")
    if report.exit.code in GOES_ON:
        return _one_line(f"Not finished: {_left_to_do(report)} ({reason}){_and_more(len(suspected))}.")
    if report.exit.code == 3:
        too_many = f"{_of(report.failures, 'work')} failed, more than are allowed"
        return _one_line(f"Look at this: {too_many}{_and_more(len(suspected))}.")
    if suspected:
        return _one_line(f"Look at this: {suspected[0].claim}{_and_more(len(suspected) - 1, 'more')}.")
    if not any(report.requests.values()):
        return "All is well: nothing was due, and nothing was asked."
    has, failed = "has" if report.results == 1 else "have", f"{report.failures:,} failed"
    return f"All is well: of {_of(report.works, 'work')} {report.results:,} {has} a record and {failed}."


def _left_to_do(report: Report) -> str:
    parts = []
    if report.pending:
        parts.append(f"{report.pending:,} of {_of(report.works, 'work')} {_are(report.pending)} still to be asked")
    if report.registration_pending:
        waiting = report.registration_pending
        parts.append(f"{waiting:,} {'waits' if waiting == 1 else 'wait'} to be registered")
    return " and ".join(parts) or "the night ended early"


def _first_sentence(text: str) -> str:
    """Up to the first full stop that a space and another sentence follow."""
    return re.split(r"\.(?:\s|$)", text, maxsplit=1)[0]


def _and_more(count: int, what: str = "") -> str:
    return f"; {f'{count} {what}' if what else _of(count, 'suspicion')} below" if count else ""


# Suspicions


def suspicions(report: Report, last: Report | None, extras: Extras) -> list[Suspicion]:
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


def _mismatches(report: Report, last: Report | None) -> Iterator[Suspicion]:
    """One is enough: a service that mixes up DOIs may do so where it cannot be seen."""
    now = report.failures_by_kind.get("doi-mismatch", 0)
    then = last.failures_by_kind.get("doi-mismatch", 0) if last else 0
    if now > then:
        before = f", {then:,} last night" if last else ""
        yield Suspicion(
            f"{now:,} {'answer was' if now == 1 else 'answers were'} about another DOI{before}",
            "Such an answer is never kept. The service cleans and cuts the DOIs it is sent, so that an odd spelling is "
            "the usual reason; plain DOIs among them mean that it mixes them up, which its makers want to know.",
        )


def _shrunk(report: Report, last: Report | None) -> Iterator[Suspicion]:
    if last and report.lines < last.lines * (1 - LIST_SHRUNK):
        yield Suspicion(
            f"the list has {report.lines:,} lines, {last.lines:,} last night",
            "Was the file complete when the night began? What was harvested of the missing DOIs stays.",
        )


def _shares(report: Report, last: Report | None) -> Iterator[Suspicion]:
    causes = {
        "empty": "Crossref may have been down behind Paperbuzz, or the new DOIs are another agency's. Empty ones are "
        "asked again on another night.",
        "degraded": "Crossref or oaDOI may have been down behind Paperbuzz. Degraded ones are asked again on another "
        "night.",
    }
    for outcome, cause in causes.items():
        now = report.outcomes.get(outcome, 0)
        then = (last.outcomes.get(outcome, 0), last.results) if last else None
        if _stands_out(now, report.results, then, FIRST_SHARES[outcome]):
            yield Suspicion(f"{_share(now, report.results)} of the records are {outcome}{_was(then)}", cause)
    then = (last.failures, last.results + last.failures) if last else None
    answered = report.results + report.failures
    if _stands_out(report.failures, answered, then, FIRST_FAILURES):
        yield Suspicion(
            f"{_share(report.failures, answered)} of the works failed{_was(then)}", "See the failures below."
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


def _events_missing(extras: Extras) -> Iterator[Suspicion]:
    predicted, found = extras.predicted_events, extras.found_events
    if predicted is None or found is None or predicted < PREDICTED_LEAST:
        return
    if found < predicted * FOUND_SHARE:
        yield Suspicion(
            f"{_of(found, 'new event')} came where {predicted:,.0f} were expected",
            "Paperbuzz may get no new events from its sources. Compare a lively DOI's latest event with today.",
        )


def _truncation(report: Report, last: Report | None, extras: Extras) -> Iterator[Suspicion]:
    """More than last night by more than chance, given how many records there were then and are now."""
    now, then = extras.truncated or 0, extras.last_truncated
    if then is None:
        more = report.results >= LEAST_WORKS and now > FIRST_TRUNCATED * report.results
    else:
        alike = then * report.results / last.results if last and last.results else then
        more = now > alike + SIGMAS * math.sqrt(alike + 1)
    if more:
        yield Suspicion(
            f"{_of(now, 'record')} {_are(now)} or may be cut at 2,500 events"
            + ("" if then is None else f", {then:,} last night"),
            "The service gives no more events of a DOI than that; what such a record counts is a lower bound.",
        )


def _slowness(extras: Extras) -> Iterator[Suspicion]:
    now, usual = extras.median_seconds, extras.usual_median_seconds
    if now is None:
        return
    if now > (FIRST_SLOW_SECONDS if usual is None else max(SLOW_SECONDS, SLOWER * usual)):
        yield Suspicion(
            f"half of the answers took longer than {now:.2f} s" + ("" if usual is None else f", usually {usual:.2f} s"),
            "The service has more to do than usual, or the way to it is slow. A night of the same length gets less "
            "done; the harvest slows down by itself.",
        )


def _jumps(jumps: Sequence[float]) -> Iterator[Suspicion]:
    large = [jump for jump in jumps if abs(jump) >= CLOCK_JUMP_SECONDS]
    if large:
        told = " and ".join(f"{'back' if jump < 0 else 'ahead'} by {in_words(abs(jump))}" for jump in large[:EXAMPLES])
        in_all = f", {len(large)} times in all" if len(large) > EXAMPLES else ""
        yield Suspicion(
            f"the clock jumped {told}{in_all}",
            "Someone set it, a time server corrected it late, or the machine slept. Times in the records of this night "
            "may be wrong by as much; the budget errs on the side of the service.",
        )


def _set_back(report: Report, last: Report | None) -> Iterator[Suspicion]:
    """Timestamps of one form sort as the times do."""
    if last and report.started_at < last.started_at:
        yield Suspicion(
            f"by the clock the night began at {_minute(report.started_at)}, before the last one, at "
            f"{_minute(last.started_at)}",
            "The clock is wrong now, or was last night. When each DOI was asked last is known by that clock: until it "
            "has caught up, DOIs of last night rest.",
        )


# Sections


def _titled(title: str, lines: list[str]) -> list[str]:
    return [title.upper(), *lines] if lines else []


def _suspected(suspected: list[Suspicion]) -> list[str]:
    lines: list[str] = []
    for each in suspected:
        claim = each.claim[:1].upper() + each.claim[1:]
        lines += _wrapped(f"- {claim}. {each.advice}", "", "  ")
    return lines


def _accounting(report: Report, last: Report | None) -> list[str]:
    outcomes = sorted({*report.outcomes, *(last.outcomes if last else ())})
    before = _account(last, outcomes) if last else {}
    lines = [_head(last)]
    for label, figure in _account(report, outcomes).items():
        lines.append(_row(label, figure, before.get(label)))
    return lines


def _account(report: Report, outcomes: Sequence[str]) -> dict[str, int]:
    """The identities of the accounting, each sum above its parts."""
    return {
        "lines": report.lines,
        "  = works": report.works,
        "  + duplicates": report.duplicates,
        "  + invalid": report.invalid,
        "  + blank": report.blank,
        "works": report.works,
        "  = results": report.results,
        "  + failures": report.failures,
        "  + pending": report.pending,
        "  + resting tonight": report.resting,
        "results": report.results,
        **{f"  {'+' if number else '='} {name}": report.outcomes.get(name, 0) for number, name in enumerate(outcomes)},
        "gone from the list": report.gone,
    }


def _failures(report: Report, last: Report | None, groups: Sequence[Group]) -> list[str]:
    counts, before = _failures_by_kind(report), _failures_by_kind(last) if last else {}
    lines: list[str] = []
    for kind, count in sorted(counts.items(), key=lambda item: -item[1]):
        cause, advice = ADVICE.get(kind, ("See the failures file.", "See the failures file."))
        was = f", last night {before.get(kind, 0):,}" if last else ""
        lines += _wrapped(f"{kind}: {count:,}{was}")
        lines += _wrapped(f"Cause: {cause}", "  ", "    ")
        for group in [each for each in groups if each.kind == kind][:EXAMPLES]:
            lines += _wrapped(_example(group), "  ", "    ")
        lines += _wrapped(f"To do: {advice}", "  ", "    ")
    return lines


def _failures_by_kind(report: Report) -> dict[str, int]:
    """All lines of the failures file by kind: failed works, lines that are no DOIs, refused registrations."""
    counts = {**report.failures_by_kind, "invalid-doi": report.invalid, "rejected": report.rejected}
    return {kind: count for kind, count in counts.items() if count}


def _example(group: Group) -> str:
    status = f" with {group.http_status}" if group.http_status else ""
    return f"{group.count:,}{status}, such as {_shown(group.example, 80)}: {_shown(group.message, 200)}"


def _records(extras: Extras) -> list[str]:
    lines = []
    if extras.changed is not None:
        lines.append(_row("changed records", extras.changed, None))
    if extras.truncated is not None:
        lines.append(_row("are or may be cut at 2,500", extras.truncated, extras.last_truncated))
    if extras.predicted_events is not None:
        lines.append(_row("new events expected", round(extras.predicted_events), None))
    if extras.found_events is not None:
        lines.append(_row("new events found", extras.found_events, None))
    return lines and [_head(extras.last_truncated), *lines]


def _registration(report: Report, last: Report | None) -> list[str]:
    if not (report.registered or report.rejected or report.registration_pending):
        return []
    lines = [_head(last)]
    for label, name in {"registered": "registered", "rejected": "rejected", "waiting": "registration_pending"}.items():
        lines.append(_row(label, getattr(report, name), getattr(last, name) if last else None))
    return lines


def _service(report: Report, last: Report | None, extras: Extras) -> list[str]:
    lines = [_head(last)]
    for service, count in report.requests.items():
        lines.append(_row(f"requests to {service}", count, last.requests.get(service, 0) if last else None))
    lines.append(_row("retries among them", report.retries, last.retries if last else None))
    lines.append(_row("bytes received", report.bytes, last.bytes if last else None))
    lines.append(_row("time", report.duration_seconds, last.duration_seconds if last else None, in_words))
    if extras.median_seconds is not None:
        lines.append(_row("half of the answers within", extras.median_seconds, extras.last_median_seconds, _seconds))
    if report.budget_left is not None:
        daily = f" of {extras.daily_budget:,}" if extras.daily_budget else ""
        lines += _wrapped(f"{report.budget_left:,}{daily} requests are left in the daily budget.")
    return lines


def _campaign(campaign: Campaign | None) -> list[str]:
    if campaign is None:
        return []
    if campaign.nights_left == 0:
        return _wrapped(f"Each of {_of(campaign.works, 'work')} was asked at least once.")
    pace = (
        "at this pace there is no end to it"
        if campaign.nights_left is None
        else f"at this pace the rest takes {_of(campaign.nights_left, 'night')}"
    )
    return _wrapped(
        f"{campaign.covered:,} of {_of(campaign.works, 'work')} were asked at least once, "
        f"{campaign.tonight:,} of them tonight for the first time; {pace}."
    )


def _files(files: Mapping[str, str]) -> list[str]:
    return [f"{_shown(name, 12):<12} {printable(path, 4096)}" for name, path in files.items()]


# Lines


def _head(last: object | None) -> str:
    return f"{'':28}{'tonight':>16}" + (f"{'last night':>16}{'change':>16}" if last is not None else "")


def _row(label: str, now: float, then: float | None, shown: Callable[[float], str] = "{:,}".format) -> str:
    line = f"{label:<28}{shown(now):>16}"
    if then is not None:
        sign = "+" if now > then else "-" if now < then else ""
        line += f"{shown(then):>16}{sign + shown(abs(now - then)):>16}"
    return line


def _minute(timestamp: str) -> str:
    return f"{timestamp[:10]} {timestamp[11:16]} UTC"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s"


def _wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
    """Text as lines of at most `WIDTH` columns; a DOI is broken only where it is longer than a line."""
    text = _one_line(text)
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def _one_line(text: str) -> str:
    return _shown(text, 1_000)


def _shown(text: str, limit: int) -> str:
    """Text from outside, fit for a terminal and without addresses of people."""
    return printable(redacted(text), limit)


def _share(part: int, total: int) -> str:
    return f"{part / total:.1%}"


def _was(then: tuple[int, int] | None) -> str:
    return f", {_share(*then)} last night" if then and then[1] else ""


def _of(number: int, one: str) -> str:
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
