"""The commit: one writer thread that alone owns the output file and the ledger.

Theory. A record counts only when it is in the output *and* in the ledger. This order makes sure of that, at whatever
instant the machine stops:

1. whole lines are appended to the output, and synced;
2. one ledger transaction records the results and failures of the works, and the new length of the output;
3. only then is anything counted as done.

The transaction is begun before 1 and committed in 2. So whatever cannot be written down is met before the output is
touched: then the works are committed in halves, until the one is found that it is about, and that one alone fails.

If the machine stops before 2, the output is longer than the ledger says. The next start cuts it back; the works are
still due and are asked again. If it stops after 2, everything is in place. Neither file is written in any other way. So
the only way back from a crash is to start again.

Files can be taken away or put in each other's place while a run goes on. So before and after each append the open
output is compared with its name and length, and in each transaction the open ledger and its lock with their names. What
the last commit left is known again at the next start by a seal (`harvester.storage.output_file.Seal`).

Others write in the same transaction through a `CommitHook`: the outbox its registrations, a nightly harvest what it
learned.

Everything runs on one thread of its own, in the order of the calls. So the event loop never waits for a disk, and the
ledger has one writer. A step that has begun is always finished; cancelling the task that waits for it does not undo it.
"""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, ParamSpec, Self, TypeVar

from harvester.core import failpoint
from harvester.core.errors import DiskFailed, HarvesterError, Misconfigured, Stopped
from harvester.core.files import remove
from harvester.core.model import DueWork, Stage
from harvester.core.stop import Stop
from harvester.core.text.address import canonical
from harvester.core.text.sanitize import printable
from harvester.records.lines import result_chunks
from harvester.records.result import Finished, Result
from harvester.storage.database import Database, WorkState
from harvester.storage.failures import forget_failures, unwritable
from harvester.storage.hooks import CommitHook
from harvester.storage.ledger import Ledger
from harvester.storage.lock import Lock, sidecars
from harvester.storage.outbox import Outbox
from harvester.storage.output_file import OutputFile, Seal, Sink, Stdout
from harvester.storage.publishing import Publishing, refuse_unknown_files

log = logging.getLogger("harvester")

P = ParamSpec("P")
T = TypeVar("T")
H = TypeVar("H", bound=CommitHook)


MOST_UNFORESEEN = 5
"""Works in a row that may fail for a reason that nobody foresaw. With more it is not the works, and the run ends."""


ANOTHER_OUTPUT = "Name another output, or start over with --refetch."
"""What to do if the records in the ledger of a batch run came from another service."""


