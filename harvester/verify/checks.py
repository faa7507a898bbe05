"""The checker: output, failures, summary and ledger held against the promises.

Theory. `found` is a pure generator over plain evidence: it asks nobody and yields one `Violation` for each thing that
does not hold, so that a damaged file of any size costs no memory. Both sides of each comparison come in the same order
and are merged, as one would compare two sorted card indexes. `harvester.verify.gather` makes the evidence from files.

A run that was cut off leaves more than one honest state: an output longer than what is committed, a published one that
the ledger does not yet know to be published, an archive that is still to be renamed, failures and summary of the run
before. None of them is a violation, for the next run goes on from each.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, cast

from harvester.core.model import Stage
from harvester.core.sanitize import printable
from harvester.reports.summary import Summary, broken_identities
from harvester.storage.database import Registration, WorkState
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
        words: what, naming the DOI; safe to print.
        doi: whose it is; empty if no single one's.
    """

    promise: str
    words: str
    doi: str = ""


@dataclass(slots=True)
class WorkCounts:
    """What `found` met on its way: the same figures as in the summary, counted anew.

    Args:
        works, results, failures, pending: of the last reading.
        gone: works with an outcome that left the list.
        outcomes, failures_by_kind: results and failures by kind.
        invalid: failures of the stage `input`.
        registered, rejected: of the last reading.
        registration_pending: works in the outbox, gone ones included.
        records: lines in the output.
        records_hashed: of these, those whose bytes were looked at.
        failure_lines: lines in the failures file.
    """

    works: int = 0
    results: int = 0
    failures: int = 0
    pending: int = 0
    gone: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures_by_kind: Counter[str] = field(default_factory=Counter)
    invalid: int = 0
    registered: int = 0
    rejected: int = 0
    registration_pending: int = 0
    records: int = 0
    records_hashed: int = 0
    failure_lines: int = 0


@dataclass(slots=True)
class Verdict:
    """What holds and what does not.

    Args:
        tally: what was met.
        counts: violations by promise.
        shown: the first of them, by promise.
        notes: what could not be compared.
    """

    tally: WorkCounts
    counts: Counter[str]
    shown: dict[str, list[Violation]]
    notes: tuple[str, ...]


def verdict(evidence: Evidence, shown: int = 20) -> Verdict:
    """The violations counted, the first `shown` of each promise kept."""
    result = Verdict(WorkCounts(), Counter(), {}, evidence.notes)
    for violation in found(evidence, result.tally):
        result.counts[violation.promise] += 1
        if result.counts[violation.promise] <= shown:
            result.shown.setdefault(violation.promise, []).append(violation)
    return result


def found(evidence: Evidence, tally: WorkCounts) -> Iterator[Violation]:
    """Each thing that does not hold; the iterables of the evidence are used up by it.

    Args:
        evidence: what is known.
        tally: is counted up.
    """
    if evidence.output:
        yield from _of_file(evidence.output)
    lines = evidence.output.lines if evidence.output else ()
    merged = _merged(evidence.works, lines, attrgetter("doi"))
    for doi, group in groupby(merged, key=lambda item: item[0]):
        yield from _of_work(doi, group, evidence, tally)
    yield from _of_failures(evidence, tally)
    if evidence.summary is not None:
        yield from _of_summary(evidence.summary, evidence, tally)


def _violation(promise: str, doi: str, words: str) -> Violation:
    return Violation(promise, f"{printable(doi)} {words}" if doi else words, doi)


def _merged(left: Iterable[object], right: Iterable[object], key: Callable[[Any], str]) -> Merged:
    """The items of two sorted sides in one order, each with its key and its side: 0 is left, which comes first."""
    sides = ((key(item), 0, item) for item in left), ((key(item), 1, item) for item in right)
    return heapq.merge(*sides, key=lambda item: item[:2])


def _of_file(output: OutputEvidence) -> Iterator[Violation]:
    """Where the output is and how long; the cases: both names, none, the partial one, the published one."""
    name, partial = printable(output.name), f"{printable(output.name)}.partial"
    known = f"the ledger knows {output.committed:,} to be committed"
    if output.size is not None and output.partial_size is not None:
        yield Violation("G3", f"both {name} and {partial} exist, which no run leaves behind")
    elif output.size is None and output.published:
        yield Violation("G3", f"{name} is gone, but the ledger knows it to be complete")
    elif output.size is None and output.partial_size is None and output.committed:
        yield Violation("G3", f"{name} is gone, but {known}")
    elif output.size is None and (output.partial_size or 0) < output.committed:
        yield Violation("G3", f"{partial} holds {output.partial_size or 0:,} bytes, but {known}")
    elif output.size is not None and output.size != output.committed:
        yield Violation("G3", f"{name} holds {output.size:,} bytes, but {known}")


def _of_work(doi: str, group: Merged, evidence: Evidence, tally: WorkCounts) -> Iterator[Violation]:
    """One DOI: what the ledger knows of it, then its lines in the output."""
    work, seen = None, 0
    for _, _, item in group:
        if isinstance(item, LedgerWork):
            work = item
            yield from _of_known(work, evidence, tally)
        elif isinstance(item, Line):
            seen += 1
            tally.records += 1
            yield from _of_line(item, work, seen, tally)
    if evidence.output and work and work.state == WorkState.RESULT and work.sha256 and not seen:
        yield _violation("G2", doi, "has a record by the ledger, but there is none in the output: it is lost")


