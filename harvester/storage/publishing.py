"""One output through its lives: partial, published, taken back, archived; in step with what the ledger remembers of it.

Theory. The ledger remembers five things: the committed `length`, whether the output was ever `made`, whether it is
`published`, whether a refetch is under way (`refetching`), and which name an old output is to get (`archive`). Files on
the left, what the ledger remembers on the right:

            nothing yet                made 0, published 0, length 0
                │ open: made 1, then create
                ▼
      ┌──▶  NAME.partial ◀──────────── made 1, published 0, length: what is committed; more in the file is a torn write
      │         │ publish: rename, then published 1 and refetching 0        │
      │         ▼                                                           │ archive, for --refetch:
      │       NAME                     made 1, published 1, length: all     │ length 0, published 0, refetching 1
      │         │                                                           │ and archive NAME.1, then rename
      └─────────┘ open, more is due:                                        ▼
                  published 0, then rename                         NAME.1, and NAME.partial anew

Each rename stands beside a change in the ledger, in the order that lets whoever comes after a crash tell what was
meant. `settle` finishes a rename that was only announced: `archive` is still set. `is_published` completes one that was
not written down: the file stands under its name with all its bytes, but `published` is 0. What fits none of these is
refused before anything is changed.
"""

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
        path: the name it is published under.
        meta: what the ledger remembers of it.
        ledger: the works that are in it.
    """

    def __init__(self, path: Path, meta: Meta, ledger: Ledger) -> None:
        self.path = path
        self._meta, self._ledger = meta, ledger

    def settle(self) -> None:
        """Finish what a crash may have left half done.

        Raises:
            PromiseBroken: both a partial and a published output are there.
        """
        self._finish_archiving()
        self._refuse_both()

    def archive(self, source: str) -> None:
        """Keep the output there is under a free name, and start a new one.

        Args:
            source: base URL of the service the new one comes from.
        """
        self._cut_torn_tail()
        self._ledger.start_over(_free_name(self.path).name, source)
        failpoint.hit("start-over")
        self._finish_archiving()

    def publish(self, file: OutputFile) -> None:
        """Close the complete output and give it its name.

        Raises:
            DiskFailed: it cannot be renamed.
        """
        self._refuse_both()
        file.close()
        move(partial_of(self.path), self.path)
        failpoint.hit("published")
        self._ledger.mark_published()

    def is_refetch_under_way(self) -> bool:
        """Whether a refetch was cut off that can go on; one whose output was lost has to start again."""
        if not self._meta.refetching or self._meta.published:
            return False
        committed = self._meta.length
        return _size(self.path) == committed if self.path.exists() else _size(partial_of(self.path)) >= committed

    def _cut_torn_tail(self) -> None:
        """Leave no torn write in what is archived: its committed length is about to be forgotten."""
        committed = self._meta.length
        if _size(partial_of(self.path)) > committed:
            open_output(self.path, committed).close()

    def _finish_archiving(self) -> None:
        """Rename the old output of a refetch, if that was not done yet."""
        archive = self._meta.archive
        if archive is not None:
            target = self.path.with_name(archive)
            for old in (self.path, partial_of(self.path)):
                if old.exists() and not target.exists():
                    move(old, target)
            self._meta.archive = None

    def is_published(self) -> bool:
        """Whether the output stands complete under its name, as the ledger says or as a crash left it."""
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
        """Refuse a partial output that lost something; more than is committed is a torn write, which `open` cuts."""
        committed, found = self._meta.length, _size(partial_of(self.path))
        if found < committed:
            raise PromiseBroken(
                f"{partial_of(self.path)} holds {found:,} bytes, but {committed:,} are known to be committed: "
                "something else cut it or took it away. Nothing was changed. "
                "Put the file back, or start over with --refetch."
            )

    def open(self, *, published: bool) -> OutputFile:
        """Open the partial output; one that was published is taken back first."""
        if published:
            self._meta.published = False
            move(self.path, partial_of(self.path))
        is_ours = self._meta.made
        if not is_ours:
            self._meta.made = True
        return open_output(self.path, self._meta.length, new=not is_ours)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _free_name(path: Path) -> Path:
    """`NAME.1`, or the first such name that is free."""
    number = 1
    while (candidate := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    return candidate
