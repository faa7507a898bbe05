"""What an experiment knows beyond the checker: the true list, and what both services saw.

`harvester.verify` holds ledger, output, failures and summary against each other, for that is what a user has. An
experiment has made the list itself and owns the services, so it can say more: that the ledger lists what was given,
that each record was really asked for, that OPERAS holds what is said to be registered, and that little was asked twice.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from harvester.core.text.sanitize import printable
from harvester.reports.summary import Summary
from harvester.sandbox.requestlog import LoggedRequest
from harvester.storage.database import RegistrationState, WorkState
from harvester.storage.status import LedgerWork
from harvester.verify import checks
from harvester.verify.checks import Violation, WorkCounts, found
from harvester.verify.evidence import Evidence

PROMISES = {**checks.PROMISES, "G4": "few repeats"}
"""Each promise that is looked at here, with its name for people."""


@dataclass(frozen=True, slots=True)
class Input:
    """What the last list held, counted by somebody else than harvester.

    Args:
        dois: canonical.
        lines, duplicates, invalid, blank: as in the summary; None if unknown.
    """

    dois: Collection[str]
    lines: int | None = None
    duplicates: int | None = None
    invalid: int | None = None
    blank: int | None = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the services saw of all runs into this ledger, from the first; nothing was refetched.

    Args:
        requests: in the order of their start.
        repeats_allowed: good answers beyond the first of each DOI: kills x (concurrency + uncommitted answers), and
            one for each probe with a known DOI after a fault.
        kills: how often a run was killed; each may leave one POST behind that nobody waits for.
        registered: DOIs that OPERAS holds; None if nothing was registered.
    """

    requests: Iterable[LoggedRequest]
    repeats_allowed: int = 0
    kills: int = 0
    registered: Collection[str] | None = None


def violations(evidence: Evidence, *, given: Input | None = None, traffic: Traffic | None = None) -> list[Violation]:
    """Everything that does not hold; empty when all is well.

    Args:
        evidence: what is on disk; its iterables are used up.
        given: what the last list held, if the experiment knows it.
        traffic: what the services saw, if the experiment knows it.
    """
    works = list(evidence.works)
    broken = [*found(replace(evidence, works=works), WorkCounts())]
    if given:
        broken += _of_list(works, given)
        broken += _of_lines(evidence.summary, given)
    if traffic:
        broken += _of_traffic(works, evidence, traffic, given)
    return broken


def _violation(promise: str, doi: str, words: str) -> Violation:
    return Violation(promise, f"{printable(doi)} {words}", doi)


def _of_list(works: Iterable[LedgerWork], given: Input) -> Iterator[Violation]:
    listed = {work.doi for work in works if work.listed}
    for doi in sorted(listed.difference(given.dois)):
        yield _violation("G1", doi, "is listed in the ledger, but is not in the input")
    for doi in sorted(set(given.dois) - listed):
        yield _violation("G1", doi, "is in the input, but the ledger does not list it")


def _of_lines(summary: Summary | str | None, given: Input) -> Iterator[Violation]:
    if not isinstance(summary, Summary):
        return
    for name, said, met in (
        ("lines", summary.lines, given.lines),
        ("duplicates", summary.duplicates, given.duplicates),
        ("invalid", summary.invalid, given.invalid),
        ("blank", summary.blank, given.blank),
    ):
        if met is not None and said != met:
            yield Violation("G1", f"the summary has {name} = {said:,}, the input {met:,}")


def _of_traffic(
    works: Iterable[LedgerWork], evidence: Evidence, traffic: Traffic, given: Input | None
) -> Iterator[Violation]:
    requests = Requests(traffic.requests)
    strangers = set(requests.asked).difference(given.dois if given else ())
    for work in works:
        strangers.discard(work.doi)
        if work.state == WorkState.RESULT and not requests.answered[work.doi] and evidence.output:
            yield _violation("G11", work.doi, "has a record, but no request for it was answered well")
        if work.state == WorkState.FAILURE and not requests.asked[work.doi]:
            yield _violation("G1", work.doi, "is a failure, but was never asked for")
        if traffic.registered is not None:
            yield from _of_registration(work, evidence, traffic.registered)
    for doi in sorted(strangers):
        yield _violation("G11", doi, "was asked for, but is in no list")
    yield from _of_repeats(requests, traffic)


def _of_registration(work: LedgerWork, evidence: Evidence, registered: Collection[str]) -> Iterator[Violation]:
    if work.registration == RegistrationState.ACKNOWLEDGED and work.doi not in registered:
        yield _violation("G10", work.doi, "is registered by the ledger, but OPERAS does not hold it")
    is_complete = isinstance(evidence.summary, Summary) and evidence.summary.exit.code == 0
    wanted = work.listed and (work.state == WorkState.RESULT or evidence.output is None)
    if is_complete and wanted and work.registration in (None, RegistrationState.WAITING):
        yield _violation("G10", work.doi, "was neither acknowledged nor rejected by OPERAS")


def _of_repeats(requests: "Requests", traffic: Traffic) -> Iterator[Violation]:
    repeats = sum(times - 1 for times in requests.answered.values() if times > 1)
    if repeats > traffic.repeats_allowed:
        doi, most = requests.answered.most_common(1)[0]
        allowed = f"{repeats:,} good answers were asked for again, where {traffic.repeats_allowed:,} may be"
        yield _violation("G4", doi, f"was answered well {most:,} times; in all {allowed}")
    at_once = overlaps(requests.posts)
    if at_once > traffic.kills:
        yield Violation("G10", f"{at_once:,} POSTs were sent while another was under way")


class Requests:
    """The request log, summed up by DOI.

    Args:
        log: in the order of their start.
    """

    def __init__(self, log: Iterable[LoggedRequest]) -> None:
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        """Of these, answered well."""
        self.posts: list[tuple[float, float]] = []
        """When POSTs to OPERAS began and ended, in seconds."""
        for request in log:
            self._take(request)

    def _take(self, request: LoggedRequest) -> None:
        if request.service == "paperbuzz" and request.key.startswith("10."):
            self.asked[request.key] += 1
            self.answered[request.key] += request.status == 200 and request.fault in (None, "slow")
        elif request.service == "operas" and request.method == "POST" and request.path.startswith("/api/uriset"):
            self._take_post(request)

    def _take_post(self, request: LoggedRequest) -> None:
        """One without a status was broken off; whether somebody still waited for it, the log cannot tell."""
        if request.status and request.elapsed_seconds is not None:
            self.posts.append((request.time, request.time + request.elapsed_seconds))


def overlaps(spans: Iterable[tuple[float, float]]) -> int:
    """How many spans begin before one that began earlier has ended."""
    count, last = 0, float("-inf")
    for start, end in sorted(spans):
        count += start < last
        last = max(last, end)
    return count
