"""The single values that a ledger remembers, as typed attributes; no other file spells one of their keys.

They are in the table `meta`, one row for each value. Each access to an attribute reads or writes the file. Inside
`Database.transaction` a write is part of the transaction; outside it is a transaction of its own. The names of the
attributes are the keys in the file. They are never changed, because older ledgers have them.
"""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

T = TypeVar("T")


class Value(Generic[T]):
    """One remembered value: a descriptor over a row of the table `meta`.

    Args:
        read: turns what is in the file (None if there is nothing) into the value.
    """

    def __init__(self, read: Callable[[object], T]) -> None:
        self._read = read

    def __set_name__(self, owner: type, name: str) -> None:
        self._key = name

    def __get__(self, meta: "Meta", owner: type) -> T:
        with meta.connection() as db:
            row = db.execute("SELECT value FROM meta WHERE key = ?", (self._key,)).fetchone()
        return self._read(row[0] if row else None)

    def __set__(self, meta: "Meta", value: T) -> None:
        with meta.connection() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (self._key, value))


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _flag(value: object) -> bool:
    return bool(_number(value))


def _flag_or_none(value: object) -> bool | None:
    return bool(value) if isinstance(value, int) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


class Meta:
    """What a ledger remembers besides its works.

    Args:
        connection: to the ledger's file; it turns SQLite's errors into ours.
    """

    __slots__ = ("connection",)

    def __init__(self, connection: Callable[[], AbstractContextManager[sqlite3.Connection]]) -> None:
        self.connection = connection

    # Readings of the list; see `harvester.storage.ledger`.

    reading = Value(_number)
    """Number of the last complete reading."""

    reading_begun = Value(_number)
    """Number of the last reading that was begun, complete or not."""

    fingerprint = Value(_text)
    """Fingerprint of the list of the last reading; None if it is not known."""

    found = Value(_text)
    """What the last reading found, as JSON: a `harvester.storage.ingest.Reading`."""

    invalid_up_to = Value(_number)
    """The highest id of a failure when the last reading was completed."""

    # The output, and the services; see `harvester.storage.publishing` for the first seven.

    length = Value(_number)
    """Committed bytes of the output."""

    seal = Value(_text)
    """What these bytes are known by, as JSON: a `harvester.storage.output_file.Seal`; None if it is not known."""

    made = Value(_flag)
    """Whether this ledger ever made the partial output, so that a file of that name is ours."""

    published = Value(_flag)
    """Whether the output is complete under its name."""

    grows_from = Value(_text)
    """What the finished output is known by that keeps its name while more is added to a copy of it, as JSON: its length
    and seal; None if none does."""

    refetching = Value(_flag)
    """Whether a refetch is under way."""

    archive = Value(_text)
    """The name to which the old output is still to be renamed; None if nothing is."""

    output = Value(_text)
    """The name of the output that the ledger belongs to; `-` for stdout."""

    source = Value(_text)
    """Base URL of the service that the records come from."""

    operas = Value(_text)
    """Base URL of the OPERAS where DOIs are registered."""

    # A run that goes on, or that died; see `harvester.harvest.suspects`.

    in_hand = Value(_text)
    """What was handed out last, as JSON: the highest id, or a list of ids; None if no run goes on."""

    suspects = Value(_text)
    """The works that were in hand when runs died, as JSON: how often, by id."""

    # Nights; see `harvester.nightly.state`.

    night = Value(_flag_or_none)
    """Whether a night is open; None in the ledger of a batch run."""

    night_path = Value(_text)
    """Path of the output of the night that was begun last."""

    night_expected = Value(_text)
    """New events that the night was expected to find, as a JSON number."""

    night_figures = Value(_text)
    """What the open night found so far, as JSON: `harvester.nightly.state.NightFigures`."""

    nights = Value(_text)
    """What the last nights were expected to find, and what they found, as JSON."""

    paces = Value(_text)
    """How the last nights went, as JSON."""

    outputs = Value(_text)
    """Paths of the outputs of the nights that are kept, as JSON."""

    accepted_list = Value(_text)
    """The list that was accepted last, as JSON: numbers of `harvester.nightly.changed_list.Accepted`."""

    rates = Value(_text)
    """The rates of events that the nights learned, as JSON: numbers of `harvester.nightly.cohorts.Rates`."""
