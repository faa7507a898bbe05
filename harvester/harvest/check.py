"""Is everything in place for a harvest? Nothing is harvested or registered here."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from harvester.config.credentials import require_email
from harvester.core.clock import Clock
from harvester.core.errors import GiveUp, Misconfigured, ServiceDown, StopRun, TryAgain
from harvester.core.ownership import refuse_others_file
from harvester.core.tally import Tally
from harvester.core.text.wording import counted
from harvester.harvest.inputs import read_inputs
from harvester.harvest.job import Account, Context, Upstream
from harvester.harvest.services import PROVIDERS, open_operas, open_provider
from harvester.harvest.witnesses import NOT_FOUND
from harvester.lists import ListOptions, check_options
from harvester.lists.inputs import STDIN
from harvester.monitoring.prometheus import METRICS
from harvester.politeness.state import state_folder
from harvester.records.kinds import LOCK
from harvester.storage.lock import lock_file, refuse_network, refuse_strange_sidecars
from harvester.storage.paths import Paths, check_paths, own_files, require_ledger
from harvester.storage.store import Store

API_VERSION = "v0/"
"""The last part of the service's address, which is easily forgotten."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        what: it is.
        message: how it is.
        problem: why it is not as it should be; None if it is.
    """

    what: str
    message: str
    problem: StopRun | None = None


@dataclass(frozen=True, slots=True)
class Setup:
    """What a harvest would use.

    Args:
        upstream: who gives the records.
        account: looks the OPERAS account up; None where nothing is to be registered.
        inputs: lists to read.
        options: how they are read.
        paths: looks up where the records and all other files go; None if that is not set.
        textfile: for Prometheus; None without one.
        nights: looks whether the settings are those of nights; says so, or what they lack.
    """

    upstream: Upstream
    account: Callable[[], Account] | None
    inputs: tuple[str, ...]
    options: ListOptions
    paths: Callable[[], Paths] | None
    textfile: Path | None
    nights: Callable[[], str] | None = None


async def check(setup: Setup, context: Context, *, offline: bool) -> AsyncIterator[Finding]:
    """Look at files, credentials and both services, in the order in which a run needs them.

    Args:
        setup: to be checked; that its settings could be read is the first finding.
        context: its clock, and its stop, which ends the reading of lists.
        offline: leave the network out.
    """
    clock = context.clock
    yield Finding("settings", "read and understood")
    looks = {"e-mail": _email, "output": _output, "metrics": _metrics, "daily budget": _budget}
    for what, look in looks.items():
        yield _found(what, partial(look, setup))
        if what == "e-mail":
            for finding in await _inputs(setup, context):
                yield finding
    if setup.nights:
        yield _found("nights", setup.nights)
    # Looked up before anything is asked: once the password was read it is masked in all that is told.
    account = _found("OPERAS account", partial(_account, setup.account)) if setup.account else None
    if offline:
        if account:
            yield account
        yield Finding("services", "not asked (--offline)")
        return
    base_url = setup.upstream.limits.base_url
    title = PROVIDERS[setup.upstream.name].title
    yield await _asked(title, f"{base_url} answers", _ask_provider(setup.upstream, clock), base_url)
    if setup.account:
        yield await _asked_operas(setup.account, clock)
    else:
        yield Finding("OPERAS", "registration is off; switch it on with --register or [operas] enabled = true")


def _account(account: Callable[[], Account]) -> str:
    return account().email + ", with a password"


def _found(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, look())
    except StopRun as problem:
        return Finding(what, str(problem), problem)


async def _asked_operas(account: Callable[[], Account], clock: Clock) -> Finding:
    try:
        known = account()
    except StopRun as problem:
        return Finding("OPERAS", str(problem), problem)
    base_url = known.limits.base_url
    return await _asked("OPERAS", f"{base_url} answers and accepts the account", _ask_operas(known, clock), base_url)


async def _asked(name: str, well: str, ask: Awaitable[None], base_url: str) -> Finding:
    try:
        await ask
    except StopRun as problem:
        return Finding(name, str(problem), problem)
    except (TryAgain, GiveUp) as error:
        down = ServiceDown(f"{base_url} does not answer as it should: {error}. Is the address right? Try again later.")
        return Finding(name, str(down), down)
    return Finding(name, well)


async def _ask_provider(upstream: Upstream, clock: Clock) -> None:
    """Ask for the status page and for one record: other addresses of the same server have the same status page."""
    base_url = upstream.limits.base_url
    async with open_provider(upstream, clock=clock, tally=Tally()) as (provider, _):
        await provider.alive()
        try:
            await provider.record(upstream.reference_doi)
        except (TryAgain, GiveUp) as error:
            problem = error
        else:
            return
    if problem.status == NOT_FOUND:
        raise Misconfigured(f"{base_url} has a status page, but no DOIs (404). {await _better(upstream, clock)}")
    raise ServiceDown(
        f"{base_url} answers, but gives no record of {upstream.reference_doi}: {problem}. Is the address right, and "
        "does the service know this DOI ([paperbuzz] reference_doi)? Otherwise try again later."
    )


async def _better(upstream: Upstream, clock: Clock) -> str:
    """What to do about an address without DOIs: perhaps only its last part is missing."""
    base_url = upstream.limits.base_url + API_VERSION
    longer = replace(upstream, limits=replace(upstream.limits, base_url=base_url))
    async with open_provider(longer, clock=clock, tally=Tally()) as (provider, _):
        try:
            await provider.record(upstream.reference_doi)
        except (TryAgain, GiveUp):
            return f"Look at [{upstream.name}] base_url."
    return f"They are at {base_url}: make that [{upstream.name}] base_url."


async def _ask_operas(account: Account, clock: Clock) -> None:
    async with open_operas(account, clock=clock, tally=Tally()) as (operas, _):
        await operas.token()


def _email(setup: Setup) -> str:
    return require_email(setup.upstream.email)


async def _inputs(setup: Setup, context: Context) -> list[Finding]:
    """Read the lists as a run or a night reads them, into a ledger that is gone afterwards."""
    files = [name for name in setup.inputs if name != STDIN]  # what will come over stdin nobody knows yet
    if not files:
        return [Finding("inputs", "none in the settings; name them to harvester run")]
    own: list[Path] = []
    with suppress(StopRun):  # of the output; it has a finding of its own
        own = own_files(setup.paths()) if setup.paths else []
    unread: list[StopRun] = []
    quiet = replace(context, warn=lambda _: None)
    try:
        check_options(setup.options)
        async with Store(None, None) as store:
            reading = await read_inputs(store, files, setup.options, quiet, own=own, unread=unread)
    except StopRun as problem:
        return [Finding("inputs", str(problem), problem)]
    found = f"{counted(reading.works, 'work')} in {counted(reading.lines, 'line')}; {reading.invalid:,} are no DOIs"
    return [*(Finding("inputs", str(problem), problem) for problem in unread), Finding("inputs", found)]


def _output(setup: Setup) -> str:
    """As a run checks it, so that both end with the same exit code."""
    if not setup.paths:
        return "none in the settings; name it to harvester run with -o"
    paths = setup.paths()
    if setup.account:
        require_ledger(paths)
    check_paths(setup.inputs, paths)
    if paths.ledger:
        refuse_network(paths.ledger.resolve().parent)
        refuse_others_file(lock_file(paths.ledger), LOCK)
        refuse_strange_sidecars(paths.ledger)
    return str(paths.output or "stdout")


def _metrics(setup: Setup) -> str:
    path = setup.textfile
    if path is None:
        return "none"
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise Misconfigured(
            f"[metrics] textfile: the folder {folder} is missing or not writable. A harvest would go on without."
        )
    try:
        refuse_others_file(path, METRICS)
    except StopRun as problem:
        raise Misconfigured(f"[metrics] textfile: {problem} A harvest would go on without.") from None
    return str(path)


def _budget(setup: Setup) -> str:
    state_folder()  # without one there is neither budget nor rate
    budget = setup.upstream.limits.daily_budget
    return f"{budget:,} requests in 24 hours" if budget else "none"
