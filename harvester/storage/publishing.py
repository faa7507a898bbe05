"""One output through its states: partial, published, reopened, archived; in step with what the ledger remembers of it.

Theory. The ledger remembers six things about the output: its committed `length`, the `seal` by which these bytes are
known again, whether this ledger ever `made` the partial file, whether the output is `published`, whether a refetch is
under way (`refetching`), and the name to which an old output is still to be renamed (`archive`). Each box shows the
file, and what the ledger says of it:

    ┌──────────────┐   1 open    ┌────────────────────────┐   2 publish   ┌────────────────────────┐
    │ (no file)    │ ──────────▶ │ NAME.partial           │ ────────────▶ │ NAME                   │
    │ made 0       │             │ made 1, published 0    │ ◀──────────── │ made 1, published 1    │
    │ published 0  │             │ length: what is        │   3 reopen    │ length: the whole file │
    │ length 0     │             │ committed (the file    │               │                        │
    └──────────────┘             │ may have a torn tail)  │               │                        │
                                 └────────────────────────┘               └────────────────────────┘
                                    ▲ 1 open     │ 4 archive                  │ 4 archive
                                    │            ▼                            ▼
                                 ┌─────────────────────────────────────────────────────────────────┐
                                 │ NAME.1, and no other file                                       │
                                 │ made 1, published 0, length 0, refetching 1                     │
                                 └─────────────────────────────────────────────────────────────────┘

Each step changes the ledger and the folder, one after the other. The order is such that the next start can tell what
was meant if a crash comes in between:

    step       first                          then                          the next start after a crash in between
    1 open     made 1                         create NAME.partial           creates it
    2 publish  rename NAME.partial to NAME    published 1, refetching 0     finds NAME with all of `length` bytes, and
                                                                            notes that it is published (`is_published`)
    3 reopen   published 0                    rename NAME to NAME.partial   the same; reopens it if works are due
    4 archive  length 0, published 0,         rename NAME or NAME.partial   renames it, as `archive` is set (`recover`)
               refetching 1, archive NAME.1   to NAME.1, archive none

A nightly harvest begins each night in the first box, with another name.

A ledger that was restored from a backup may be older than its output. If the output has, at the length that the ledger
knows, the bytes that the ledger knows, it is the same output with more in it. Then it is cut back to that length, as
after a crash, and what was cut off is harvested again. If it was published meanwhile, it is taken back first. If the
ledger knows nothing of it but that it made it, a published output is kept as `NAME.1`, and a new one is begun.

Whatever fits none of these states is refused before anything is changed.
"""

import os
from collections.abc import Callable
from pathlib import Path

from harvester.core import failpoint
from harvester.core.errors import PromiseBroken, Usage
from harvester.core.files import move
from harvester.storage.ledger import Ledger
from harvester.storage.meta import Meta
from harvester.storage.output_file import WAY_OUT, OutputFile, Seal, open_output, partial_of


