"""The checker: output, failures, summary and ledger held against the promises.

Theory. `found` is a pure generator over plain evidence. It asks nobody and yields one `Violation` for each thing that
does not hold, so that a damaged file of any size costs no memory. Both sides of each comparison come in the same order
and are merged, as one would compare two sorted card indexes. `harvester.verify.gather` makes the evidence from files.

A run that was cut off leaves more than one honest state: an output longer than what is committed, a published one that
the ledger does not yet know to be published, an archive that is still to be renamed, failures and summary of the run
before. A restored ledger leaves one more: a published output that is longer than the ledger knows. None of them is a
violation, for the next run goes on from each.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, cast

from harvester.core.doi import is_same_doi
from harvester.core.errors import COMPLETE, TOO_MANY_FAILURES
from harvester.core.model import Figures, Stage
from harvester.core.text.sanitize import printable
from harvester.reports.summary import Summary, broken_identities
from harvester.storage.database import RegistrationState, WorkState
from harvester.storage.status import LedgerWork
from harvester.verify.evidence import Evidence, FailureEntry, Line, OutputEvidence

PROMISES: Final = {
    "G1": "accounting",
    "G2": "exactly once",
    "G3": "always readable",
    "G10": "registration",
    "G11": "right record",
    "G12": "own bytes",
}
"""Each promise that is looked at, with its name for people."""


Merged = Iterator[tuple[str, int, object]]


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that does not hold.

    Args:
        promise: a key of `PROMISES`.
        words: what does not hold, with the DOI; safe to print.
        doi: whose it is; empty if it is not about a single DOI.
    """

    promise: str
    words: str
    doi: str = ""


@dataclass(slots=True)
class WorkCounts:
    """What `found` met on its way.

    Args:
        states: works of the last reading, by `WorkState`.
        gone: works with a result or failure that left the list.
        outcomes: results of the last reading, by outcome.
        failures_by_kind: failures of the stage `fetch`, by kind.
        invalid: failures of the stage `input`.
        registrations: works of the last reading that were to be registered, by `RegistrationState`.
        registration_pending: works in the outbox, those that left the list included.
        records: lines in the output.
        records_hashed: of these, those whose bytes were looked at.
        failure_lines: lines in the failures file.
    """

    states: Counter[int] = field(default_factory=Counter)
    gone: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures_by_kind: Counter[str] = field(default_factory=Counter)
    invalid: int = 0
    registrations: Counter[int] = field(default_factory=Counter)
    registration_pending: int = 0
    records: int = 0
    records_hashed: int = 0
    failure_lines: int = 0

    @property
    def figures(self) -> Figures:
        """The same figures as in the summary of a run, counted anew."""
        return Figures(
            works=self.states.total(),
            results=self.states[WorkState.RESULT],
            failures=self.states[WorkState.FAILURE],
            pending=self.states[WorkState.DUE],
            gone=self.gone,
            outcomes=self.outcomes,
            failures_by_kind=self.failures_by_kind,
            registered=self.registrations[RegistrationState.ACKNOWLEDGED],
            rejected=self.registrations[RegistrationState.REJECTED],
            registration_pending=self.registration_pending,
            resting=self.states[WorkState.RESTING],
        )


@dataclass(slots=True)
class Verdict:
    """What holds and what does not.

    Args:
        counts: what was met.
        violations: how many there are, by promise.
        shown: the first of them, by promise.
        notes: what could not be compared.
    """

    counts: WorkCounts
    violations: Counter[str]
    shown: dict[str, list[Violation]]
    notes: tuple[str, ...]


def verdict(evidence: Evidence, shown: int = 20) -> Verdict:
    """Count the violations, and keep the first `shown` of each promise."""
    result = Verdict(WorkCounts(), Counter(), {}, evidence.notes)
    for violation in found(evidence, result.counts):
        result.violations[violation.promise] += 1
        if result.violations[violation.promise] <= shown:
            result.shown.setdefault(violation.promise, []).append(violation)
    return result


def found(evidence: Evidence, counts: WorkCounts) -> Iterator[Violation]:
    """Each thing that does not hold. The iterables of the evidence are used up.

    Args:
        evidence: what is known.
        counts: is counted up on the way.
    """
    if evidence.output:
        yield from _of_file(evidence.output)
    lines = evidence.output.lines if evidence.output else ()
    merged = _merged(evidence.works, lines, attrgetter("doi"))
    for doi, group in groupby(merged, key=lambda item: item[0]):
        yield from _of_work(doi, group, evidence, counts)
    yield from _of_failures(evidence, counts)
    if isinstance(evidence.summary, Summary):
        yield from _of_summary(evidence.summary, evidence, counts)
    elif evidence.summary is not None:
        yield Violation("G1", f"the summary {evidence.summary}")


def _violation(promise: str, doi: str, words: str) -> Violation:
    return Violation(promise, f"{printable(doi)} {words}" if doi else words, doi)


