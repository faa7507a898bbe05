"""`harvester verify`: what was promised of an output, checked against its ledger."""

from pathlib import Path

import click

from harvester.cli.printing import Marked, show, show_json
from harvester.core.errors import PromiseBroken
from harvester.core.memory import give_back_large_blocks
from harvester.core.text.wording import counted
from harvester.verify.checks import PROMISES, Verdict, WorkCounts, verdict
from harvester.verify.gather import gather


@click.command()
@click.argument("path", type=click.Path(path_type=Path), metavar="OUT")
@click.option("--deep", is_flag=True, help="Look at the bytes of every record as well.")
@click.option("--ledger", type=click.Path(path_type=Path), metavar="PATH", help="[default: beside the output]")
@click.option("--failures", type=click.Path(path_type=Path), metavar="PATH", help="[default: beside the output]")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def verify(path: Path, deep: bool, ledger: Path | None, failures: Path | None, as_json: bool) -> None:
    """Check what was promised of OUT, the output of a run, or its ledger; complete or not. Nothing is changed.

    Every line of the output is read and compared with the ledger, and so are the failures file and the summary.
    Ends with 0 if everything holds, with 70 if anything does not, with 11 while a run is at work.

    \b
    harvester verify harvest.jsonl
    harvester verify harvest.jsonl.zst --deep
    harvester verify harvest.ledger --json | jq .promises
    """
    give_back_large_blocks()
    with gather(path, deep=deep, ledger=ledger, failures=failures) as evidence:
        found = verdict(evidence)
    if as_json:
        show_json(_for_machines(found))
    else:
        show(*_in_words(path, found))
    if found.violations:
        broken = ", ".join(PROMISES[promise] for promise in PROMISES if promise in found.violations)
        raise PromiseBroken(
            f"{path} does not hold what was promised: {broken}. Nothing was changed. Put back what was "
            "changed, or start over with --refetch; if nobody changed anything, please report this."
        )


def _for_machines(found: Verdict) -> dict[str, object]:
    held = _held(found.counts)
    promises = {
        promise: {
            "name": name,
            "holds": promise not in found.violations if promise in held else None,
            "violations": found.violations[promise],
            "shown": [{"doi": each.doi or None, "what": each.words} for each in found.shown.get(promise, ())],
        }
        for promise, name in PROMISES.items()
    }
    return {
        "holds": not found.violations,
        "promises": promises,
        "figures": _figures(found.counts),
        "notes": found.notes,
    }


def _figures(counts: WorkCounts) -> dict[str, object]:
    figures = counts.figures
    return {
        "works": figures.works,
        "results": figures.results,
        "failures": figures.failures,
        "pending": figures.pending,
        "gone": figures.gone,
        "outcomes": figures.outcomes,
        "failures_by_kind": figures.failures_by_kind,
        "invalid": counts.invalid,
        "registered": figures.registered,
        "rejected": figures.rejected,
        "registration_pending": figures.registration_pending,
        "records": counts.records,
        "records_hashed": counts.records_hashed,
        "failure_lines": counts.failure_lines,
    }


def _in_words(path: Path, found: Verdict) -> list[str | Marked]:
    lines: list[str | Marked] = [f"verified  {path}"]
    held = _held(found.counts)
    for promise, name in PROMISES.items():
        if promise in found.violations:
            lines += _broken(promise, name, found)
        elif promise in held:
            lines.append(Marked("holds", "green", f"{name:<16} {held[promise]}"))
    return lines + [f"note      {note}" for note in found.notes]


def _broken(promise: str, name: str, found: Verdict) -> list[str | Marked]:
    count, shown = found.violations[promise], found.shown[promise]
    lines: list[str | Marked] = [Marked("BROKEN", "red", f"{name:<16} {counted(count, 'violation')}")]
    lines += [f"          {each.words}" for each in shown]
    return lines + [f"          … and {count - len(shown):,} more"] * (count > len(shown))


def _held(counts: WorkCounts) -> dict[str, str]:
    """What it means that a promise holds, with figures. Promises that were not looked at are left out."""
    figures = counts.figures
    became = f"{counted(figures.results, 'result')} + {counted(figures.failures, 'failure')}"
    gone = f"; {figures.gone:,} left the list, their records stay" if figures.gone else ""
    held = {
        "G1": f"{counted(figures.works, 'work')} = {became} + {figures.pending:,} pending{gone}",
        "G2": f"{counted(counts.records, 'record')}, each once, each as the ledger knows it",
        "G3": "every line up to the last committed byte is complete and valid",
    }
    if figures.registered or figures.rejected or figures.registration_pending:
        waiting = f"{figures.rejected:,} rejected with a reason, {figures.registration_pending:,} waiting"
        held["G10"] = f"{figures.registered:,} acknowledged, {waiting}"
    if counts.records_hashed:
        held["G11"] = "each record is about the DOI that was asked for"
        held["G12"] = "each record's bytes have the SHA-256 that was taken when it came"
    return held
