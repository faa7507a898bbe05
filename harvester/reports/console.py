"""The figures of a run: counted while it goes, summed up at its end."""

from collections.abc import Mapping

from harvester.core.sanitize import printable
from harvester.core.wording import counted, in_words
from harvester.reports.summary import Summary


def ending(report: Summary) -> dict[str, object]:
    """The figures that close a run, as the fields of one event in a log for machines."""
    counts = ("lines", "works", "results", "failures", "pending", "resting", "registered", "rejected", "retries")
    return {
        "exit_code": report.exit.code,
        "exit_name": report.exit.name,
        **{name: getattr(report, name) for name in counts},
        **{f"{service}_requests": count for service, count in report.requests.items()},
        "duration_seconds": report.duration_seconds,
        "output": report.files.get("output", ""),
    }


AGAIN = "the same command with --retry-failed asks again"
"""What can be done about works that failed in a batch run."""


def closing(report: Summary, *, again: str = AGAIN) -> str:
    """The figures that close a run, for people: the accounting, what was asked, where the files are, the verdict.

    Args:
        report: of the run.
        again: what can be done about works that failed.
    """
    read = f"{counted(report.works, 'work')} + {counted(report.duplicates, 'duplicate')}"
    became = f"{counted(report.results, 'result')} + {counted(report.failures, 'failure')} + {report.pending:,} pending"
    became += f" + {report.resting:,} resting" if report.resting else ""
    lines = [
        f"lines      {report.lines:>12,} = {read} + {report.invalid:,} invalid + {report.blank:,} blank",
        f"works      {report.works:>12,} = {became}",
        f"results    {report.results:>12,}{_detail(report.outcomes)}",
        f"failures   {report.failures:>12,}{_detail(report.failures_by_kind)}",
    ]
    if report.gone:
        lines.append(f"gone       {report.gone:>12,} left the list; what was harvested of them stays")
    if report.registered or report.rejected or report.registration_pending:
        waiting = f"{report.rejected:,} rejected, {report.registration_pending:,} waiting"
        lines.append(f"registered {report.registered:>12,}, {waiting}")
    asked = ", ".join(f"{count:,} to {service}" for service, count in report.requests.items())
    budget = "" if report.budget_left is None else f"; {report.budget_left:,} left in the daily budget"
    lines.append(f"requests   {asked}, {counted(report.retries, 'retry', 'retries')}{budget}")
    lines.append(f"received   {counted(report.bytes, 'byte')}")
    lines.append(f"time       {in_words(report.duration_seconds)}, {report.started_at} to {report.finished_at}")
    lines += [f"{name:<10} {printable(path, 4096)}" for name, path in report.files.items()]
    lines.append(f"exit       {report.exit.code}, {report.exit.name}")
    return "\n".join([*lines, "", printable(report.exit.reason, 4096), *_next_steps(report, again)])


def _next_steps(report: Summary, again: str) -> list[str]:
    """What can be done about works that were given up; how to go on after a stop is said by its own reason."""
    steps = []
    if report.failures and not report.pending:
        steps.append(f"{counted(report.failures, 'work')} failed; {again}.")
    if report.invalid:
        steps.append(f"{counted(report.invalid, 'line is no DOI', 'lines are no DOIs')}.")
    if report.rejected:
        steps.append(f"OPERAS refuses {counted(report.rejected, 'DOI')}.")
    if steps and "failures" in report.files:
        steps.append("The failures file says why.")
    return steps


def _detail(counts: Mapping[str, int]) -> str:
    return f"  ({', '.join(f'{name} {count:,}' for name, count in counts.items())})" if counts else ""
