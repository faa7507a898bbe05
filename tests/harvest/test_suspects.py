"""What was in hand when a run died is asked last, in ever smaller groups, until the work that kills runs is known."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import takewhile

import pytest

from harvester.core.model import DueWork, Work
from harvester.harvest.suspects import HOPELESS, Suspects
from harvester.records.result import Finished
from harvester.storage.database import WorkState
from tests.opened import OpenedLedger
from tests.support import a_failure, a_result

DUE = WorkState.DUE


@dataclass
class Runs:
    """Runs on one ledger, in which some works kill the process."""

    ledger: OpenedLedger
    deadly: set[int] = field(default_factory=set)

    @property
    def suspects(self) -> Suspects:
        return Suspects(self.ledger.database)

    def run(self, page: int = 1000) -> list[int] | None:
        """A run that asks works in the order of the pipeline; None if it dies, else the works that failed unasked."""
        self.suspects.after_death()
        hopeless = self.suspects.hopeless(DUE)
        self.settle([(due, a_failure(due.doi)) for due in hopeless])
        while works := self.ledger.due(0, page, without=self.suspects.ids()):
            if not self.ask(works, suspected=False):
                return None
        for group in self.suspects.groups(DUE):
            if not self.ask(group, suspected=True):
                return None
        self.suspects.end(last=False)
        return [due.work_id for due in hopeless]

    def ask(self, works: list[DueWork], *, suspected: bool) -> bool:
        """All works before the deadly one get their records."""
        self.suspects.hand_out(works, suspected=suspected)
        answered = list(takewhile(lambda due: due.work_id not in self.deadly, works))
        self.settle([(due, a_result(due.doi)) for due in answered])
        return answered == works

    def settle(self, finished: list[Finished]) -> None:
        self.ledger.record(finished, lambda: (0, None))

    @property
    def left(self) -> int:
        return self.ledger.figures().pending


@pytest.fixture
def runs() -> Iterator[Runs]:
    with closing(OpenedLedger(None)) as ledger:
        reading = ledger.begin_reading()
        ledger.enrol(reading, [Work(f"10.5555/{number}", (), f"l:{number}") for number in range(1, 3001)], [])
        ledger.end_reading(reading)
        yield Runs(ledger)


def test_a_run_that_ends_well_suspects_nobody(runs: Runs) -> None:
    assert runs.run() == []
    assert runs.suspects.after_death() == []
    assert runs.suspects.ids() == "[]"


def test_one_death_costs_the_works_in_hand_their_place_and_no_other(runs: Runs) -> None:
    runs.deadly = {1500}
    assert runs.run() is None
    in_hand = [due.work_id for due in runs.suspects.after_death()]
    assert in_hand == list(range(1500, 2001))
    assert [due.work_id for due in runs.ledger.due(0, 5, without=runs.suspects.ids())] == [2001, 2002, 2003, 2004, 2005]


def test_a_work_that_kills_every_run_is_alone_after_three_and_fails_after_five(runs: Runs) -> None:
    runs.deadly = {1500}
    left = []
    while (failed := runs.run()) is None:
        left.append(runs.left)
    assert failed == [1500]
    assert len(left) == HOPELESS
    assert left[0] > 1400
    assert left[1] < 502
    assert left[2] <= 32
    assert left[3:] == [1, 1]
    assert runs.left == 0


def test_several_works_that_kill_runs_are_all_found(runs: Runs) -> None:
    runs.deadly = {7, 8, 1500, 2999}
    calls = 0
    while runs.run() is None:
        calls += 1
        assert calls < 25
    assert runs.ledger.figures().failures == 4


def test_a_work_that_failed_so_is_asked_once_more_when_it_is_wanted_again(runs: Runs) -> None:
    runs.deadly = {5}
    while runs.run() is None:
        pass
    [wanted] = runs.ledger.due(0, 9, WorkState.FAILURE)
    assert runs.suspects.hopeless(WorkState.FAILURE) == []
    runs.suspects.hand_out([wanted], WorkState.FAILURE, suspected=True)
    assert runs.suspects.after_death() == [wanted]
    assert runs.suspects.hopeless(WorkState.FAILURE) == [wanted]


def test_whoever_gets_its_record_is_suspected_no_more(runs: Runs) -> None:
    runs.deadly = {5}
    assert runs.run() is None
    runs.deadly = set()
    assert runs.run() == []
    assert runs.suspects.ids() == "[]"


def test_what_was_in_hand_when_a_service_was_down_is_asked_last_and_not_suspected(runs: Runs) -> None:
    runs.deadly = {1500}
    runs.run()
    runs.suspects.end(last=True)
    assert runs.suspects.after_death() == []
    [group] = runs.suspects.groups(DUE)
    assert [due.work_id for due in group] == list(range(1500, 2001))


def test_failed_works_that_are_asked_again_are_suspected_as_well(runs: Runs) -> None:
    failed = runs.ledger.due(0, 40)
    runs.settle([(due, a_failure(due.doi)) for due in failed])
    runs.suspects.hand_out(failed, WorkState.FAILURE, suspected=False)
    assert len(runs.suspects.after_death()) == 40
    assert [len(group) for group in runs.suspects.groups(WorkState.FAILURE)] == [32, 8]
