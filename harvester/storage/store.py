"""The commit: one writer thread that alone owns the output file and the ledger.

Theory. A record counts only when it is in the output *and* in the ledger. The order makes that so, whatever instant the
machine stops at:

1. whole lines are appended to the output, and synced;
2. one ledger transaction says what became of the works and how long the output is by that;
3. only then is anything counted as done.

If it stops before 2, the output is longer than the ledger says; the next start cuts it back, the works are still due
and are asked again. If it stops after 2, all is in place. Nothing else is ever written to either file. Starting anew is
therefore the way back from a crash, and there is no other.

What others have to write in the same transaction they write in a `CommitHook`: the outbox its registrations, a nightly
harvest what it learned.

Everything runs on one thread of its own, in the order it was asked for, so that the event loop never waits for a disk
and the ledger has one writer. A step that has begun is always finished: to cancel whoever waits does not undo it.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, ParamSpec, Self, TypeVar

from harvester.core import failpoint
from harvester.core.errors import DiskFailed, Misconfigured, Usage
from harvester.core.files import remove
from harvester.core.model import DueWork, Finished, Result, Stage
from harvester.records.lines import result_lines
from harvester.storage.database import Database, WorkState
from harvester.storage.failures import forget_failures
from harvester.storage.hooks import CommitHook
from harvester.storage.ledger import Ledger
from harvester.storage.outbox import Outbox
from harvester.storage.output_file import OutputFile, Sink, Stdout, partial_of
from harvester.storage.publishing import Publishing

P = ParamSpec("P")
T = TypeVar("T")
H = TypeVar("H", bound=CommitHook)


class Store:
    """The output and the ledger of one job; an async context manager that owns the writer thread.

    Args:
        path: of the ledger; None for one that vanishes at the end.
        output: path of the output; None where results go to `stdout`, or nowhere.
        stdout: where results go instead of a file.

    Attributes:
        database: the ledger's file.
        ledger: the works in it.
        outbox: the registrations in it.

    These three belong to the writer thread: `await store.call(store.ledger.figures)`.
    """

    database: Database
    ledger: Ledger
    outbox: Outbox

    def __init__(self, path: Path | None, output: Path | None, *, stdout: BinaryIO | None = None) -> None:
        self._path, self._output = path, output
        self._sink: Sink | None = Stdout(stdout) if stdout else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._leaving = threading.Event()
        self._hooks: list[CommitHook] = []
        self._asked = WorkState.DUE

    async def __aenter__(self) -> Self:
        try:
            await self.call(self._open)
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

    async def call(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a step on the writer thread, after those that were asked for before.

        Raises:
            DiskFailed: a file cannot be looked at.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: step(*args, **kwargs))
        except OSError as error:  # whoever writes says so itself; this was only a look at a file
            raise DiskFailed(
                f"cannot look at {error.filename or self._output}: {error.strerror or error}. What was committed "
                "before is safe; mend the disk, then give the same command again."
            ) from error

    async def join(self, make: Callable[[Database], H]) -> H:
        """Let a hook take part in every commit from here on.

        Args:
            make: makes it on the writer thread, given the ledger's file.
        """
        hook = await self.call(lambda: make(self.database))
        self._hooks.append(hook)
        return hook

    def is_leaving(self) -> bool:
        """Whether the store is about to close, so that a long step should break off; any thread may ask."""
        return self._leaving.is_set()

    # Opening and closing

    def _open(self) -> None:
        self._is_new = self._path is None or not self._path.exists()
        if self._is_new:
            self._refuse_strange_files()
        self.database = Database(self._path)
        self.ledger, self.outbox = Ledger(self.database), Outbox(self.database)
        try:
            self._own_output()
        except BaseException:
            self.database.close()
            raise

    def _own_output(self) -> None:
        """A ledger belongs to one output (`-` is stdout), and an output that no ledger knows is somebody else's."""
        name = self._output.name if self._output else "-" if self._sink else None
        if name is None:
            return
        owned = self.database.meta.output
        if owned is None:
            self._refuse_strange_files()
            self.database.meta.output = name
        elif owned != name:
            raise Misconfigured(
                f"the ledger {self._path} belongs to the output {owned}, not to {name}. "
                "Give the same output again, or one whose name differs before .jsonl, for by that its ledger, failures "
                "and summary are called; for stdout, name another ledger with --ledger."
            )

    def _refuse_strange_files(self) -> None:
        path = self._output
        for taken in (path, partial_of(path)) if path else ():
            if taken.exists():
                raise Usage(
                    f"{taken} exists already, but the ledger {self._path} knows nothing of it. Nothing was "
                    "changed; choose another output, or move the file away."
                )

    def _close(self) -> None:
        if isinstance(self._sink, OutputFile):
            self._sink.close()
        is_nothing = self._is_new and self.ledger.is_empty()
        self.database.close()
        if is_nothing and self._path:
            remove(self._path)  # a list without a DOI leaves no trace

    # The output

    def take_up(self, output: Path, *, is_new: bool = False) -> None:
        """Turn to another output, before `begin`; a step for the writer thread.

        Args:
            output: its path.
            is_new: refuse one that is there already.

        Raises:
            Usage: it is there already.
        """
        self._output = output
        if is_new:
            self._refuse_strange_files()

    async def begin(
        self,
        *,
        service: str,
        source: str,
        advice: str = "Name another output, or start over with --refetch.",
        refetch: bool = False,
        retry_failed: bool = False,
        only_failed: bool = False,
    ) -> bool:
        """Make output and ledger agree and ready for more, after a reading.

        Args:
            service: the service the records come from, as its section in the settings is called.
            source: its base URL; the records of two services are not mixed.
            advice: what to do if those that are known came from another one.
            refetch: start a new output; the old one is kept as `NAME.1`. A refetch that was cut off goes on.
            retry_failed: make failed works due again.
            only_failed: ask the failed works again and no others; each stays failed until it has another outcome.

        Returns:
            Whether anything is due.

        Raises:
            PromiseBroken, Misconfigured, Usage, DiskFailed: output and ledger do not fit together; nothing was changed.
        """
        self._asked = WorkState.FAILURE if only_failed else WorkState.DUE
        return await self.call(self._begin, service, source, advice, refetch=refetch, retry_failed=retry_failed)

    def _begin(self, service: str, source: str, advice: str, *, refetch: bool, retry_failed: bool) -> bool:
        failpoint.hit("begin")
        is_same_source = self.database.meta.source in (None, source)
        if not refetch:
            self._own_source(service, source, advice, is_same=is_same_source)
        if self._output is None:
            if refetch:
                self.ledger.start_over(None, source)
            if retry_failed:
                self.ledger.retry_failed()
            return self._has_due()
        output = Publishing(self._output, self.database.meta, self.ledger)
        output.settle()
        if refetch and not (is_same_source and output.is_refetch_under_way()):
            output.archive(source)
        published = output.is_published()
        if not published:
            output.check_partial()
        if retry_failed:
            self.ledger.retry_failed()
        due = self._has_due()
        if due or not published:
            self._sink = output.open(published=published)
        return due

    def _own_source(self, service: str, source: str, advice: str, *, is_same: bool) -> None:
        if not is_same:
            raise Misconfigured(
                f"the records that {self._path} knows came from {self.database.meta.source}, but "
                f"[{service}] base_url is {source} now. {advice}"
            )
        self.database.meta.source = source

    def _has_due(self) -> bool:
        return bool(self.ledger.due(0, 1, self._asked))

    async def publish(self) -> None:
        """Give the complete output its name.

        Raises:
            DiskFailed: it cannot be renamed.
        """
        await self.call(self._publish)

    def _publish(self) -> None:
        if self._output is not None and isinstance(self._sink, OutputFile):
            sink, self._sink = self._sink, None
            Publishing(self._output, self.database.meta, self.ledger).publish(sink)

    # Works

    async def due(self, after: int, limit: int) -> list[DueWork]:
        """The next due works by key, those above `after`."""
        return await self.call(self.ledger.due, after, limit, self._asked)

    async def commit(self, finished: Sequence[Finished]) -> None:
        """Make what became of some works durable, in the order of the theory above.

        Raises:
            DiskFailed: it could not be done; the store takes no more.
        """
        await self.call(self._commit, finished)
        for hook in self._hooks:
            hook.committed()

    def _commit(self, finished: Sequence[Finished]) -> None:
        if self._sink is None:
            raise DiskFailed("the output is closed after a failed write; what was committed before is safe.")
        for hook in self._hooks:
            finished = hook.prepare(finished)
        withheld = {became.doi for hook in self._hooks for became in _results(finished) if not hook.is_written(became)}
        lines = result_lines(result for result in _results(finished) if result.doi not in withheld)
        sink, self._sink = self._sink, None
        length = sink.append(lines) if lines else self.database.meta.length

        def record(db: sqlite3.Connection) -> None:
            if self._asked is WorkState.FAILURE:
                answered = [due.work_id for due, became in finished if isinstance(became, Result)]
                forget_failures(db, answered, Stage.FETCH)
            for hook in self._hooks:
                hook.record(db, finished)

        self.ledger.record(finished, length, withheld=withheld, also=record)
        failpoint.hit("after-commit")
        self._sink = sink


def _results(finished: Sequence[Finished]) -> list[Result]:
    return [became for _, became in finished if isinstance(became, Result)]