def _of_known(work: LedgerWork, evidence: Evidence, tally: WorkCounts) -> Iterator[Violation]:
    """A work's entries in the ledger, counted and compared with each other."""
    _count(work, tally)
    if work.state not in tuple(WorkState):
        yield _violation("G1", work.doi, f"has the unknown state {work.state} in the ledger")
    elif (work.state == WorkState.FAILURE) != work.failed:
        said = "failed, but no failure says why" if not work.failed else "has a failure, but is not failed"
        yield _violation("G1", work.doi, f"{said}, in the ledger")
    if (work.registration == Registration.REJECTED) != work.refused:
        said = "was rejected, but no failure says why" if not work.refused else "has a rejection, but is not rejected"
        yield _violation("G10", work.doi, f"{said}, in the ledger")
    if work.state == WorkState.RESULT and evidence.output is None and not work.sha256:
        yield _violation("G1", work.doi, "has a record by the ledger, but no sha256 of it")


def _count(work: LedgerWork, tally: WorkCounts) -> None:
    tally.registration_pending += work.registration == Registration.WAITING
    if not work.listed:
        tally.gone += work.state in (WorkState.RESULT, WorkState.FAILURE)
        return
    tally.registered += work.registration == Registration.ACKNOWLEDGED
    tally.rejected += work.registration == Registration.REJECTED
    tally.works += 1
    tally.failures += work.state == WorkState.FAILURE
    tally.pending += work.state == WorkState.DUE
    if work.state == WorkState.RESULT:
        tally.results += 1
        tally.outcomes[work.outcome or ""] += 1


def _of_line(line: Line, work: LedgerWork | None, seen: int, tally: WorkCounts) -> Iterator[Violation]:
    """A line of the output; the first of its DOI is compared with the ledger, each further one is one too many."""
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
    else:
        yield from _of_record(line, work, where)
    yield from _of_bytes(line, where, tally)


def _of_record(line: Line, work: LedgerWork, where: str) -> Iterator[Violation]:
    for name in ("outcome", "harvested_at", "sha256"):
        here, known = getattr(line, name), getattr(work, name)
        if here != known and not line.problem:
            told = f"{name} {printable(here, 80)} in the output, {printable(str(known), 80)} in the ledger"
            yield _violation("G2", line.doi, f"has {told} {where}")


def _of_bytes(line: Line, where: str, tally: WorkCounts) -> Iterator[Violation]:
    if line.record_sha256 is None:
        return
    tally.records_hashed += 1
    if line.record_sha256 != line.sha256:
        yield _violation("G12", line.doi, f"has a record whose bytes have another sha256 than the line says {where}")
    if line.record_doi != line.doi:
        yield _violation("G11", line.doi, f"has the record of {printable(line.record_doi or 'no DOI')} {where}")


def _of_failures(evidence: Evidence, tally: WorkCounts) -> Iterator[Violation]:
    """The failures file is the ledger's failures of the last reading, neither more nor less."""
    merged = _merged(evidence.noted, evidence.failures or (), attrgetter("sort_key"))
    for _, group in groupby(merged, key=lambda item: item[0]):
        sides = [0, 0]
        for _, side, item in group:
            note = cast("FailureEntry", item)
            sides[side] += 1
            _count_failure(note, side, tally)
        if note.problem:
            yield Violation("G3", f"the failures file {note.problem}")
        elif evidence.failures is not None and sides[0] > sides[1]:
            yield _violation("G1", note.doi, f"{_told(note)} is in the ledger, but not in the failures file")
        elif evidence.failures is not None and sides[0] < sides[1]:
            yield _violation("G1", note.doi, f"{_told(note)} is in the failures file, but not in the ledger")


def _count_failure(note: FailureEntry, side: int, tally: WorkCounts) -> None:
    if side == 1:
        tally.failure_lines += 1
    elif note.stage == Stage.INPUT:
        tally.invalid += 1
    elif note.stage == Stage.FETCH:
        tally.failures_by_kind[note.kind] += 1


def _told(note: FailureEntry) -> str:
    if note.doi:
        return f"has a failure ({printable(note.kind)}, stage {printable(note.stage)}) that"
    return f"a failure without a DOI ({printable(note.content, 200)})"


def _of_summary(summary: Summary | str, evidence: Evidence, tally: WorkCounts) -> Iterator[Violation]:
    """The summary's identities, and its figures against those that were met."""
    if isinstance(summary, str):
        yield Violation("G1", f"the summary {summary}")
        return
    for identity in broken_identities(summary, harvested=evidence.output is not None):
        yield Violation("G1", f"the summary does not add up: {identity} does not hold")
    names = ("works", "results", "failures", "pending", "gone", "outcomes", "failures_by_kind", "invalid")
    for name in (*names, "registered", "rejected"):
        said, met = getattr(summary, name), getattr(tally, name)
        if said != met:
            yield Violation("G1", f"the summary has {name} = {_figure(said)}, the ledger {_figure(met)}")
    if summary.registration_pending not in (0, tally.registration_pending):
        told = f"{summary.registration_pending:,}, the ledger {tally.registration_pending:,}"
        yield Violation("G10", f"the summary has registration_pending = {told}")
    if evidence.failures is not None:
        expected = summary.invalid + summary.failures + summary.rejected
        if tally.failure_lines != expected:
            told = f"{tally.failure_lines:,} lines, but invalid + failures + rejected are {expected:,}"
            yield Violation("G1", f"the failures file has {told}")
    output = evidence.output
    if output and output.size is None and not summary.pending and summary.exit.code in (0, 3):
        yield Violation("G3", f"the summary says complete, but {printable(output.name)} is not there under its name")
    if output and output.size is not None and not output.published:
        yield Violation("G3", f"{printable(output.name)} is published, but the ledger does not know it")


def _figure(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{printable(str(name))} {count:,}" for name, count in sorted(value.items())) or "none"
    return f"{value:,}"