class Publishing:
    """The output of a job.

    Args:
        path: the name under which it is published.
        meta: what the ledger remembers of it.
        ledger: the works whose records are in it.
    """

    def __init__(self, path: Path, meta: Meta, ledger: Ledger) -> None:
        self.path = path
        self._meta, self._ledger = meta, ledger

    def recover(self) -> None:
        """Finish an archiving that a crash interrupted, and refuse files that no run leaves behind.

        Raises:
            PromiseBroken: both a partial and a published output are there.
        """
        self._finish_archiving()
        self._refuse_both()

    def archive(self, base_url: str) -> None:
        """Keep the old output under a free name, so that a new one can be started (step 4).

        Args:
            base_url: of the service that the records of the new one come from.
        """
        self._cut_torn_tail()
        self._ledger.start_over(free_name(self.path).name, base_url)
        failpoint.hit("start-over")
        self._finish_archiving()

    def publish(self, file: OutputFile, is_stopped: Callable[[], bool]) -> None:
        """Close the complete output and give it its name (step 2).

        Args:
            file: the partial output; it is closed in any case.
            is_stopped: whether to leave that to the next start.

        Raises:
            PromiseBroken: it is not what was written.
            DiskFailed: it cannot be read or renamed.
            Stopped: it is left to the next start.
        """
        try:
            self._refuse_both()
            file.require_whole(is_stopped)
        finally:
            file.close()
        move(partial_of(self.path), self.path)
        failpoint.hit("published")
        self._ledger.mark_published()

    def is_refetch_under_way(self) -> bool:
        """Whether a refetch was interrupted and can go on. If its output was lost, it has to start again."""
        if not self._meta.refetching or self._meta.published:
            return False
        # NAME is there only if the crash came in the middle of step 2, or if the ledger was restored.
        return self._is_known(self.path if self.path.exists() else partial_of(self.path))

    def _cut_torn_tail(self) -> None:
        """Cut a torn write off the output that is to be archived, while its committed length is still known."""
        partial, committed = partial_of(self.path), self._meta.length
        if _size(partial) > committed and self._is_known(partial):
            open_output(self.path, committed).close()

    def _finish_archiving(self) -> None:
        """Rename the old output, if that is still to be done."""
        archive = self._meta.archive
        if archive is not None:
            target = self.path.with_name(archive)
            for old in (self.path, partial_of(self.path)):
                if old.exists() and not target.exists():
                    move(old, target)
            self._meta.archive = None

    def is_published(self) -> bool:
        """Whether the output is complete under its name. If a crash came before the ledger noted it, it is noted now.

        If the ledger was restored from a backup and the output was published after that, it becomes partial again.

        Raises:
            PromiseBroken: the output was published and is gone, or it is not the one that the ledger knows.
        """
        if not self.path.exists():
            if self._meta.published:
                raise PromiseBroken(
                    f"{self.path} is gone, but the ledger says it was complete. "
                    "Put it back, or start over with --refetch."
                )
            return False
        size, committed = self.path.stat().st_size, self._meta.length
        # Without a seal, as in ledgers of earlier versions, nothing tells whose the longer file is.
        is_ours = self._meta.made and not self._meta.published and (self._meta.seal is not None or not committed)
        if size > committed and is_ours and self._is_known(self.path):
            move(self.path, partial_of(self.path) if committed else free_name(self.path))
            return False
        if size != committed:
            raise PromiseBroken(
                f"{self.path} holds {size:,} bytes, but {committed:,} are known to be committed: something else "
                f"changed it, or the ledger is of another time. Nothing was changed. {WAY_OUT}"
            )
        self._refuse_unknown(self.path)
        self._ledger.mark_published()
        return True

    def _refuse_both(self) -> None:
        if self.path.exists() and partial_of(self.path).exists():
            raise PromiseBroken(
                f"both {self.path} and {partial_of(self.path).name} exist, which no run leaves behind. "
                "Nothing was changed; move away the one that is not yours."
            )

    def check_partial(self) -> None:
        """Refuse a partial output that is too short, or another one than the ledger knows.

        One that is too long has a torn write, which `open` cuts off.
        """
        partial, committed = partial_of(self.path), self._meta.length
        found = _size(partial)
        if found < committed:
            raise PromiseBroken(
                f"{partial} holds {found:,} bytes, but {committed:,} are known to be committed: "
                f"something else cut it or took it away. Nothing was changed. {WAY_OUT}"
            )
        self._refuse_unknown(partial)

    def check_records(self) -> None:
        """Refuse a ledger that knows of fewer or more works with a record than there are records in the output.

        It is that of two times at once, or damaged: works that it calls due would be in the output twice.
        """
        seal = _seal(self._meta)
        if seal is None or seal.records is None:
            return
        known = self._ledger.results()
        is_of_nights = self._meta.night is not None  # whose records may be left out of the output
        if known < seal.records or (known > seal.records and not is_of_nights):
            raise PromiseBroken(
                f"{known:,} works have a record by the ledger, but {seal.records:,} records were written into "
                f"{self.path.name}: the ledger is damaged, or two ledgers were mixed. Nothing was changed. Put back a "
                "backup of it, or let `harvester recover` make it agree with the output."
            )

    def _refuse_unknown(self, path: Path) -> None:
        if not self._is_known(path):
            raise PromiseBroken(
                f"{path} is long enough, but the bytes that were committed last are not in it: something else changed "
                f"it, or the ledger is of another time. Nothing was changed. {WAY_OUT}"
            )

    def _is_known(self, path: Path) -> bool:
        return is_known(path, self._meta)

    def open(self, *, published: bool) -> OutputFile:
        """Open the partial output (step 1); a published one becomes partial again first (step 3)."""
        if published:
            self._meta.published = False
            move(self.path, partial_of(self.path))
        is_ours = self._meta.made
        if not is_ours:
            self._meta.made = True  # before the file: after a crash a file of this name must be known as ours
        return open_output(self.path, self._meta.length, _seal(self._meta), new=not is_ours)


def is_known(path: Path, meta: Meta) -> bool:
    """Whether a file has all of the committed bytes, as far as length and seal tell.

    Args:
        path: of the output, published or partial; a missing file is empty.
        meta: what the ledger remembers of it.
    """
    committed, seal = meta.length, _seal(meta)
    if _size(path) < committed:
        return False
    return seal.fits(path, committed) if seal and path.exists() else not (seal and seal.tail)


def _seal(meta: Meta) -> Seal | None:
    text = meta.seal
    return Seal.from_text(text) if text is not None else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def refuse_unknown_files(output: Path | None, ledger: Path | None) -> None:
    """Refuse an output, published or partial, that a ledger knows nothing of.

    Raises:
        Usage: there is one.
    """
    for taken in (output, partial_of(output)) if output else ():
        if taken.exists():
            raise Usage(
                f"{taken} exists already, but the ledger {ledger} knows nothing of it. Nothing was changed; choose "
                "another output, or move the file away. If it was harvested and only its ledger was lost, `harvester "
                "recover` makes a new one."
            )


def free_name(path: Path) -> Path:
    """`NAME.1`, or the first such name that is free, for a file that is kept."""
    number = 1
    while os.path.lexists(candidate := path.with_name(f"{path.name}.{number}")):  # a link that leads nowhere, too
        number += 1
    return candidate
