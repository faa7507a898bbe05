"""Is everything in place for a harvest? Nothing is harvested or registered here."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harvester.config.credentials import require_email
from harvester.core.clock import Clock
from harvester.core.errors import GiveUp, Misconfigured, ServiceDown, StopRun, TryAgain
from harvester.core.tally import Tally
from harvester.harvest.job import Account, Upstream
from harvester.harvest.services import PROVIDERS, open_operas, open_provider
from harvester.lists import ListOptions, check_options
from harvester.lists.inputs import expand
from harvester.storage.lock import refuse_network
from harvester.storage.paths import check_paths, job_paths, require_ledger


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
        output: where the records go; None if that is not set.
        ledger: where it is not beside the output.
        failures: where they are not beside the output.
        textfile: for Prometheus; None without one.
    """

    upstream: Upstream
    account: Callable[[], Account] | None
    inputs: tuple[str, ...]
    options: ListOptions
    output: str | None
    ledger: Path | None
    failures: Path | None
    textfile: Path | None


async def check(setup: Setup, clock: Clock, *, offline: bool) -> AsyncIterator[Finding]:
    """Look at files, credentials and both services, in the order in which a run needs them.

    Args:
        setup: to be checked; that its settings could be read is the first finding.
        clock: time.
        offline: leave the network out.
    """
    yield Finding("settings", "read and understood")
    looks = {"e-mail": _email, "inputs": _inputs, "output": _output, "metrics": _metrics, "daily budget": _budget}
    for what, look in looks.items():
        yield _found(what, partial(look, setup))
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
    async with open_provider(upstream, clock=clock, tally=Tally()) as (provider, _):
        await provider.alive()
        try:
            await provider.record(upstream.reference_doi)
        except (TryAgain, GiveUp) as error:
            raise ServiceDown(
                f"{upstream.limits.base_url} answers, but gives no record of {upstream.reference_doi}: {error}. Is the "
                "address right, and does the service know this DOI ([paperbuzz] reference_doi)? Otherwise try again "
                "later."
            ) from None


async def _ask_operas(account: Account, clock: Clock) -> None:
    async with open_operas(account, clock=clock, tally=Tally()) as (operas, _):
        await operas.token()


def _email(setup: Setup) -> str:
    return require_email(setup.upstream.email)


def _inputs(setup: Setup) -> str:
    check_options(setup.options)
    files = expand(setup.inputs, lambda _: None)
    return f"{len(files):,} files" if files else "none in the settings; name them to harvester run"


def _output(setup: Setup) -> str:
    """As a run checks it, so that both end with the same exit code."""
    if not setup.output:
        return "none in the settings; name it to harvester run with -o"
    paths = job_paths(setup.output, ledger=setup.ledger, failures=setup.failures)
    if setup.account:
        require_ledger(paths)
    check_paths(setup.inputs, paths)
    if paths.ledger:
        refuse_network(paths.ledger.resolve().parent)
    return setup.output


def _metrics(setup: Setup) -> str:
    path = setup.textfile
    if path is None:
        return "none"
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise Misconfigured(
            f"[metrics] textfile: the folder {folder} is missing or not writable. A harvest would go on without."
        )
    return str(path)


def _budget(setup: Setup) -> str:
    budget = setup.upstream.limits.daily_budget
    return f"{budget:,} requests in 24 hours" if budget else "none"
