"""`harvester verify`: what was promised of an output, checked against its ledger."""

from pathlib import Path

import click
import orjson

from harvester.core.errors import PromiseBroken
from harvester.core.sanitize import printable
from harvester.core.wording import counted
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
    with gather(path, deep=deep, ledger=ledger, failures=failures) as evidence:
        found = verdict(evidence)
    click.echo(_for_machines(found) if as_json else _in_words(path, found))
    if found.counts:
        broken = ", ".join(PROMISES[promise] for promise in PROMISES if promise in found.counts)
        raise PromiseBroken(
            f"{printable(str(path))} does not hold what was promised: {broken}. Nothing was changed. Put back what was "
            "changed, or start over with --refetch; if nobody changed anything, please report this."
        )


def _for_machines(found: Verdict) -> str:
    promises = {
        promise: {
            "name": name,
            "holds": promise not in found.counts if promise in _held(found.tally) else None,
            "violations": found.counts[promise],
            "shown": [{"doi": each.doi or None, "what": each.words} for each in found.shown.get(promise, ())],
        }
        for promise, name in PROMISES.items()
    }
    content = {"holds": not found.counts, "promises": promises, "figures": found.tally, "notes": found.notes}
    return orjson.dumps(content, option=orjson.OPT_INDENT_2).decode()


def _in_words(path: Path, found: Verdict) -> str:
    lines = [f"verified  {printable(str(path))}"]
    held = _held(found.tally)
    for promise, name in PROMISES.items():
        if promise in found.counts:
            lines += _broken(promise, name, found)
        elif promise in held:
            lines.append(f"{click.style('holds ', fg='green')}    {name:<16} {held[promise]}")
    lines += [f"note      {note}" for note in found.notes]
    return "\n".join(lines)


def _broken(promise: str, name: str, found: Verdict) -> list[str]:
    count, shown = found.counts[promise], found.shown[promise]
    lines = [f"{click.style('BROKEN', fg='red')}    {name:<16} {counted(count, 'violation')}"]
    lines += [f"          {each.words}" for each in shown]
    return lines + [f"          … and {count - len(shown):,} more"] * (count > len(shown))


def _held(tally: WorkCounts) -> dict[str, str]:
    """What it means that a promise holds, with figures; only of those that were looked at."""
    became = f"{counted(tally.results, 'result')} + {counted(tally.failures, 'failure')} + {tally.pending:,} pending"
    held = {
        "G1": f"{counted(tally.works, 'work')} = {became}"
        + (f"; {tally.gone:,} left the list, their records stay" if tally.gone else ""),
        "G2": f"{counted(tally.records, 'record')}, each once, each as the ledger knows it",
        "G3": "every line up to the last committed byte is complete and valid",
    }
    if tally.registered or tally.rejected or tally.registration_pending:
        waiting = f"{tally.rejected:,} rejected with a reason, {tally.registration_pending:,} waiting"
        held["G10"] = f"{tally.registered:,} acknowledged, {waiting}"
    if tally.records_hashed:
        held["G11"] = "each record is about the DOI that was asked for"
        held["G12"] = "each record's bytes have the SHA-256 that was taken when it came"
    return held
