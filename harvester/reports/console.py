"""The figures that close a run, for people and as the fields of a log event."""

from collections.abc import Mapping

from harvester.core.model import Figures, Outcome
from harvester.core.text.sanitize import printable
from harvester.core.text.wording import counted, in_words
from harvester.reports.summary import Summary


def ending(summary: Summary) -> dict[str, object]:
    """The figures that close a run, as the fields of one event in a log for machines."""
    figures = summary.figures
    return {
        "exit_code": summary.exit.code,
        "exit_name": summary.exit.name,
        "lines": summary.lines,
        "works": figures.works,
        "results": figures.results,
        "failures": figures.failures,
        "pending": figures.pending,
        "resting": figures.resting,
        "registered": figures.registered,
        "rejected": figures.rejected,
        "held_back": figures.held_back,
        "urls_left_out": figures.urls_left_out,
        "retries": summary.retries,
        **{f"{service}_requests": count for service, count in summary.requests.items()},
        "duration_seconds": summary.duration_seconds,
        "output": summary.files.get("output", ""),
    }


AGAIN = "the same command with --retry-failed asks again"
"""What can be done about works that failed in a batch run."""


def closing(summary: Summary, *, again: str = AGAIN) -> str:
    """The figures that close a run, for people: the accounting, what was asked, where the files are, how it ended.

    Args:
        summary: of the run.
        again: what can be done about works that failed.
    """
    lines = [*_accounting(summary), *_activity(summary)]
    lines += [f"{name:<10} {printable(path, 4096)}" for name, path in summary.files.items()]
    lines.append(f"exit       {summary.exit.code}, {summary.exit.name}")
    return "\n".join([*lines, "", printable(summary.exit.reason, 4096), *_next_steps(summary, again)])


def _accounting(summary: Summary) -> list[str]:
    """What became of the lines and works of the list."""
    figures = summary.figures
    lines = [_lines(summary)]
    lines += _harvested(figures) if summary.harvests else [f"works      {figures.works:>12,}"]
    if figures.gone:
        lines.append(f"gone       {figures.gone:>12,} left the list; what was harvested of them stays")
    if figures.registered or figures.rejected or figures.registration_pending or figures.held_back:
        waiting = f"{figures.rejected:,} rejected, {figures.registration_pending:,} waiting"
        held_back = f", {figures.held_back:,} held back" if figures.held_back else ""
        lines.append(f"registered {figures.registered:>12,}, {waiting}{held_back}")
    if figures.urls_left_out:
        lines.append(f"left out   {figures.urls_left_out:>12,} {'URL' if figures.urls_left_out == 1 else 'URLs'}")
    return lines


def _lines(summary: Summary) -> str:
    read = f"{counted(summary.figures.works, 'work')} + {counted(summary.duplicates, 'duplicate')}"
    return f"lines      {summary.lines:>12,} = {read} + {summary.invalid:,} invalid + {summary.blank:,} blank"


def _harvested(figures: Figures) -> list[str]:
    became = f"{counted(figures.results, 'result')} + {counted(figures.failures, 'failure')}"
    became += f" + {figures.pending:,} pending" + (f" + {figures.resting:,} resting" if figures.resting else "")
    return [
        f"works      {figures.works:>12,} = {became}",
        f"results    {figures.results:>12,}{_detail(figures.outcomes)}",
        f"failures   {figures.failures:>12,}{_detail(figures.failures_by_kind)}",
    ]


def _activity(summary: Summary) -> list[str]:
    """What the run did: requests, bytes, time."""
    asked = ", ".join(f"{count:,} to {service}" for service, count in summary.requests.items())
    budget = "" if summary.budget_left is None else f"; {summary.budget_left:,} left in the daily budget"
    received = [f"received   {counted(summary.bytes, 'byte')}"] if summary.harvests else []
    return [
        f"requests   {asked}, {counted(summary.retries, 'retry', 'retries')}{budget}",
        *received,
        f"time       {in_words(summary.duration_seconds)}, {summary.started_at} to {summary.finished_at}",
    ]


def _next_steps(summary: Summary, again: str) -> list[str]:
    """What can be done about works that were given up. How to go on after a stop is told by the reason of the exit."""
    figures = summary.figures
    steps = []
    if summary.harvests and figures.failures and not figures.pending:
        steps.append(f"{counted(figures.failures, 'work')} failed; {again}.")
    if summary.invalid:
        steps.append(f"{counted(summary.invalid, 'line is no DOI', 'lines are no DOIs')}.")
    if figures.rejected:
        steps.append(f"OPERAS refuses {counted(figures.rejected, 'DOI')}.")
    if figures.urls_left_out:
        left_out = counted(figures.urls_left_out, "URL is", "URLs are")
        steps.append(f"{left_out} not registered; the DOIs are. See `harvester failures --kind url-left-out`.")
    if steps and "failures" in summary.files and (figures.failures or summary.invalid or figures.rejected):
        steps.append("The failures file says why.")
    return [*steps, *_not_registered(summary), *_mostly_empty(figures)]


def _not_registered(summary: Summary) -> list[str]:
    """Which works a run that registers does not register, and what can be done about it."""
    figures, without = summary.figures, []
    if not (summary.registers and summary.harvests):
        return []
    if figures.failures:
        without.append(f"{figures.failures:,} without a record")
    if figures.held_back:
        without.append(f"{figures.held_back:,} with an empty record")
    if not without:
        return []
    are_not = "work is" if figures.failures + figures.held_back == 1 else "works are"
    return [
        f"{figures.failures + figures.held_back:,} {are_not} not registered: {' and '.join(without)}.",
        "`harvester register` registers a list without asking for records.",
    ]


FEW_RECORDS = 10
"""Of so few records all may be empty by chance."""

NEARLY_ALL = 0.9


def _mostly_empty(figures: Figures) -> list[str]:
    """What it looks like if nearly all records are empty."""
    empty = figures.outcomes.get(Outcome.EMPTY, 0)
    if figures.results < FEW_RECORDS or empty < NEARLY_ALL * figures.results:
        return []
    looks_like = "names that do not exist, or a service whose own sources (Crossref, Unpaywall) were down"
    return [
        f"{empty:,} of {figures.results:,} records are empty. That looks like {looks_like}.",
        "If the names are right, ask again later with --refetch.",
    ]


def _detail(counts: Mapping[str, int]) -> str:
    return f"  ({', '.join(f'{name} {count:,}' for name, count in counts.items())})" if counts else ""
