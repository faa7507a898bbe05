"""The figures that close a run, for people and as the fields of a log event."""

from collections.abc import Mapping

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
    read = f"{counted(figures.works, 'work')} + {counted(summary.duplicates, 'duplicate')}"
    became = f"{counted(figures.results, 'result')} + {counted(figures.failures, 'failure')}"
    became += f" + {figures.pending:,} pending" + (f" + {figures.resting:,} resting" if figures.resting else "")
    lines = [
        f"lines      {summary.lines:>12,} = {read} + {summary.invalid:,} invalid + {summary.blank:,} blank",
        f"works      {figures.works:>12,} = {became}",
        f"results    {figures.results:>12,}{_detail(figures.outcomes)}",
        f"failures   {figures.failures:>12,}{_detail(figures.failures_by_kind)}",
    ]
    if figures.gone:
        lines.append(f"gone       {figures.gone:>12,} left the list; what was harvested of them stays")
    if figures.registered or figures.rejected or figures.registration_pending:
        waiting = f"{figures.rejected:,} rejected, {figures.registration_pending:,} waiting"
        lines.append(f"registered {figures.registered:>12,}, {waiting}")
    return lines


def _activity(summary: Summary) -> list[str]:
    """What the run did: requests, bytes, time."""
    asked = ", ".join(f"{count:,} to {service}" for service, count in summary.requests.items())
    budget = "" if summary.budget_left is None else f"; {summary.budget_left:,} left in the daily budget"
    return [
        f"requests   {asked}, {counted(summary.retries, 'retry', 'retries')}{budget}",
        f"received   {counted(summary.bytes, 'byte')}",
        f"time       {in_words(summary.duration_seconds)}, {summary.started_at} to {summary.finished_at}",
    ]


def _next_steps(summary: Summary, again: str) -> list[str]:
    """What can be done about works that were given up. How to go on after a stop is told by the reason of the exit."""
    figures = summary.figures
    steps = []
    if figures.failures and not figures.pending:
        steps.append(f"{counted(figures.failures, 'work')} failed; {again}.")
    if summary.invalid:
        steps.append(f"{counted(summary.invalid, 'line is no DOI', 'lines are no DOIs')}.")
    if figures.rejected:
        steps.append(f"OPERAS refuses {counted(figures.rejected, 'DOI')}.")
    if steps and "failures" in summary.files:
        steps.append("The failures file says why.")
    return steps


def _detail(counts: Mapping[str, int]) -> str:
    return f"  ({', '.join(f'{name} {count:,}' for name, count in counts.items())})" if counts else ""
