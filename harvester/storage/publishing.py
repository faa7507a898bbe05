"""One output through its states: partial, published, reopened, archived; in step with what the ledger remembers of it.

Theory. The ledger remembers five things about the output: its committed `length`, whether this ledger ever `made` the
partial file, whether the output is `published`, whether a refetch is under way (`refetching`), and the name to which an
old output is still to be renamed (`archive`). Each box shows the file, and what the ledger says of it:

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

A nightly harvest begins each night in the first box, with another name. Whatever fits none of these states is refused
before anything is changed.
"""

import os
from pathlib import Path

from harvester.core import failpoint
from harvester.core.errors import PromiseBroken
from harvester.core.files import move
from harvester.storage.ledger import Ledger
from harvester.storage.meta import Meta
from harvester.storage.output_file import OutputFile, open_output, partial_of


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
        self._ledger.start_over(_free_name(self.path).name, base_url)
        failpoint.hit("start-over")
        self._finish_archiving()

    def publish(self, file: OutputFile) -> None:
        """Close the complete output and give it its name (step 2).

        Raises:
            DiskFailed: it cannot be renamed.
        """
        self._refuse_both()
        file.close()
        move(partial_of(self.path), self.path)
        failpoint.hit("published")
        self._ledger.mark_published()

    def is_refetch_under_way(self) -> bool:
        """Whether a refetch was interrupted and can go on. If its output was lost, it has to start again."""
        if not self._meta.refetching or self._meta.published:
            return False
        committed = self._meta.length
        # NAME is there only if the crash came in the middle of step 2; then it has to be whole.
        return _size(self.path) == committed if self.path.exists() else _size(partial_of(self.path)) >= committed

    def _cut_torn_tail(self) -> None:
        """Cut a torn write off the output that is to be archived, while its committed length is still known."""
        committed = self._meta.length
        if _size(partial_of(self.path)) > committed:
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

        Raises:
            PromiseBroken: the output was published and is gone, or it is not as long as it should be.
        """
        if not self.path.exists():
            if self._meta.published:
                raise PromiseBroken(
                    f"{self.path} is gone, but the ledger says it was complete. "
                    "Put it back, or start over with --refetch."
                )
            return False
        size, committed = self.path.stat().st_size, self._meta.length
        if size != committed:
            raise PromiseBroken(
                f"{self.path} holds {size:,} bytes, but {committed:,} are known to be committed: something else "
                "changed it. Nothing was changed. Put the file back, or start over with --refetch."
            )
        self._ledger.mark_published()
        return True

    def _refuse_both(self) -> None:
        if self.path.exists() and partial_of(self.path).exists():
            raise PromiseBroken(
                f"both {self.path} and {partial_of(self.path).name} exist, which no run leaves behind. "
                "Nothing was changed; move away the one that is not yours."
            )

    def check_partial(self) -> None:
        """Refuse a partial output that is too short. One that is too long has a torn write, which `open` cuts off."""
        committed, found = self._meta.length, _size(partial_of(self.path))
        if found < committed:
            raise PromiseBroken(
                f"{partial_of(self.path)} holds {found:,} bytes, but {committed:,} are known to be committed: "
                "something else cut it or took it away. Nothing was changed. "
                "Put the file back, or start over with --refetch."
            )

    def open(self, *, published: bool) -> OutputFile:
        """Open the partial output (step 1); a published one becomes partial again first (step 3)."""
        if published:
            self._meta.published = False
            move(self.path, partial_of(self.path))
        is_ours = self._meta.made
        if not is_ours:
            self._meta.made = True  # before the file: after a crash a file of this name must be known as ours
        return open_output(self.path, self._meta.length, new=not is_ours)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _free_name(path: Path) -> Path:
    """`NAME.1`, or the first such name that is free."""
    number = 1
    while os.path.lexists(candidate := path.with_name(f"{path.name}.{number}")):  # a link that leads nowhere, too
        number += 1
    return candidate
