"""The life of a night in the ledger: it is begun, resumed if it was interrupted, ended, and one day pruned.

A night is open from the moment its choice of works is committed until none of them is left to be asked.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from harvester.core.errors import Misconfigured
from harvester.nightly.revisit import NightForecast, Reason, Selection
from harvester.nightly.state import NightFigures, NightlyState, NightPace
from harvester.storage.store import Store


@dataclass(frozen=True, slots=True)
class NightProgress:
    """What the report of a night says about it, at its end or where it had to stop.

    Args:
        night: what it was expected to find, and what it found.
        figures: of its records.
        covered: listed works that were asked at least once, in this night or an earlier one.
        paces: how the nights before it went, the latest last.
        outputs: paths of the outputs of the nights before it, the latest last.
    """

    night: NightForecast
    figures: NightFigures
    covered: int
    paces: tuple[NightPace, ...]
    outputs: tuple[str, ...]


class Nights:
    """The nights in a ledger. The methods run on the writer thread: `await store.call(nights.begin, ...)`.

    Args:
        store: open.
        state: what the nights remember; it takes part in the commits of `store`.
    """

    def __init__(self, store: Store, state: NightlyState) -> None:
        self._store, self._state = store, state

    def resume(self, folder: Path) -> Path | None:
        """Go on with a night that was not finished; returns the path of its output, None if there is no such night.

        Args:
            folder: of the output, if the ledger knows only its name, as older ledgers do.
        """
        output = self._state.output() if self._state.is_open() else None
        if output is None:
            return None
        path = output if output.is_absolute() else folder / output
        self._store.switch_output(path)
        return path

    def reopen(self, output: Path) -> bool:
        """If the last night is over and had this output, switch to it. Returns whether it did."""
        # Both names have to be this one: in older ledgers the night's path was noted before the ledger got the output,
        # and a crash may have come in between.
        is_over = (
            self._store.database.meta.output == output.name
            and self._state.output() == output
            and not self._state.is_open()
        )
        if is_over:
            self._store.switch_output(output)
        return is_over

    def take_new(self, budget: int, now: datetime) -> int:
        """Open the last night again for works that were never asked, if there are any; returns how many.

        Args:
            budget: how many works may be asked.
            now: when they are chosen.
        """
        picks = self._state.choose(budget, now).picks
        works = [pick.key for pick in picks if pick.reason is Reason.NEW]
        if works:
            self._store.ledger.make_due(works, also=self._state.reopen)
        return len(works)

    def begin(self, output: Path, budget: int, now: datetime) -> Selection:
        """Choose tonight's works and make them due, for an output of their own.

        Args:
            output: path of the output.
            budget: how many works may be asked.
            now: when the night begins.

        Raises:
            Usage: the output is there already.
            Misconfigured: the ledger is that of a batch run.
        """
        self._refuse_ledger_of_a_run()
        selection = self._state.choose(budget, now)
        self._store.switch_output(output, is_new=True)
        works = (pick.key for pick in selection.picks)
        self._store.ledger.begin_output(output.name, works, also=lambda: self._state.begin(selection, output))
        return selection

    def _refuse_ledger_of_a_run(self) -> None:
        """Refuse the ledger of a batch run: a night would forget what that run still has to ask, and its output."""
        owned = self._store.database.meta.output
        if owned is not None and self._state.output() is None:
            raise Misconfigured(
                f"the ledger {self._store.database.name} belongs to {owned}, the output of harvester run. Nothing was "
                "changed; name another one for the nights in [ledger] path."
            )

    def progress(self) -> NightProgress:
        """What the report says about the open night."""
        state = self._state
        tonight = str(state.output())  # is among the kept ones if it was opened again
        outputs, paces = state.outputs(), state.paces()
        if outputs[-1:] == [tonight]:
            outputs, paces = outputs[:-1], paces[:-1]
        return NightProgress(*state.so_far(), state.covered(), tuple(paces), tuple(outputs))

    def end(self, output: Path) -> list[str]:
        """End the night with this output; returns the outputs of all nights that are still kept, the latest last."""
        self._state.end(output)
        return self._state.outputs()

    def keep(self, outputs: list[str]) -> None:
        """Remember these outputs only; the files of all other nights are deleted."""
        self._state.keep(outputs)
