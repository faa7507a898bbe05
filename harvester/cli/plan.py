"""`harvester plan`: what tonight would ask, and why."""

from datetime import UTC, datetime
from pathlib import Path

import click

from harvester.cli import options
from harvester.cli.printing import show
from harvester.cli.session import begin, work
from harvester.core.clock import DAY_SECONDS
from harvester.core.doi import parse_doi
from harvester.core.errors import GiveUp, Usage
from harvester.core.text.sanitize import printable
from harvester.core.text.wording import counted
from harvester.nightly.cohorts import described
from harvester.nightly.job import nightly_job
from harvester.nightly.plan import NightPlan
from harvester.nightly.plan import plan as make_plan
from harvester.nightly.revisit import Reason
from harvester.nightly.state import Explanation
from harvester.reports.details import Campaign


@click.command()
@click.argument("doi", required=False, metavar="[DOI]")
@click.option(
    "--at",
    type=click.DateTime(["%Y-%m-%dT%H:%M"]),
    metavar="WHEN",
    help="As if the night began then, in UTC, such as 2026-11-22T02:17.  [default: now]",
)
@options.common
def plan(doi: str | None, at: datetime | None, config_path: Path | None, quiet: bool, **given: object) -> None:
    """Show what tonight would ask and why; with a DOI, explain its score part by part. Asks and changes nothing.

    What was asked within the last 20 hours is not asked again: in the evening, say when the night begins with --at.

    \b
    harvester plan --config /etc/harvester.toml
    harvester plan --config /etc/harvester.toml --at 2026-11-22T02:17
    harvester plan 10.5334/bbc --config /etc/harvester.toml
    """
    session = begin(config_path, options.flags(given), quiet=quiet)
    name = _canonical(doi) if doi else None
    made = work(lambda context: make_plan(nightly_job(session.settings), context, name, at and at.replace(tzinfo=UTC)))
    if name is None:
        show(*_in_words(made))
    elif made.explanation is None:
        raise Usage(f"{printable(name)} is not in the list")
    else:
        show(*_explained(name, made.explanation))


def _canonical(text: str) -> str:
    try:
        return parse_doi(text)
    except GiveUp as error:
        raise Usage(f"{printable(text)} is no DOI: {error}") from None


def _in_words(made: NightPlan) -> list[str]:
    chosen = made.selection
    lines = [f"works          {made.works:,}, {made.covered:,} of them asked at least once"]
    if made.unfinished:
        lines.append(f"unfinished     {made.unfinished:,} works of the last night are asked first")
    lines.append(f"tonight        {len(chosen.picks):,} would be asked, of a budget of {made.budget:,}")
    lines += [f"  {reason:<28} {count:,}" for reason in Reason if (count := chosen.count(reason))]
    lines.append(f"expected       {chosen.expected:,.0f} new events in works with a history")
    if not chosen.trusted:
        lines.append("               far from what the last nights found, so that the oldest go first")
    if never := made.works - made.covered:
        lines.append(f"never asked    {never:,}; until all are covered: {_nights_left(made)}")
    return lines


def _nights_left(made: NightPlan) -> str:
    """How many nights like this it takes until all works are covered.

    The works of an unfinished night are asked first in the next one, beside those that are chosen for it. So they are
    as good as covered, but that night is still to come.
    """
    campaign = Campaign(made.works, made.covered + made.unfinished, made.selection.count(Reason.NEW))
    nights = campaign.nights_left
    return "not in sight" if nights is None else counted(max(1, nights), "night")


def _explained(doi: str, found: Explanation) -> list[str]:
    candidate, score = found.candidate, found.score
    lines = [f"{doi}: {candidate.state}"]
    if candidate.asked is not None:
        lines.append(f"asked last     {_when(candidate.asked)}, may be asked again from {_when(found.earliest)}")
    if score is None:
        lines.append("It has no record with a history yet, and so no score.")
    else:
        lines += [
            f"cohort         {described(score.cohort)}",
            f"rate           {score.rate:.4f} events a day",
            f"exposed        {score.exposed:.1f} days since the last record in which the article was out",
            f"waited         {score.waited:.1f} days since the last record",
            f"expected       {score.expected:.2f} new events",
            f"score          {score.value:.4f} = rate x exposed x waited",
        ]
    return lines


def _when(days: float) -> str:
    return f"{datetime.fromtimestamp(days * DAY_SECONDS, UTC):%Y-%m-%d %H:%M} UTC"
