"""The commit: one writer thread that alone owns the output file and the ledger.

Theory. A record counts only when it is in the output *and* in the ledger. The order makes that so, whatever instant the
machine stops at:

1. whole lines are appended to the output, and synced;
2. one ledger transaction says what became of the works and how long the output is by that;
3. only then is anything counted as done.

If it stops before 2, the output is longer than the ledger says; the next start cuts it back, the works are still due
and are asked again. If it stops after 2, all is in place. Nothing else is ever written to either file. Starting anew is
therefore the way back from a crash, and there is no other.

Everything runs on one thread of its own, in the order it was asked for, so that the event loop never waits for a disk
and the ledger has one writer. A step that has begun is always finished: to cancel whoever waits does not undo it.
"""

import asyncio
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TypeGuard, TypeVar

import orjson

from harvester.core import failpoint
from harvester.core.errors import DiskFailed, InputMissing, Misconfigured, Stopped, Usage
from harvester.core.files import remove, write_atomically
from harvester.core.model import Blank, DueWork, Failure, Figures, PendingRegistration, Result, Work
from harvester.core.tasks import prefetched
from harvester.nightly.lifecycle import NightProgress
from harvester.nightly.revisit import Intervals, Selection
from harvester.nightly.state import Explanation, NightlyState
from harvester.nightly.visits import Visit
from harvester.records.lines import failure_line, result_lines
from harvester.storage.database import WorkState, no_longer_failed
from harvester.storage.ingest import ENROL_CHUNK, Reading
from harvester.storage.ledger import Ledger
from harvester.storage.outbox import Outbox
from harvester.storage.output_file import OutputFile, Sink, Stdout, partial_of
from harvester.storage.publishing import Publishing

T = TypeVar("T")


