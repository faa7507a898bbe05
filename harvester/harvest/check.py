"""`check` and `status`: is everything in place, and how far is it? Nothing is harvested here."""

import os
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harvester.config.credentials import operas_account, operas_password, require_email
from harvester.config.limits import operas_limits, paperbuzz_limits
from harvester.config.settings import Settings
from harvester.core.clock import Clock
from harvester.core.errors import GiveUp, InputMissing, Misconfigured, ServiceDown, StopRun, TryAgain
from harvester.core.tally import Tally
from harvester.harvest.services import open_operas, open_paperbuzz
from harvester.lists.inputs import expand
from harvester.storage.lock import refuse_network


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


async def check(
    settings: Settings, environ: Mapping[str, str], clock: Clock, *, offline: bool
) -> AsyncIterator[Finding]:
    """Look at settings, files, credentials and both services, in the order in which a run needs them.

    Args:
        settings: to be checked; that they could be read is the first finding.
        environ: for the password.
        clock: time.
        offline: leave the network out.
    """
    yield Finding("settings", "read and understood")
    looks = {"e-mail": _email, "inputs": _inputs, "output": _output, "metrics": _metrics, "daily budget": _budget}
    for what, look in looks.items():
        try:
            yield Finding(what, look(settings))
        except StopRun as problem:
            yield Finding(what, str(problem), problem)
    if offline:
        if settings.operas.enabled:
            yield _account(settings, environ)
        yield Finding("services", "not asked (--offline)")
        return
    yield await _asked("Paperbuzz", settings.paperbuzz.base_url, _ask_paperbuzz(settings, clock))
    if settings.operas.enabled:
        yield await _asked("OPERAS", settings.operas.base_url, _ask_operas(settings, environ, clock))
    else:
        yield Finding("OPERAS", "registration is off; switch it on with --register or [operas] enabled = true")


def _account(settings: Settings, environ: Mapping[str, str]) -> Finding:
    try:
        operas_password(settings, environ)
        return Finding("OPERAS account", operas_account(settings) + ", with a password")
    except StopRun as problem:
        return Finding("OPERAS account", str(problem), problem)


async def _asked(name: str, base_url: str, ask: Awaitable[None]) -> Finding:
    try:
        await ask
    except StopRun as problem:
        return Finding(name, str(problem), problem)
    except (TryAgain, GiveUp) as error:
        down = ServiceDown(f"{base_url} does not answer as it should: {error}. Is the address right? Try again later.")
        return Finding(name, str(down), down)
    return Finding(name, f"{base_url} answers{' and accepts the account' if name == 'OPERAS' else ''}")


async def _ask_paperbuzz(settings: Settings, clock: Clock) -> None:
    email = require_email(settings)
    async with open_paperbuzz(paperbuzz_limits(settings), email, clock=clock, tally=Tally()) as (provider, _):
        await provider.alive()


async def _ask_operas(settings: Settings, environ: Mapping[str, str], clock: Clock) -> None:
    password = operas_password(settings, environ)
    account, limits = operas_account(settings), operas_limits(settings)
    async with open_operas(limits, account, password, clock=clock, tally=Tally()) as (operas, _):
        await operas.token()


def _email(settings: Settings) -> str:
    return require_email(settings)


def _inputs(settings: Settings) -> str:
    files = expand(settings.input.files, lambda _: None)
    for name in files:
        if name != "-" and not os.access(name, os.R_OK):
            raise InputMissing(f"{name} cannot be read.")
    return f"{len(files):,} files" if files else "none in the settings; name them to harvester run"


def _output(settings: Settings) -> str:
    if not settings.output.path:
        return "none in the settings; name it to harvester run with -o"
    for path in (Path(settings.output.path), settings.ledger.path or Path(settings.output.path)):
        if not path.absolute().parent.is_dir():
            raise Misconfigured(f"the folder {path.absolute().parent} does not exist.")
        if not os.access(path.absolute().parent, os.W_OK):
            raise Misconfigured(f"the folder {path.absolute().parent} is not writable.")
    refuse_network((settings.ledger.path or Path(settings.output.path)).absolute().parent)
    return settings.output.path


def _metrics(settings: Settings) -> str:
    path = settings.metrics.textfile
    if path is None:
        return "none"
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise Misconfigured(
            f"[metrics] textfile: the folder {folder} is missing or not writable. A harvest would go on without."
        )
    return str(path)


def _budget(settings: Settings) -> str:
    if not settings.paperbuzz.daily_budget:
        return "none"
    return f"{settings.paperbuzz.daily_budget:,} requests in 24 hours"
