"""The summary of a run, and the exit code it ends with."""

from collections.abc import Sequence
from dataclasses import replace

from harvester.core.errors import OutOfBudget, PromiseBroken
from harvester.core.model import Figures
from harvester.reports.summary import Exit, Summary


def end_of_failed(figures: Figures, has_work: bool) -> Exit:
    """How a run over failed works ends where nothing stopped it."""
    done = "The failed DOIs were asked again." if has_work else "Nothing had failed; nothing was asked."
    if figures.pending:
        rest = f"{figures.pending:,} others are still to be asked: the same command without --only-failed goes on."
        return Exit(OutOfBudget.exit_code, OutOfBudget.name, f"{done} {rest}")
    return Exit(0, "complete", done)


def checked(summary: Summary, broken: Sequence[str]) -> Summary:
    """The summary; if its accounting does not add up, this is how the run ended, whatever else happened."""
    if not broken:
        return summary
    reason = f"The accounting does not add up. These do not hold: {'; '.join(broken)}. {REPORT_IT}"
    return replace(summary, exit=Exit(PromiseBroken.exit_code, PromiseBroken.name, reason))


REPORT_IT = "Nothing was deleted; please report this with the summary and the ledger."
