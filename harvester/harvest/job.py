"""What a run is asked to do, as plain data, and the context it is done in."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from random import Random
from typing import BinaryIO

from harvester.config.credentials import Secret
from harvester.core.clock import Clock
from harvester.core.errors import StopRun
from harvester.core.limits import ServiceLimits
from harvester.core.stop import Stop
from harvester.core.tally import Tally
from harvester.core.urls.landing import LandingPages
from harvester.lists import ListOptions
from harvester.storage.database import WorkState
from harvester.storage.paths import Paths
from harvester.storage.store import ANOTHER_OUTPUT
from harvester.transport.network import Network


class Mode(Enum):
    """Which works of a list a harvest asks for."""

    RESUME = auto()
    """Those that have neither a record nor a failure yet."""

    RETRY_FAILED = auto()
    """Those, and the failed ones."""

    ONLY_FAILED = auto()
    """The failed ones and no others; each stays failed until it has a record or another failure."""

    REFETCH = auto()
    """All, for a new output."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """The provider that records come from.

    Args:
        name: as its section in the settings is called.
        limits: under which it is asked.
        email: sent with each request; None if it is not known.
        reference_doi: a DOI that it must have a record of, by which is told whether it is up where none is known yet.
        landing_urls: whether the URLs that its records give are to be registered.
        compares: whether its records are compared with those before them.
        network: the way to it.
    """

    name: str
    limits: ServiceLimits
    email: str | None
    reference_doi: str
    landing_urls: bool = False
    compares: bool = False
    network: Network = Network()


@dataclass(frozen=True, slots=True)
class Account:
    """The OPERAS account that DOIs are registered for.

    Args:
        limits: under which OPERAS is asked.
        email: of the account.
        password: of the account.
        batch_size: DOIs in one request.
        network: the way to OPERAS.
        register_empty: whether a harvest also registers DOIs whose record is empty.
        pages: tell landing pages from other addresses.
    """

    limits: ServiceLimits
    email: str
    password: Secret
    batch_size: int
    network: Network = Network()
    register_empty: bool = False
    pages: LandingPages = field(default_factory=LandingPages)


@dataclass(frozen=True, slots=True)
class HarvestJob:
    """A list to harvest.

    Args:
        inputs: files, globs, `-` for stdin; none where the works of the last reading are meant.
        options: how they are read.
        paths: where everything goes.
        upstream: who gives the records.
        account: for which results are registered; None if they are not.
        retry_failures: register again what OPERAS refused, and ask again what failed in a refetch that goes on.
        mode: which works are asked.
        enrol_as: state of works that are new in the list: due, or resting until they are chosen.
        wait: wait when the daily budget is used up.
        max_failures: more failures than this end the run with 3; None for any number.
        unattended: no human is present. If OPERAS rejects the account, harvest anyway and leave registration pending.
        advice_if_moved: what to do if the records in the ledger came from another base URL.
        unread: why inputs could not be read; the others are harvested all the same.
    """

    inputs: tuple[str, ...]
    options: ListOptions
    paths: Paths
    upstream: Upstream
    account: Account | None = None
    retry_failures: bool = False
    mode: Mode = Mode.RESUME
    enrol_as: WorkState = WorkState.DUE
    wait: bool = False
    max_failures: int | None = None
    unattended: bool = False
    advice_if_moved: str = ANOTHER_OUTPUT
    unread: tuple[StopRun, ...] = ()


@dataclass(frozen=True, slots=True)
class RegistrationJob:
    """A list to register, without asking anybody for records.

    Args:
        inputs: files, globs, `-` for stdin.
        options: how they are read.
        paths: where everything goes.
        account: for which the DOIs are registered.
    """

    inputs: tuple[str, ...]
    options: ListOptions
    paths: Paths
    account: Account


@dataclass(frozen=True, slots=True)
class Context:
    """What is passed in from outside.

    Args:
        clock: time.
        random: spreads pauses.
        stop: ends the run early.
        tally: the live figures, for whoever shows progress.
        warn: takes a sentence for the user.
        stdin: binary, for the input `-`.
        stdout: binary, for the output `-`.
        state: folder of the daily budget; None for the user's state directory.
    """

    clock: Clock
    random: Random
    stop: Stop
    tally: Tally
    warn: Callable[[str], None]
    stdin: BinaryIO
    stdout: BinaryIO
    state: Path | None = None