def _merged(left: Iterable[object], right: Iterable[object], key: Callable[[Any], str]) -> Merged:
    """The items of two sorted sides in one order, each with its key and its side: 0 is left, which comes first."""
    sides = ((key(item), 0, item) for item in left), ((key(item), 1, item) for item in right)
    return heapq.merge(*sides, key=lambda item: item[:2])


# The output as a file


def _of_file(output: OutputEvidence) -> Iterator[Violation]:
    """Where the output is and how long; the cases: one grows beside the other, both names, none, one."""
    name, partial = printable(output.name), f"{printable(output.name)}.partial"
    known = f"the ledger knows {output.committed:,} to be committed"
    if output.grows:
        if not output.published and (output.partial_size or 0) < output.committed:
            yield Violation("G3", f"{partial} holds {output.partial_size or 0:,} bytes, but {known}")
    elif output.size is not None and output.partial_size is not None:
        yield Violation("G3", f"both {name} and {partial} exist, which no run leaves behind")
    elif output.size is None and output.published:
        yield Violation("G3", f"{name} is gone, but the ledger knows it to be complete")
    elif output.size is None and output.partial_size is None and output.committed:
        yield Violation("G3", f"{name} is gone, but {known}")
    elif output.size is None and (output.partial_size or 0) < output.committed:
        yield Violation("G3", f"{partial} holds {output.partial_size or 0:,} bytes, but {known}")
    elif _was_restored(output):
        return
    elif output.size is not None and output.size != output.committed:
        yield Violation("G3", f"{name} holds {output.size:,} bytes, but {known}")


def _was_restored(output: OutputEvidence) -> bool:
    """Whether the ledger is from a backup of before the output was complete. The next run cuts the output back."""
    return not output.published and output.is_known and (output.size or 0) > output.committed


# Works and their lines


def _of_work(doi: str, group: Merged, evidence: Evidence, counts: WorkCounts) -> Iterator[Violation]:
    """One DOI: what the ledger knows of it, then its lines in the output."""
    work, seen = None, 0
    for _, _, item in group:
        if isinstance(item, LedgerWork):
            work = item
            yield from _of_known(work, evidence, counts)
        elif isinstance(item, Line):
            seen += 1
            counts.records += 1
            yield from _of_line(item, work, seen, counts)
    if evidence.output and work and work.state == WorkState.RESULT and work.sha256 and not seen:
        yield _violation("G2", doi, "has a record by the ledger, but there is none in the output: it is lost")


def _of_known(work: LedgerWork, evidence: Evidence, counts: WorkCounts) -> Iterator[Violation]:
    """A work's entries in the ledger, counted and compared with each other."""
    _count(work, counts)
    if work.state not in tuple(WorkState):
        yield _violation("G1", work.doi, f"has the unknown state {work.state} in the ledger")
    elif (work.state == WorkState.FAILURE) != work.failed:
        said = "failed, but no failure says why" if not work.failed else "has a failure, but is not failed"
        yield _violation("G1", work.doi, f"{said}, in the ledger")
    if (work.registration == RegistrationState.REJECTED) != work.refused:
        said = "was rejected, but no failure says why" if not work.refused else "has a rejection, but is not rejected"
        yield _violation("G10", work.doi, f"{said}, in the ledger")
    if work.state == WorkState.RESULT and evidence.output is None and not work.sha256:
        yield _violation("G1", work.doi, "has a record by the ledger, but no sha256 of it")


def _count(work: LedgerWork, counts: WorkCounts) -> None:
    counts.registration_pending += work.registration == RegistrationState.WAITING
    if not work.listed:
        counts.gone += work.state in (WorkState.RESULT, WorkState.FAILURE)
        return
    counts.states[work.state] += 1
    if work.state == WorkState.RESULT:
        counts.outcomes[work.outcome or ""] += 1
    if work.registration is not None:
        counts.registrations[work.registration] += 1


def _of_line(line: Line, work: LedgerWork | None, seen: int, counts: WorkCounts) -> Iterator[Violation]:
    """A line of the output. The first of its DOI is compared with the ledger, each further one is one too many."""
    where = f"(line {line.number:,})"
    if line.problem:
        has = "has" if line.doi else "the output has"
        yield _violation("G3", line.doi, f"{has} a line that {line.problem} {where}")
    if not line.doi:
        return
    if work is None:
        yield _violation("G2", line.doi, f"has a record in the output, but is unknown to the ledger {where}")
    elif seen > 1:
        yield _violation("G2", line.doi, f"is in the output once more {where}")
    elif work.state == WorkState.FAILURE:
        yield _violation("G1", line.doi, f"has a record in the output, but is a failure in the ledger {where}")
    elif work.state == WorkState.DUE:
        yield _violation("G2", line.doi, f"has a record in the output, but is still due in the ledger {where}")
    elif not line.problem:
        yield from _of_record(line, work, where)
    yield from _of_bytes(line, where, counts)