class Store:
    """The output and the ledger of one job; an async context manager that owns the writer thread.

    Args:
        ledger: path of the ledger; None for one that vanishes at the end.
        output: path of the output; None where results go to `stdout`, or nowhere.
        stdout: where results go instead of a file.
        register: whether results go into the outbox.
        limits: of a nightly harvest; None for any other job.
        only_changed: leave records that did not change out of the output.
    """

    def __init__(
        self,
        ledger: Path | None,
        output: Path | None,
        *,
        stdout: BinaryIO | None = None,
        register: bool = False,
        limits: Intervals | None = None,
        only_changed: bool = False,
    ) -> None:
        self._ledger_path, self._output_path = ledger, output
        self._sink: Sink | None = Stdout(stdout) if stdout else None
        self._register = register
        self._limits, self._only_changed = limits, only_changed
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._leaving = threading.Event()
        self._asked = WorkState.DUE

    async def __aenter__(self) -> Self:
        try:
            await self._do(self._open_ledger)
        except BaseException:
            self._thread.shutdown()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        closed = self._thread.submit(self._close)
        self._thread.shutdown()
        if error is None:
            closed.result()

    def _open_ledger(self) -> None:
        self._is_new = self._ledger_path is None or not self._ledger_path.exists()
        if self._is_new:
            self._refuse_strange_files()
        self._ledger = Ledger(self._ledger_path)
        self._outbox = Outbox(self._ledger.file)
        self._open_nights()
        try:
            self._own_output()
        except BaseException:
            self._ledger.close()
            raise

    def _open_nights(self) -> None:
        self._nights = NightlyState(self._ledger.file, self._limits) if self._limits else None

    def _own_output(self) -> None:
        """A ledger belongs to one output (`-` is stdout), and an output that no ledger knows is somebody else's."""
        name = self._output_path.name if self._output_path else "-" if self._sink else None
        if name is None:
            return
        owned = self._ledger.file.get("output")
        if owned is None:
            self._refuse_strange_files()
            self._ledger.file.put(output=name)
        elif owned != name:
            raise Misconfigured(
                f"the ledger {self._ledger_path} belongs to the output {owned}, not to {name}. "
                "Give the same output again, or one whose name differs before .jsonl, for by that its ledger, failures "
                "and summary are called; for stdout, name another ledger with --ledger."
            )

    def _refuse_strange_files(self) -> None:
        path = self._output_path
        for taken in (path, partial_of(path)) if path else ():
            if taken.exists():
                raise Usage(
                    f"{taken} exists already, but the ledger {self._ledger_path} knows nothing of it. Nothing was "
                    "changed; choose another output, or move the file away."
                )

    def _close(self) -> None:
        if isinstance(self._sink, OutputFile):
            self._sink.close()
        is_nothing = self._is_new and self._ledger.is_empty()
        self._ledger.close()
        if is_nothing and self._ledger_path:
            remove(self._ledger_path)  # a list without a DOI leaves no trace

    async def _do(self, step: Callable[..., T], *args: object) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, step, *args)
        except OSError as error:  # whoever writes says so itself; this was only a look at a file
            raise DiskFailed(
                f"cannot look at {error.filename or self._output_path}: {error.strerror or error}. What was committed "
                "before is safe; mend the disk, then give the same command again."
            ) from error

    # The input

    async def enrol(
        self,
        lines: Iterable[Work | Failure | Blank],
        is_stopped: Callable[[], bool] = lambda: False,
        *,
        fingerprint: Callable[[], str | None] = lambda: None,
    ) -> Reading:
        """Take in a whole input; what an earlier, broken reading left is overwritten.

        Args:
            lines: read on a thread of their own.
            is_stopped: whether to break off, which costs nothing but another reading.
            fingerprint: takes that of the input, if it has one; where it is that of the last reading, that one holds.

        Raises:
            StopRun: the input cannot be read.
        """
        return await self._do(self._enrol, lines, is_stopped, fingerprint)

    def _enrol(
        self,
        lines: Iterable[Work | Failure | Blank],
        is_stopped: Callable[[], bool],
        fingerprint: Callable[[], str | None],
    ) -> Reading:
        before = fingerprint()
        if before and (found := self._ledger.same_reading(before)):
            return Reading(**orjson.loads(found))
        is_first = self._ledger.is_empty()
        number = self._ledger.begin_reading()
        state = WorkState.RESTING if self._nights else WorkState.DUE
        counted: Counter[type] = Counter()
        try:
            with closing(self._chunks(lines, is_stopped, counted)) as chunks:
                if is_first:
                    listed = self._ledger.bulk_load(number, chunks, state=state)
                else:
                    listed = sum(self._ledger.enrol(number, works, invalid, state=state) for works, invalid in chunks)
        except Stopped:
            return Reading()
        reading = Reading(counted.total(), listed, counted[Work] - listed, counted[Failure], counted[Blank])
        # A list that changed while it was read is not known by what it was before, nor by what it became.
        known = before if before and fingerprint() == before else None
        known_by = {"fingerprint": known, "found": orjson.dumps(reading).decode()}
        dropped = self._ledger.end_reading(number, keep=self._nights is not None, also=known_by)
        return replace(reading, dropped=dropped)

    def _chunks(
        self, lines: Iterable[Work | Failure | Blank], is_stopped: Callable[[], bool], counted: Counter[type]
    ) -> Generator[tuple[list[Work], list[Failure]], None, None]:
        """Works and invalid lines, many at a time, and counted; `Stopped` if the reading is to be broken off."""
        rest = iter(lines)
        with prefetched(iter(lambda: list(islice(rest, ENROL_CHUNK)), [])) as chunks:
            for chunk in chunks:
                if is_stopped() or self._leaving.is_set():
                    raise Stopped
                counted.update(map(type, chunk))
                yield [line for line in chunk if type(line) is Work], [line for line in chunk if type(line) is Failure]
                failpoint.hit("enrol")
        if is_stopped():  # then the input may have ended before its end
            raise Stopped

    async def last_reading(self) -> Reading:
        """What the last reading found.

        Raises:
            InputMissing: no list was ever read to its end.
        """
        return await self._do(self._last_reading)

    def _last_reading(self) -> Reading:
        found = self._ledger.file.get("found")
        if not isinstance(found, str):
            raise InputMissing(
                f"the list of {self._ledger_path} was never read to its end, so that it is not known what failed. "
                "Nothing was asked; give the command with its list, and without --only-failed."
            )
        reading = Reading(**orjson.loads(found))
        self._ledger.drop_broken_reading()
        # The works that one that was cut off has listed since count as listed.
        works, invalid = self._ledger.figures().works, self._ledger.invalid()
        lines = works + invalid + reading.duplicates + reading.blank
        return replace(reading, lines=lines, works=works, invalid=invalid, dropped=0)

    # The output

    async def begin(self, *, source: str, refetch: bool, retry_failed: bool, only_failed: bool = False) -> bool:
        """Make output and ledger agree and ready for more, after a reading.

        Args:
            source: base URL of the service the records come from; those of two services are not mixed.
            refetch: start a new output; the old one is kept as `NAME.1`. Where a refetch was cut off it goes on.
            retry_failed: make failed works due again.
            only_failed: ask the failed works again and no others; each stays failed until it has another outcome.

        Returns:
            Whether anything is due.

        Raises:
            PromiseBroken, Misconfigured, Usage, DiskFailed: output and ledger do not fit together; nothing was changed.
        """
        self._asked = WorkState.FAILURE if only_failed else WorkState.DUE
        return await self._do(self._begin, source, refetch, retry_failed)

    def _begin(self, source: str, refetch: bool, retry_failed: bool) -> bool:
        failpoint.hit("begin")
        path = self._output_path
        same_source = self._ledger.file.get("source") in (None, source)
        if not refetch:
            self._own_source(source, same_source)
        if path is None:
            if refetch:
                self._ledger.start_over(None, source)
            if retry_failed:
                self._ledger.retry_failed()
            return self._has_due()
        output = Publishing(path, self._ledger)
        output.settle()
        if refetch and not (same_source and output.is_refetch_under_way()):
            output.archive(source)
        published = output.is_published()
        if not published:
            output.check_partial()
        if retry_failed:
            self._ledger.retry_failed()
        due = self._has_due()
        if due or not published:
            self._sink = output.open(published=published)
        return due

    def _has_due(self) -> bool:
        return bool(self._ledger.due(0, 1, self._asked))

    def _own_source(self, source: str, same: bool) -> None:
        if not same:
            advice = (
                "Name another ledger in [ledger] path, or put base_url back."
                if self._nights
                else "Name another output, or start over with --refetch."
            )
            raise Misconfigured(
                f"the records that {self._ledger_path} knows came from {self._ledger.file.get('source')}, but "
                f"[paperbuzz] base_url is {source} now. {advice}"
            )
        self._ledger.file.put(source=source)

    async def publish(self) -> None:
        """Give the complete output its name.

        Raises:
            DiskFailed: it cannot be renamed.
        """
        await self._do(self._publish)

    def _publish(self) -> None:
        if self._output_path is not None and isinstance(self._sink, OutputFile):
            sink, self._sink = self._sink, None
            Publishing(self._output_path, self._ledger).publish(sink)

    async def registers_with(self, base_url: str) -> None:
        """Remember which OPERAS it is that acknowledges.

        Raises:
            Misconfigured: it was another one before.
        """
        await self._do(self._registers_with, base_url)

    def _registers_with(self, base_url: str) -> None:
        known = self._ledger.file.get("operas")
        if known is None:
            self._ledger.file.put(operas=base_url)
        elif known != base_url:
            raise Misconfigured(
                f"the DOIs in {self._ledger_path} were registered with {known}, but [operas] base_url is {base_url} "
                "now. Name another output or ledger for that."
            )

    # Works

    async def due(self, after: int, limit: int) -> list[DueWork]:
        """The next due works by key, those above `after`."""
        return await self._do(self._ledger.due, after, limit, self._asked)

    async def commit(self, outcomes: Sequence[tuple[DueWork, Result | Failure]]) -> int:
        """Make outcomes durable, in the order of the theory above; returns how many more wait to be registered.

        Raises:
            DiskFailed: it could not be done; the store takes no more.
        """
        return await self._do(self._commit, outcomes)

    def _commit(self, outcomes: Sequence[tuple[DueWork, Result | Failure]]) -> int:
        if self._sink is None:
            raise DiskFailed("the output is closed after a failed write; what was committed before is safe.")
        visits: list[Visit] = []
        if self._nights:
            outcomes, visits = self._nights.compared(outcomes)
        lines = result_lines(outcome for _, outcome in outcomes if self._is_written(outcome))
        sink, self._sink = self._sink, None
        length = sink.append(lines) if lines else self._ledger.file.number("length")

        def note(db: sqlite3.Connection) -> None:
            if self._asked is WorkState.FAILURE:
                no_longer_failed(db, [due.work_id for due, outcome in outcomes if isinstance(outcome, Result)])
            if self._nights:
                self._nights.note(db, visits)

        waiting = self._ledger.record(
            outcomes,
            length,
            register=self._register,
            is_written=self._is_written,
            also=note,
        )
        failpoint.hit("after-commit")
        self._sink = sink
        return waiting

    def _is_written(self, outcome: Result | Failure) -> TypeGuard[Result]:
        return isinstance(outcome, Result) and not (self._only_changed and outcome.changed is False)

    # Nights

    async def open_night(self) -> Path | None:
        """The output of a night that was not finished."""
        return await self._do(lambda: self._book.output() if self._book.is_open() else None)

    async def is_over(self, output: Path) -> bool:
        """Whether this was the last night's output, and the night is over."""
        return await self._do(self._is_over, output)

    def _is_over(self, output: Path) -> bool:
        owned = self._ledger.file.get("output")  # of a night that did not get to its beginning it is not yet the name
        return owned == output.name and self._book.output() == output and not self._book.is_open()

    async def begin_night(self, output: Path, budget: int, now: datetime) -> Selection:
        """Choose tonight's works and make them due, for an output of their own.

        Raises:
            Usage: the output is there already.
            Misconfigured: the ledger is that of a batch run.
        """
        return await self._do(self._begin_night, output, budget, now)

    def _begin_night(self, output: Path, budget: int, now: datetime) -> Selection:
        self._refuse_ledger_of_a_run()
        selection = self._book.choose(budget, now)
        self._output_path = output
        self._refuse_strange_files()
        self._book.begin(selection, output)
        self._ledger.begin_night(output.name, (pick.key for pick in selection.picks))
        return selection

    def _refuse_ledger_of_a_run(self) -> None:
        """What a batch run still has to ask, or has written, would be forgotten."""
        owned = self._ledger.file.get("output")
        if owned is not None and self._book.output() is None:
            raise Misconfigured(
                f"the ledger {self._ledger_path} belongs to {owned}, the output of harvester run. Nothing was changed; "
                "name another one for the nights in [ledger] path."
            )

    async def covered(self) -> int:
        """Listed works that were asked at least once."""
        return await self._do(self._book.covered)

    async def planned(self, budget: int, now: datetime) -> Selection:
        """What a night would ask; nothing is changed."""
        return await self._do(self._book.choose, budget, now)

    async def explained(self, doi: str, now: datetime) -> Explanation | None:
        """What the ledger and the policy make of one DOI; None if it is not known."""
        return await self._do(self._book.explained, doi, now)

    async def copy_of(self, ledger: Path) -> None:
        """Take over all of another ledger, which is only read."""
        await self._do(self._copy_of, ledger)

    def _copy_of(self, ledger: Path) -> None:
        self._ledger.file.copy_of(ledger)
        self._open_nights()

    async def go_on_with(self, output: Path) -> None:
        """Take up the output of a night that was not finished."""
        self._output_path = output

    async def night_so_far(self) -> NightProgress:
        """What is to be told of the open night."""
        return await self._do(self._night_so_far)

    def _night_so_far(self) -> NightProgress:
        book = self._book
        return NightProgress(*book.so_far(), book.covered(), tuple(book.paces()), tuple(book.outputs()))

    async def end_night(self) -> list[str]:
        """The night is over; returns the outputs of all nights that are kept, the latest last."""
        return await self._do(self._end_night)

    def _end_night(self) -> list[str]:
        assert self._output_path is not None  # noqa: S101 - a night has an output
        self._book.end(self._output_path)
        return self._book.outputs()

    async def keep_nights(self, outputs: Sequence[str]) -> None:
        """Forget all other nights' outputs, whose files are gone."""
        await self._do(self._book.keep, outputs)

    @property
    def _book(self) -> NightlyState:
        assert self._nights is not None  # noqa: S101 - whoever asks for nights gave their limits
        return self._nights

    async def figures(self) -> Figures:
        """The works of the last reading, counted."""
        return await self._do(self._ledger.figures)

    async def done_in(self, ledger: Path, *, failed_too: bool) -> int:
        """How many of the works have a record in another ledger, or, if so wished, a failure."""
        return await self._do(lambda: self._ledger.done_in(ledger, failed_too=failed_too))

    async def known_good(self) -> str | None:
        """A DOI that is known to have a record, if there is one."""
        return await self._do(self._ledger.known_good)

    async def write_failures(self, path: Path) -> None:
        """Write the failures file from the ledger, whole and atomically.

        Raises:
            DiskFailed: it cannot be written; the old one is untouched.
        """
        await self._do(lambda: write_atomically(path, map(failure_line, self._ledger.failures())))

    async def each_failure(self, take: Callable[[Failure], None]) -> None:
        """Hand over all failures of the last reading, one after the other, on the writer thread."""
        await self._do(self._each_failure, take)

    def _each_failure(self, take: Callable[[Failure], None]) -> None:
        for failure in self._ledger.failures():
            take(failure)

    async def write(self, path: Path, content: bytes) -> None:
        """Write a small file whole and atomically.

        Raises:
            DiskFailed: it cannot be written; the old one is untouched.
        """
        await self._do(write_atomically, path, [content])

    async def forget(self, path: Path) -> None:
        """Remove a small file of an earlier run, which would pass for this one's.

        Raises:
            DiskFailed: it cannot be removed.
        """
        await self._do(remove, path)

    # The outbox

    async def fill_outbox(self, *, harvested_only: bool) -> int:
        """Put works into the outbox that were never in it; returns how many."""
        return await self._do(lambda: self._outbox.fill(harvested_only=harvested_only))

    async def retry_rejected(self) -> int:
        """Put rejected works back into the outbox; returns how many."""
        return await self._do(self._outbox.retry_rejected)

    async def waiting(self, limit: int) -> list[PendingRegistration]:
        """The first entries of the outbox."""
        return await self._do(self._outbox.waiting, limit)

    async def settle(
        self, acknowledged: Sequence[PendingRegistration], rejected: Sequence[tuple[PendingRegistration, Failure]]
    ) -> None:
        """Take entries out of the outbox: OPERAS has them, or refuses them for a reason."""
        failpoint.hit("after-post")
        await self._do(self._outbox.settle, acknowledged, rejected)
        failpoint.hit("settled")

    async def known_prefixes(self) -> set[str]:
        """DOI prefixes that OPERAS has seen from us."""
        return await self._do(self._outbox.prefixes)

    async def prefix_known(self, prefix: str) -> None:
        """Remember that OPERAS knows a prefix."""
        await self._do(self._outbox.add_prefix, prefix)
