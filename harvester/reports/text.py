"""The report of a night as a page of text: what a person reads first after a night that nobody watched."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from harvester.core.text.sanitize import printable, safe_line
from harvester.core.text.wording import counted, in_words
from harvester.reports.anomalies import Anomaly
from harvester.reports.compared import Compared, Number
from harvester.reports.details import Campaign, NightRecords
from harvester.reports.failures import FailureGroup
from harvester.reports.night import Accounting, FailuresOfKind, NightReport, RegistrationFigures, ServiceUse
from harvester.reports.summary import Exit
from harvester.reports.verdict import LEADS, Conclusion

WIDTH: Final = 80
"""Columns of the page; only a path may be longer, because a broken one cannot be copied."""


EXAMPLES: Final = 3
"""Groups shown of one kind of failure: enough to see whether they are alike."""


def page(report: NightReport) -> str:
    """The report as text: a first line with the verdict, then lines of at most `WIDTH` columns.

    A section without lines is left out.
    """
    is_compared = report.compared_with is not None
    sections = [
        [_safe(report.verdict.sentence, 1_000)],  # never wrapped, so that `head -1` gives all of it
        [_night(report)],
        _titled("Look at this", _anomalies(report.anomalies)),
        _titled("Accounting", _accounting(report.accounting, is_compared)),
        _titled("Failures and what to do", _failures(report.failures)),
        _titled("Records and events", _records(report.records)),
        _titled("Registration", _registration(report.registration, is_compared)),
        _titled("Service and budget", _service(report.service, is_compared)),
        _titled("How far", _campaign(report.campaign)),
        _titled("How it ended", _exit(report.exit)),
        _titled("Files", _files(report.files)),
    ]
    return "\n\n".join("\n".join(section) for section in sections if section) + "\n"


def failure_page(*, exit_code: int, name: str, reason: str, now: str) -> str:
    """The page of a night that ended with an error and without figures.

    Args:
        exit_code: of the error.
        name: of the exit code, a word.
        reason: in sentences, with what to do next.
        now: timestamp of the end.
    """
    sections = [
        [_safe(f"{LEADS[Conclusion.LOOK_AT_THIS]}: the night ended with an error: {reason}", 1_000)],
        [f"Night of {now[:10]}, ended {now[11:16]} UTC"],
        _titled("How it ended", _exit(Exit(exit_code, name, reason))),
    ]
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _titled(title: str, lines: list[str]) -> list[str]:
    return [title.upper(), *lines] if lines else []


def _night(report: NightReport) -> str:
    began, ended = report.started_at, report.finished_at
    duration = in_words(report.service.duration_seconds.tonight)
    return f"Night of {began[:10]}, {began[11:16]} to {ended[11:16]} UTC, {duration}"


def _anomalies(suspected: Sequence[Anomaly]) -> list[str]:
    lines: list[str] = []
    for anomaly in suspected:
        claim = anomaly.claim[:1].upper() + anomaly.claim[1:]
        lines += _wrapped(f"- {claim}. {anomaly.advice}", "", "  ")
    return lines


def _accounting(figures: Accounting, is_compared: bool) -> list[str]:
    """Each sum above its parts."""
    rows = {
        "lines": figures.lines,
        "  = works": figures.works,
        "  + duplicates": figures.duplicates,
        "  + invalid": figures.invalid,
        "  + blank": figures.blank,
        "works": figures.works,
        "  = results": figures.results,
        "  + failures": figures.failures,
        "  + pending": figures.pending,
        "  + resting tonight": figures.resting,
        "results": figures.results,
        **{f"  {'+' if index else '='} {name}": figures.outcomes[name] for index, name in enumerate(figures.outcomes)},
        **({} if figures.come is None else {"new in the list": Compared(figures.come)}),
        "gone from the list": figures.gone,
    }
    return _table(rows, is_compared)


def _failures(kinds: Sequence[FailuresOfKind]) -> list[str]:
    lines: list[str] = []
    for each in kinds:
        was = "" if each.count.last_night is None else f", last night {each.count.last_night:,}"
        lines += _wrapped(f"{each.kind}: {each.count.tonight:,}{was}")
        lines += _wrapped(f"Cause: {each.cause}", "  ", "    ")
        for group in each.groups[:EXAMPLES]:
            lines += _wrapped(_example(group), "  ", "    ")
        lines += _wrapped(f"To do: {each.advice}", "  ", "    ")
    return lines


def _example(group: FailureGroup) -> str:
    status = f" with {group.http_status}" if group.http_status else ""
    return f"{group.count:,}{status}, such as {_safe(group.example, 80)}: {_safe(group.message, 200)}"


def _records(records: NightRecords) -> list[str]:
    predicted = None if records.predicted_events is None else round(records.predicted_events)
    rows = {
        "changed records": None if records.changed is None else Compared(records.changed),
        "are or may be cut at 2,500": records.truncated,
        "new events expected": None if predicted is None else Compared(predicted),
        "new events found": None if records.found_events is None else Compared(records.found_events),
    }
    known = {label: figure for label, figure in rows.items() if figure is not None}
    if not known:
        return []
    return _table(known, any(figure.last_night is not None for figure in known.values()))


def _registration(figures: RegistrationFigures | None, is_compared: bool) -> list[str]:
    if figures is None:
        return []
    rows = {"registered": figures.registered, "rejected": figures.rejected, "waiting": figures.waiting}
    return _table(rows, is_compared)


def _service(service: ServiceUse, is_compared: bool) -> list[str]:
    rows = {
        **{f"requests to {name}": count for name, count in service.requests.items()},
        "retries among them": service.retries,
        "bytes received": service.bytes_received,
    }
    lines = [*_table(rows, is_compared), _row("time", service.duration_seconds, in_words)]
    if service.median_seconds is not None:
        lines.append(_row("half of the answers within", service.median_seconds, "{:.2f} s".format))
    if service.budget_left is not None:
        daily = f" of {service.daily_budget:,}" if service.daily_budget else ""
        lines += _wrapped(f"{service.budget_left:,}{daily} requests are left in the daily budget.")
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


def _exit(ended: Exit) -> list[str]:
    return _wrapped(f"Exit code {ended.code}, {ended.name}. {ended.reason}")


def _files(files: Mapping[str, str]) -> list[str]:
    return [f"{_safe(name, 12):<12} {printable(path, 4096)}" for name, path in files.items()]


def _table(rows: Mapping[str, Compared[int]], is_compared: bool) -> list[str]:
    """A head with the names of the columns, then a line for each figure.

    Args:
        rows: figures by label.
        is_compared: whether there are columns for last night and the change.
    """
    head = f"{'':28}{'tonight':>16}" + (f"{'last night':>16}{'change':>16}" if is_compared else "")
    return [head, *(_row(label, figure, "{:,}".format) for label, figure in rows.items())]


def _row(label: str, figure: Compared[Number], shown: Callable[[Number], str]) -> str:
    line = f"{label:<28}{shown(figure.tonight):>16}"
    if figure.last_night is not None and figure.change is not None:
        sign = "+" if figure.change > 0 else "-" if figure.change < 0 else ""
        line += f"{shown(figure.last_night):>16}{sign + shown(abs(figure.change)):>16}"
    return line


def _wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
    """Text as lines of at most `WIDTH` columns; a DOI is broken only if it is longer than a line.

    Args:
        text: may come from outside.
        first: what the first line begins with.
        rest: what all further lines begin with.
    """
    text = _safe(text, 1_000)
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def _safe(text: str, limit: int) -> str:
    """Text from outside, cut to a limit of characters, fit for a terminal and without addresses of people."""
    return safe_line(text, limit)
