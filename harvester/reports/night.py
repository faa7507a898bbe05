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

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from harvester.core.sanitize import printable, redacted
from harvester.core.wording import are, counted, in_words
from harvester.reports.anomalies import EXAMPLES, Anomaly, Campaign, NightDetails, anomalies
from harvester.reports.failures import ADVICE, Group
from harvester.reports.summary import Summary

WIDTH: Final = 80
"""Columns of the page; only a path may be longer, for a broken one cannot be copied."""


GOES_ON: Final = frozenset({4, 69, 130, 143})
"""Exit codes after which the next night goes on by itself: budget or time used up, service down, stopped."""


def morning(report: Summary, last: Summary | None, extras: NightDetails) -> str:
    """The page.

    Args:
        report: of tonight's run.
        last: of the run of the night before; None if there is none.
        extras: what the report does not hold.
    """
    began, ended = report.started_at, report.finished_at
    night = f"Night of {began[:10]}, {began[11:16]} to {ended[11:16]} UTC, {in_words(report.duration_seconds)}"
    suspected = anomalies(report, last, extras)
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


def verdict(report: Summary, last: Summary | None, extras: NightDetails) -> str:
    """The night in one sentence; the cases are those at the top of this file."""
    suspected = anomalies(report, last, extras)
    reason = _first_sentence(report.exit.reason) or report.exit.name
    if report.exit.code not in GOES_ON | {0, 3}:
        return _one_line(f"Look at this: {reason}{_and_more(len(suspected))}.")
    if report.exit.code in GOES_ON:
        return _one_line(f"Not finished: {_left_to_do(report)} ({reason}){_and_more(len(suspected))}.")
    if report.exit.code == 3:
        too_many = f"{counted(report.figures.failures, 'work')} failed, more than are allowed"
        return _one_line(f"Look at this: {too_many}{_and_more(len(suspected))}.")
    if suspected:
        return _one_line(f"Look at this: {suspected[0].claim}{_and_more(len(suspected) - 1, 'more')}.")
    if not any(report.requests.values()):
        return "All is well: nothing was due, and nothing was asked."
    figures = report.figures
    has, failed = "has" if figures.results == 1 else "have", f"{figures.failures:,} failed"
    return f"All is well: of {counted(figures.works, 'work')} {figures.results:,} {has} a record and {failed}."


def _left_to_do(report: Summary) -> str:
    figures, parts = report.figures, []
    if figures.pending:
        works = counted(figures.works, "work")
        parts.append(f"{figures.pending:,} of {works} {are(figures.pending)} still to be asked")
    if figures.registration_pending:
        waiting = figures.registration_pending
        parts.append(f"{waiting:,} {'waits' if waiting == 1 else 'wait'} to be registered")
    return " and ".join(parts) or "the night ended early"


def _first_sentence(text: str) -> str:
    """Up to the first full stop that a space and another sentence follow."""
    return re.split(r"\.(?:\s|$)", text, maxsplit=1)[0]


def _and_more(count: int, what: str = "") -> str:
    return f"; {f'{count} {what}' if what else counted(count, 'suspicion')} below" if count else ""


def _titled(title: str, lines: list[str]) -> list[str]:
    return [title.upper(), *lines] if lines else []


def _suspected(suspected: list[Anomaly]) -> list[str]:
    lines: list[str] = []
    for each in suspected:
        claim = each.claim[:1].upper() + each.claim[1:]
        lines += _wrapped(f"- {claim}. {each.advice}", "", "  ")
    return lines


def _accounting(report: Summary, last: Summary | None) -> list[str]:
    outcomes = sorted({*report.figures.outcomes, *(last.figures.outcomes if last else ())})
    before = _account(last, outcomes) if last else {}
    lines = [_head(last)]
    for label, figure in _account(report, outcomes).items():
        lines.append(_row(label, figure, before.get(label)))
    return lines


def _account(report: Summary, outcomes: Sequence[str]) -> dict[str, int]:
    """The identities of the accounting, each sum above its parts."""
    return {
        "lines": report.lines,
        "  = works": report.figures.works,
        "  + duplicates": report.duplicates,
        "  + invalid": report.invalid,
        "  + blank": report.blank,
        "works": report.figures.works,
        "  = results": report.figures.results,
        "  + failures": report.figures.failures,
        "  + pending": report.figures.pending,
        "  + resting tonight": report.figures.resting,
        "results": report.figures.results,
        **{
            f"  {'+' if number else '='} {name}": report.figures.outcomes.get(name, 0)
            for number, name in enumerate(outcomes)
        },
        "gone from the list": report.figures.gone,
    }


def _failures(report: Summary, last: Summary | None, groups: Sequence[Group]) -> list[str]:
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


def _failures_by_kind(report: Summary) -> dict[str, int]:
    """All lines of the failures file by kind: failed works, lines that are no DOIs, refused registrations."""
    counts = {**report.figures.failures_by_kind, "invalid-doi": report.invalid, "rejected": report.figures.rejected}
    return {kind: count for kind, count in counts.items() if count}


def _example(group: Group) -> str:
    status = f" with {group.http_status}" if group.http_status else ""
    return f"{group.count:,}{status}, such as {_shown(group.example, 80)}: {_shown(group.message, 200)}"


def _records(extras: NightDetails) -> list[str]:
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


def _registration(report: Summary, last: Summary | None) -> list[str]:
    if not (report.figures.registered or report.figures.rejected or report.figures.registration_pending):
        return []
    lines = [_head(last)]
    for label, name in {"registered": "registered", "rejected": "rejected", "waiting": "registration_pending"}.items():
        lines.append(_row(label, getattr(report.figures, name), getattr(last.figures, name) if last else None))
    return lines


def _service(report: Summary, last: Summary | None, extras: NightDetails) -> list[str]:
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
        return _wrapped(f"Each of {counted(campaign.works, 'work')} was asked at least once.")
    pace = (
        "at this pace there is no end to it"
        if campaign.nights_left is None
        else f"at this pace the rest takes {counted(campaign.nights_left, 'night')}"
    )
    return _wrapped(
        f"{campaign.covered:,} of {counted(campaign.works, 'work')} were asked at least once, "
        f"{campaign.tonight:,} of them tonight for the first time; {pace}."
    )


def _files(files: Mapping[str, str]) -> list[str]:
    return [f"{_shown(name, 12):<12} {printable(path, 4096)}" for name, path in files.items()]


def _head(last: object | None) -> str:
    return f"{'':28}{'tonight':>16}" + (f"{'last night':>16}{'change':>16}" if last is not None else "")


def _row(label: str, now: float, then: float | None, shown: Callable[[float], str] = "{:,}".format) -> str:
    line = f"{label:<28}{shown(now):>16}"
    if then is not None:
        sign = "+" if now > then else "-" if now < then else ""
        line += f"{shown(then):>16}{sign + shown(abs(now - then)):>16}"
    return line


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