def _of_record(line: Line, work: LedgerWork, where: str) -> Iterator[Violation]:
    for name, here, known in (
        ("outcome", line.outcome, work.outcome),
        ("harvested_at", line.harvested_at, work.harvested_at),
        ("sha256", line.sha256, work.sha256),
    ):
        if here != known:
            told = f"{name} {printable(here, 80)} in the output, {printable(str(known), 80)} in the ledger"
            yield _violation("G2", line.doi, f"has {told} {where}")


def _of_bytes(line: Line, where: str, counts: WorkCounts) -> Iterator[Violation]:
    if line.record_sha256 is None:
        return
    counts.records_hashed += 1
    if line.record_sha256 != line.sha256:
        yield _violation("G12", line.doi, f"has a record whose bytes have another sha256 than the line says {where}")
    if line.record_doi is None or not is_same_doi(line.record_doi, line.doi):
        yield _violation("G11", line.doi, f"has the record of {printable(line.record_doi or 'no DOI')} {where}")


# Failures


def _of_failures(evidence: Evidence, counts: WorkCounts) -> Iterator[Violation]:
    """The failures file is the ledger's failures of the last reading, neither more nor less."""
    merged = _merged(evidence.noted, evidence.failures or (), attrgetter("sort_key"))
    for _, group in groupby(merged, key=lambda item: item[0]):
        sides = [0, 0]
        for _, side, item in group:
            entry = cast("FailureEntry", item)
            sides[side] += 1
            _count_failure(entry, side, counts)
        if entry.problem:
            yield Violation("G3", f"the failures file {entry.problem}")
        elif evidence.failures is not None and sides[0] > sides[1]:
            yield _violation("G1", entry.doi, f"{_told(entry)} is in the ledger, but not in the failures file")
        elif evidence.failures is not None and sides[0] < sides[1]:
            yield _violation("G1", entry.doi, f"{_told(entry)} is in the failures file, but not in the ledger")


def _count_failure(entry: FailureEntry, side: int, counts: WorkCounts) -> None:
    if side == 1:
        counts.failure_lines += 1
    elif entry.stage == Stage.INPUT:
        counts.invalid += 1
    elif entry.stage == Stage.FETCH:
        counts.failures_by_kind[entry.kind] += 1


def _told(entry: FailureEntry) -> str:
    if entry.doi:
        return f"has a failure ({printable(entry.kind)}, stage {printable(entry.stage)}) that"
    return f"a failure without a DOI ({printable(entry.content, 200)})"


# The summary


def _of_summary(summary: Summary, evidence: Evidence, counts: WorkCounts) -> Iterator[Violation]:
    """The summary's identities, its figures against those that were met, and whether the files are as it says."""
    for identity in broken_identities(summary):
        yield Violation("G1", f"the summary does not add up: {identity} does not hold")
    yield from _of_figures(summary, counts)
    if evidence.failures is not None:
        figures = summary.figures
        expected = summary.invalid + figures.failures + figures.rejected
        if counts.failure_lines != expected:
            told = f"{counts.failure_lines:,} lines, but invalid + failures + rejected are {expected:,}"
            yield Violation("G1", f"the failures file has {told}")
    output = evidence.output
    is_complete = not summary.figures.pending and summary.exit.code in (COMPLETE, TOO_MANY_FAILURES)
    if is_complete and output and output.size is None:
        yield Violation("G3", f"the summary says complete, but {printable(output.name)} is not there under its name")
    if output and output.size is not None and not output.published:
        yield Violation("G3", f"{printable(output.name)} is published, but the ledger does not know it")


Count = int | Mapping[str, int]
"""A figure, or one by name."""


def _of_figures(summary: Summary, counts: WorkCounts) -> Iterator[Violation]:
    said, met = summary.figures, counts.figures
    compared: tuple[tuple[str, Count, Count], ...] = (
        ("works", said.works, met.works),
        ("results", said.results, met.results),
        ("failures", said.failures, met.failures),
        ("pending and resting", said.pending + said.resting, met.pending + met.resting),
        ("gone", said.gone, met.gone),
        ("outcomes", said.outcomes, met.outcomes),
        ("failures_by_kind", said.failures_by_kind, met.failures_by_kind),
        ("invalid", summary.invalid, counts.invalid),
        ("registered", said.registered, met.registered),
        ("rejected", said.rejected, met.rejected),
    )
    for name, here, known in compared:
        if here != known:
            yield Violation("G1", f"the summary has {name} = {_shown(here)}, the ledger {_shown(known)}")
    # A run that did not register says 0, whatever waits in the ledger.
    if said.registration_pending not in (0, met.registration_pending):
        told = f"{said.registration_pending:,}, the ledger {met.registration_pending:,}"
        yield Violation("G10", f"the summary has registration_pending = {told}")


def _shown(count: Count) -> str:
    if isinstance(count, Mapping):
        return ", ".join(f"{printable(name)} {number:,}" for name, number in sorted(count.items())) or "none"
    return f"{count:,}"