class Store:
    """The output and the ledger of one job; an async context manager that owns the writer thread.

    Args:
        path: of the ledger; None for a temporary one that is deleted at the end.
        output: path of the output; None if results go to `stdout`, or nowhere.
        stdout: where results go instead of a file.
        lock: of the ledger; looked at before each commit.
        stop: breaks off long looks at large files.

    Attributes:
        database: the ledger's file.
        ledger: the works in it.
        outbox: the registrations in it.
        state_to_ask: of the works that are asked.

    The first three belong to the writer thread: `await store.call(store.ledger.figures)`.
    """

    database: Database
    ledger: Ledger
    outbox: Outbox

    def __init__(
        self,
        path: Path | None,
        output: Path | None,
        *,
        stdout: BinaryIO | None = None,
        lock: Lock | None = None,
        stop: Stop | None = None,
    ) -> None:
        self._path, self._output, self._lock = path, output, lock
        self._stop = stop or Stop()
        self._sink: Sink | None = Stdout(stdout) if stdout else None
        self._takes_more = True
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._closing = threading.Event()
        self._hooks: list[CommitHook] = []
        self.state_to_ask = WorkState.DUE
        self._unforeseen = 0

    async def __aenter__(self) -> Self:
        try:
            await self.call(self._open)
        except BaseException as error:
            self._thread.shutdown()
            if isinstance(error, Stopped) and self._stop.reason:
                raise self._stop.reason from None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        closed = self._thread.submit(self._close)
        self._thread.shutdown()
        if error is None:  # otherwise that error tells more than a failed close
            closed.result()

    async def call(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a step on the writer thread, after all steps that were called before.

        Raises:
            DiskFailed: a file cannot be looked at.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: step(*args, **kwargs))
        except OSError as error:  # a failed write raises DiskFailed itself; here a file could not be looked at
            raise DiskFailed(
                f"cannot look at {error.filename or self._output}: {error.strerror or error}. What was committed "
                "before is safe; mend the disk, then give the same command again."
            ) from error

    async def join(self, make: Callable[[Database], H]) -> H:
        """Add a hook that takes part in every commit from now on.

        Args:
            make: makes the hook from the ledger's file; called on the writer thread.

        Returns:
            The hook.
        """
        return await self.call(self._join, make)

    def _join(self, make: Callable[[Database], H]) -> H:
        hook = make(self.database)
        self._hooks.append(hook)
        return hook

    async def leave(self, hook: CommitHook) -> None:
        """Let a hook take part in no commit from here on; one that is under way has it to its end."""
        await self.call(self._hooks.remove, hook)

    def is_closing(self) -> bool:
        """Whether the store is about to close, so that a long step should end early. Any thread may ask."""
        return self._closing.is_set()

    def _is_stopped(self) -> bool:
        return self._stop.requested

    # Opening and closing

    def _open(self) -> None:
        self._is_new = self._path is None or not self._path.exists()
        if self._is_new:
            refuse_unknown_files(self._output, self._path)
        self.database = Database(self._path, lock=self._lock, is_stopped=self._is_stopped)
        self.ledger, self.outbox = Ledger(self.database), Outbox(self.database)
        try:
            self._claim_output()
        except BaseException:
            self.database.close()
            raise

    def _claim_output(self) -> None:
        """Bind the ledger to its one output (`-` is stdout); refuse another output, and files that are not ours."""
        name = self._output.name if self._output else "-" if self._sink else None
        if name is None:
            return
        owned = self.database.meta.output
        if owned is None:
            refuse_unknown_files(self._output, self._path)
            self.database.meta.output = name
        elif owned != name:
            raise Misconfigured(
                f"the ledger {self._path} belongs to the output {owned}, not to {name}. "
                "Give the same output again, or one whose name differs before .jsonl, for by that its ledger, failures "
                "and summary are called; for stdout, name another ledger with --ledger."
            )

    def _close(self) -> None:
        try:
            if isinstance(self._sink, OutputFile):
                self._sink.close()
            is_nothing = self._is_new and self.ledger.is_empty() and self.database.is_in_place()
        finally:
            self.database.close()
        if is_nothing and self._path:  # a new ledger without works: a list without a DOI leaves no file behind
            for path in (*sidecars(self._path), self._path):  # on a full disk SQLite leaves its own
                remove(path)

    # The output

    def switch_output(self, output: Path, *, is_new: bool = False) -> None:
        """Change to another output, before `begin`; a step for the writer thread.

        Args:
            output: its path.
            is_new: refuse an output that exists already.

        Raises:
            Usage: it exists already.
        """
        self._output = output
        if is_new:
            refuse_unknown_files(self._output, self._path)

    async def begin(
        self,
        *,
        service: str,
        source: str,
        advice: str = ANOTHER_OUTPUT,
        refetch: bool = False,
        retry_failed: bool = False,
        only_failed: bool = False,
    ) -> bool:
        """After a reading: make output and ledger agree, and open the output for more.

        Args:
            service: the service that gives the records, by the name of its section in the settings.
            source: its base URL; the records of two services are not mixed.
            advice: what to do if the known records came from another base URL.
            refetch: start a new output; the old one is kept as `NAME.1`. A refetch that was interrupted goes on.
            retry_failed: make failed works due again.
            only_failed: ask the failed works again and no others. A work stays failed until it has a record.

        Returns:
            Whether anything is due.

        Raises:
            PromiseBroken, Misconfigured, Usage, DiskFailed: output and ledger do not fit together; nothing was changed.
        """
        self.state_to_ask = WorkState.FAILURE if only_failed else WorkState.DUE
        return await self.call(self._begin, service, source, advice, refetch=refetch, retry_failed=retry_failed)

    def _begin(self, service: str, source: str, advice: str, *, refetch: bool, retry_failed: bool) -> bool:
        failpoint.hit("begin")
        self.database.require_in_place()  # reading the list may have taken long
        known = self.database.meta.source
        is_same_source = known is None or canonical(known) == canonical(source)
        if not refetch:
            self._claim_source(service, source, advice, is_same=is_same_source)
        if self._output is None:
            if refetch:
                self.ledger.start_over(None, source)
            if retry_failed:
                self.ledger.retry_failed()
            return self._has_due()
        output = Publishing(self._output, self.database.meta, self.ledger)
        output.recover()  # first: the checks below expect no step that a crash left half done
        if refetch and not (is_same_source and output.is_refetch_under_way()):
            output.archive(source)
        published = output.is_published()
        if not published:
            output.check_partial()
        output.check_records()
        if retry_failed:
            self.ledger.retry_failed()
        due = self._has_due()
        if due or not published:  # a published output to which nothing is added stays as it is
            self._sink = output.open(published=published)
        return due

    def _claim_source(self, service: str, source: str, advice: str, *, is_same: bool) -> None:
        if not is_same:
            raise Misconfigured(
                f"the records that {self._path} knows came from {self.database.meta.source}, but "
                f"[{service}] base_url is {source} now. {advice}"
            )
        self.database.meta.source = source

    def _has_due(self) -> bool:
        return bool(self.ledger.due(0, 1, self.state_to_ask))

    async def publish(self) -> None:
        """Give the complete output its name.

        Raises:
            PromiseBroken: it is not what was written.
            DiskFailed: it cannot be read or renamed.
            Stopped: a stop came while a large output was read once more; the next start publishes it.
        """
        await self.call(self._publish)

    def _publish(self) -> None:
        if self._output is not None and isinstance(self._sink, OutputFile) and self._takes_more:
            self.database.require_in_place()
            sink, self._sink = self._sink, None
            Publishing(self._output, self.database.meta, self.ledger).publish(sink, self._is_stopped)

    # Works

    async def due(self, after: int, limit: int) -> list[DueWork]:
        """The next works to ask for, in the order of ids: those with an id above `after`, at most `limit`."""
        return await self.call(self.ledger.due, after, limit, self.state_to_ask)

    async def commit(self, finished: Sequence[Finished]) -> None:
        """Make the results and failures of some works durable, in the order of the theory above.

        Raises:
            PromiseBroken: something else changed the output or took it, the ledger or the lock away.
            DiskFailed: it could not be done; the store takes no more.
        """
        await self.call(self._commit, finished)
        for hook in self._hooks:
            hook.committed()

    def _commit(self, finished: Sequence[Finished]) -> None:
        if self._sink is None or not self._takes_more:
            raise DiskFailed("the output is closed after a failed write; what was committed before is safe.")
        try:
            self._write(finished)
        except (HarvesterError, OSError):  # a disk or a pipe, and no work
            self._takes_more = False
            raise
        except Exception as error:
            if not self._takes_more:  # the output was touched already
                raise
            self._commit_apart(finished, error)

    def _commit_apart(self, finished: Sequence[Finished], error: Exception) -> None:
        """After an error that nobody foresaw: find the work that it is about, and let that one fail."""
        middle = len(finished) // 2
        if middle:
            self._commit(finished[:middle])
            self._commit(finished[middle:])
            return
        self._unforeseen += 1
        if self._unforeseen > MOST_UNFORESEEN:
            raise error
        [(due, ended)] = finished
        log.error("%s cannot be written down", printable(due.doi), exc_info=error, extra={"doi": due.doi})
        self._write([(due, unwritable(due, ended, error))])

    def _write(self, finished: Sequence[Finished]) -> None:
        for hook in self._hooks:
            finished = hook.prepare(finished)
        results = [result for _, result in finished if isinstance(result, Result)]
        withheld = {result.doi for hook in self._hooks for result in results if not hook.is_written(result)}
        written = [result for result in results if result.doi not in withheld] if withheld else results
        chunks = result_chunks(written) if written else iter(())

        def record(db: sqlite3.Connection) -> None:
            if self.state_to_ask is WorkState.FAILURE:  # these works stayed failed until now, see `begin`
                answered = [due.work_id for due, result in finished if isinstance(result, Result)]
                forget_failures(db, answered, Stage.FETCH)
            for hook in self._hooks:
                hook.record(db, finished)

        self.ledger.record(finished, lambda: self._append(chunks), withheld=withheld, also=record)
        failpoint.hit("after-commit")
        # True again only now: after a failed write, sync or transaction nothing is ever appended again, since the
        # output may then have a torn tail, or data that the disk dropped though it reports success the next time.
        self._takes_more = True
        if results:
            self._unforeseen = 0
        for hook in self._hooks:
            hook.adopt()

    def _append(self, chunks: Iterator[bytes]) -> tuple[int, Seal | None]:
        """Append lines to the output; returns its new length and seal. From here on nothing may be tried again."""
        assert self._sink is not None  # noqa: S101 - `_commit` looks
        self._takes_more = False
        length = self.database.meta.length
        for chunk in chunks:
            length = self._sink.append(chunk)
        return length, self._sink.seal
