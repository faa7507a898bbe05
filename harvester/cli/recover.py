"""`harvester recover`: a new ledger from what was harvested, when the old one or the output is damaged."""

from pathlib import Path

import click

from harvester.cli.printing import show
from harvester.core.text.sanitize import printable
from harvester.core.text.wording import counted
from harvester.nightly.files import report_path
from harvester.recovery.recover import Plan, planned
from harvester.storage.paths import paths_of


@click.command()
@click.argument("path", type=click.Path(path_type=Path), metavar="OUT")
@click.option("--yes", is_flag=True, help="Do it. Without this flag, only what would be done is shown.")
@click.option("--ledger", type=click.Path(path_type=Path), metavar="PATH", help="[default: beside the output]")
@click.option("--failures", type=click.Path(path_type=Path), metavar="PATH", help="[default: beside the output]")
@click.option("--nightly", is_flag=True, help="The ledger is that of nightly harvests, if it cannot say so itself.")
@click.option("--anew", is_flag=True, help="Make the ledger anew even if the old one can be read.")
def recover(path: Path, yes: bool, ledger: Path | None, failures: Path | None, nightly: bool, anew: bool) -> None:
    """Make a new ledger for OUT, the output of a run or a night, when the ledger or the output is damaged.

    Each good record in OUT stays and is not asked for again. Failures are taken from the failures file. What is damaged
    is left out, and asked for again by the next run. Nothing is deleted: old files stay beside the new ones as NAME.1.
    First you see what would be done; with --yes it is done.

    \b
    harvester recover harvest.jsonl
    harvester recover harvest.jsonl --yes
    harvester recover 2026-11-22.jsonl.zst --ledger harvest.ledger
    """
    paths = paths_of(path, ledger and ledger.absolute(), failures and failures.absolute())
    is_nightly = nightly or (paths.output is not None and report_path(paths.output).exists())
    with planned(paths, nightly=is_nightly, exclusive=yes, anew=anew) as recovery:
        show(*_in_words(recovery.plan))
        if not yes:
            show("Nothing was changed. The same command with --yes does it.")
            return
        recovery.carry_out()
    again = "The next night" if recovery.plan.is_nightly else "The command that harvested it"
    show(f"Done. {again} reads the list and goes on from here.")


def _in_words(plan: Plan) -> list[str]:
    lines, figures = plan.lines, plan.figures
    told = [
        f"output     {printable(str(plan.found))}: {counted(lines.records, 'good record')}",
        *(f"           {problem}" for problem in lines.problems),
    ]
    if not lines.is_clean:
        left = f"{counted(lines.damaged, 'damaged line')}, {counted(lines.doubled, 'second record')} of a DOI"
        told.append(f"           left out: {left}")
    told.append(f"ledger     {printable(str(plan.ledger))}: {_told_of(plan)}")
    kept = [aside for aside in (plan.output_aside, plan.ledger_aside) if aside]
    told += [f"kept       the old one as {printable(str(aside))}" for aside in kept]
    became = f"{counted(figures.results, 'result')} + {counted(figures.failures, 'failure')}"
    told.append(f"then       {became} + {figures.pending:,} to be asked again, and whatever else is listed")
    if plan.ledger_problem is not None:
        told += _unknown(plan)
    return told


def _told_of(plan: Plan) -> str:
    if plan.ledger_problem is not None:
        return f"{printable(plan.ledger_problem)}; a new one is made of the output"
    if plan.lost:
        return f"sound, but {counted(plan.lost, 'record')} it knows of cannot be found in the output"
    return "sound; it is made to agree with the output"


def _unknown(plan: Plan) -> list[str]:
    """What only the old ledger knew."""
    told = [
        "unknown    what was registered. With registration on, all records are sent to OPERAS again. That is harmless:",
        "           OPERAS keeps what it has. URLs that older records gave are not sent again.",
        "           Failures of a run that was killed: its works are asked again.",
    ]
    if plan.is_nightly:
        told += [
            "           What the nights learned: every work counts as never asked, and the first record of each says",
            "           nothing of changes. The files of older nights are not deleted any more.",
        ]
    else:
        told.append("           If this is the output of nightly harvests, say so with --nightly.")
    return told
