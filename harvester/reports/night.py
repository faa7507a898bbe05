"""The report of a night as data: what a person should know after a night that nobody watched.

It answers, in this order: is there anything to do (the verdict), what looks wrong, do the figures add up and how do
they differ from those of the night before, what failed and what to do about it, how registration and the daily budget
stand, when every work will have been asked, and where the files are.

Numbers are numbers here, times are timestamps and durations are seconds; only the verdict, claims and advice are
sentences. How it looks is for whoever prints it: `harvester.reports.text` makes the text page. Paths, examples of
failures, their messages and the reason for the end are as they came from outside: whoever prints them has to escape
them, and to mask addresses with `harvester.core.text.sanitize.safe_line`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from harvester.core.errors import FailureKind
from harvester.reports.anomalies import Anomaly, anomalies
from harvester.reports.compared import Compared, Number
from harvester.reports.details import Campaign, ListChange, NightDetails, NightRecords
from harvester.reports.failures import FailureGroup, advice_on
from harvester.reports.summary import Exit, Summary
from harvester.reports.verdict import NightVerdict, night_verdict

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Accounting:
    """The figures over the list and its works; `harvester.reports.summary.Summary` says what each of them counts.

    Three sums hold: lines = works + duplicates + invalid + blank; works = results + failures + pending + resting;
    results = the sum of the outcomes. Works that are gone from the list stand outside of them.
    """

    lines: Compared[int]
    works: Compared[int]
    duplicates: Compared[int]
    invalid: Compared[int]
    blank: Compared[int]
    results: Compared[int]
    failures: Compared[int]
    pending: Compared[int]
    resting: Compared[int]
    outcomes: Mapping[str, Compared[int]]
    gone: Compared[int]
    come: int | None = None


@dataclass(frozen=True, slots=True)
class FailuresOfKind:
    """All failures of one kind.

    Args:
        kind: as in the failures file.
        count: how many lines of the failures file have this kind.
        cause: why works fail in this way, in a sentence.
        advice: what can be done about it, in sentences.
        groups: those that are alike, with an example each, the largest first; may be empty.
    """

    kind: str
    count: Compared[int]
    cause: str
    advice: str
    groups: tuple[FailureGroup, ...]


@dataclass(frozen=True, slots=True)
class RegistrationFigures:
    """How registration with OPERAS stands.

    Args:
        registered: works that OPERAS acknowledged.
        rejected: works that OPERAS refuses.
        waiting: works that wait to be registered.
    """

    registered: Compared[int]
    rejected: Compared[int]
    waiting: Compared[int]


@dataclass(frozen=True, slots=True)
class ServiceUse:
    """What was asked of the services, and how much of the daily budget is left.

    Args:
        requests: by service.
        retries: of these, attempts beyond the first of each work.
        bytes_received: decompressed bytes of records.
        duration_seconds: of the night.
        median_seconds: the median time of the good answers; None if it is not known.
        budget_left: requests left in the daily budget; None without one, or if nothing was asked.
        daily_budget: requests a day; None or 0 without a limit.
    """

    requests: Mapping[str, Compared[int]]
    retries: Compared[int]
    bytes_received: Compared[int]
    duration_seconds: Compared[float]
    median_seconds: Compared[float] | None
    budget_left: int | None
    daily_budget: int | None


@dataclass(frozen=True, slots=True)
class NightReport:
    """The report of a night.

    Args:
        verdict: whether a person has to do something.
        started_at: timestamp of the beginning.
        finished_at: timestamp of the end.
        compared_with: timestamp of the beginning of the night before; None if there is none to compare with.
        anomalies: what looks wrong, the worst first.
        accounting: the figures over the list and its works.
        failures: by kind, the most frequent first.
        records: what the records of tonight tell.
        registration: with OPERAS; None if there was none.
        service: requests, times and the daily budget.
        campaign: how far the list is covered; None if all of it was asked at least once.
        exit: how the run ended.
        files: paths by name.
    """

    verdict: NightVerdict
    started_at: str
    finished_at: str
    compared_with: str | None
    anomalies: tuple[Anomaly, ...]
    accounting: Accounting
    failures: tuple[FailuresOfKind, ...]
    records: NightRecords
    registration: RegistrationFigures | None
    service: ServiceUse
    campaign: Campaign | None
    exit: Exit
    files: Mapping[str, str]


def night_report(summary: Summary, last: Summary | None, details: NightDetails) -> NightReport:
    """Make the report of a night. Pure.

    Args:
        summary: of tonight's run.
        last: of the run of the night before; None if there is none.
        details: what the night knows beyond its summary.
    """
    suspected = anomalies(summary, last, details)
    return NightReport(
        verdict=night_verdict(summary, suspected),
        started_at=summary.started_at,
        finished_at=summary.finished_at,
        compared_with=last.started_at if last else None,
        anomalies=suspected,
        accounting=_accounting(summary, last, details.list_change),
        failures=tuple(_failures(summary, last, details.groups)),
        records=details.records,
        registration=_registration(summary, last),
        service=_service(summary, last, details),
        campaign=details.campaign,
        exit=summary.exit,
        files={**summary.files, **details.files},
    )


def _compare(run: T, last: T | None, figure: Callable[[T], Number]) -> Compared[Number]:
    """One figure of a run, read in the same way from the last one."""
    return Compared(figure(run), None if last is None else figure(last))


def _accounting(summary: Summary, last: Summary | None, change: ListChange | None) -> Accounting:
    figures, before = summary.figures, last.figures if last else None
    outcomes = sorted({*figures.outcomes, *(before.outcomes if before else ())})
    return Accounting(
        lines=_compare(summary, last, lambda run: run.lines),
        works=_compare(figures, before, lambda run: run.works),
        duplicates=_compare(summary, last, lambda run: run.duplicates),
        invalid=_compare(summary, last, lambda run: run.invalid),
        blank=_compare(summary, last, lambda run: run.blank),
        results=_compare(figures, before, lambda run: run.results),
        failures=_compare(figures, before, lambda run: run.failures),
        pending=_compare(figures, before, lambda run: run.pending),
        resting=_compare(figures, before, lambda run: run.resting),
        outcomes=_compare_each(outcomes, figures.outcomes, before.outcomes if before else None),
        gone=Compared(change.gone) if change else _compare(figures, before, lambda run: run.gone),
        come=change.come if change else None,
    )


def _compare_each(
    names: Sequence[str], counts: Mapping[str, int], last: Mapping[str, int] | None
) -> dict[str, Compared[int]]:
    """Counts by name, each compared with the last one; a name that is missing counts 0."""
    return {name: Compared(counts.get(name, 0), None if last is None else last.get(name, 0)) for name in names}


def _failures(summary: Summary, last: Summary | None, groups: Sequence[FailureGroup]) -> list[FailuresOfKind]:
    counts, before = _failures_by_kind(summary), _failures_by_kind(last) if last else None
    kinds = sorted(counts, key=lambda kind: -counts[kind])
    return [
        FailuresOfKind(kind, count, advice.cause, advice.to_do, tuple(group for group in groups if group.kind == kind))
        for kind, count in _compare_each(kinds, counts, before).items()
        for advice in [advice_on(kind)]
    ]


def _failures_by_kind(summary: Summary) -> dict[str, int]:
    """All lines of the failures file by kind: failed works, lines that are no DOIs, refused registrations."""
    figures = summary.figures
    others: dict[str, int] = {FailureKind.INVALID_DOI: summary.invalid, FailureKind.REJECTED: figures.rejected}
    others[FailureKind.URL_LEFT_OUT] = figures.urls_left_out
    counts = {**figures.failures_by_kind, **others}
    return {kind: count for kind, count in counts.items() if count}


def _registration(summary: Summary, last: Summary | None) -> RegistrationFigures | None:
    figures, before = summary.figures, last.figures if last else None
    if not (figures.registered or figures.rejected or figures.registration_pending):
        return None
    return RegistrationFigures(
        registered=_compare(figures, before, lambda run: run.registered),
        rejected=_compare(figures, before, lambda run: run.rejected),
        waiting=_compare(figures, before, lambda run: run.registration_pending),
    )


def _service(summary: Summary, last: Summary | None, details: NightDetails) -> ServiceUse:
    return ServiceUse(
        requests=_compare_each(list(summary.requests), summary.requests, last.requests if last else None),
        retries=_compare(summary, last, lambda run: run.retries),
        bytes_received=_compare(summary, last, lambda run: run.bytes),
        duration_seconds=_compare(summary, last, lambda run: run.duration_seconds),
        median_seconds=details.timing.median_seconds,
        budget_left=summary.budget_left,
        daily_budget=details.daily_budget,
    )
