"""The life of a night in the ledger: begun, perhaps gone on with, ended, pruned.

A night is open from the moment its choice of works is committed until its output is published.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from harvester.core.errors import Misconfigured
from harvester.nightly.revisit import NightForecast, Selection
from harvester.nightly.state import NightFigures, NightlyState, NightPace
from harvester.storage.store import Store


@dataclass(frozen=True, slots=True)
class NightProgress:
    """What is to be told of a night, at its end or where it had to stop.

    Args:
        night: what it was expected to find, and found.
        figures: of its records.
        covered: listed works that were asked at least once.
        paces: how the nights before it went, the latest last.
        outputs: paths of the outputs of the nights before it, the latest last.
    """

    night: NightForecast
    figures: NightFigures
    covered: int
    paces: tuple[NightPace, ...]
    outputs: tuple[str, ...]


class Nights:
    """The nights in a ledger. Its methods are steps for the writer thread: `await store.call(nights.begin, ...)`.

    Args:
        store: open.
        state: what the nights remember; it takes part in the commits of `store`.
    """

    def __init__(self, store: Store, state: NightlyState) -> None:
        self._store, self._state = store, state

    def go_on(self, folder: Path) -> Path | None:
        """Take up the output of a night that was not finished, if there is one; returns its path.

        Args:
            folder: where it lies if the ledger knows its name alone, as older ones do.
        """
        output = self._state.output() if self._state.is_open() else None
        if output is None:
            return None
        path = output if output.is_absolute() else folder / output
        self._store.switch_output(path)
        return path

    def take_up_again(self, output: Path) -> bool:
        """Take up the output of the last night if it is this one and the night is over; returns whether it is."""
        # Of a night that did not get to its beginning, the output does not have its name yet.
        is_over = (
            self._store.database.meta.output == output.name
            and self._state.output() == output
            and not self._state.is_open()
        )
        if is_over:
            self._store.switch_output(output)
        return is_over

    def begin(self, output: Path, budget: int, now: datetime) -> Selection:
        """Choose tonight's works and make them due, for an output of their own.

        Args:
            output: its path.
            budget: works that may be asked.
            now: when the night begins.

        Raises:
            Usage: the output is there already.
            Misconfigured: the ledger is that of a batch run.
        """
        self._refuse_ledger_of_a_run()
        selection = self._state.choose(budget, now)
        self._store.switch_output(output, is_new=True)
        self._state.begin(selection, output)
        self._store.ledger.begin_night(output.name, (pick.key for pick in selection.picks))
        return selection

    def _refuse_ledger_of_a_run(self) -> None:
        """What a batch run still has to ask, or has written, would be forgotten."""
        owned = self._store.database.meta.output
        if owned is not None and self._state.output() is None:
            raise Misconfigured(
                f"the ledger {self._store.database.name} belongs to {owned}, the output of harvester run. Nothing was "
                "changed; name another one for the nights in [ledger] path."
            )

    def progress(self) -> NightProgress:
        """What is to be told of the open night."""
        state = self._state
        return NightProgress(*state.so_far(), state.covered(), tuple(state.paces()), tuple(state.outputs()))

    def end(self, output: Path) -> list[str]:
        """End the night with this output; returns the outputs of all nights that are kept, the latest last."""
        self._state.end(output)
        return self._state.outputs()

    def keep(self, outputs: list[str]) -> None:
        """Forget the outputs of all other nights, whose files are gone."""
        self._state.keep(outputs)
