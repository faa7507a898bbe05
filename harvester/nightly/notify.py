"""Run a night and tell others how it goes: systemd, Prometheus, a ping service."""

import asyncio
import logging
from collections.abc import Callable, Mapping

from harvester.config.credentials import Secret, require_email
from harvester.config.settings import Settings
from harvester.core.clock import ClockWatch
from harvester.core.errors import DiskFailed, StopRun
from harvester.harvest.job import Context
from harvester.monitoring.healthchecks import ping
from harvester.monitoring.prometheus import write_failure, write_metrics
from harvester.monitoring.systemd import notify, watchdog_seconds
from harvester.nightly.job import nightly_job
from harvester.nightly.run import nightly
from harvester.reports.summary import Summary
from harvester.transport.aiohttp import AiohttpTransport

log = logging.getLogger("harvester")


STATUS_SECONDS = 10.0
"""How often systemd is told how far the night is."""


BUG = StopRun.exit_code
"""The exit code that is reported if the night ends neither with a summary nor with a `StopRun`."""


async def nightly_and_notify(
    settings: Settings,
    password: Callable[[], Secret | None],
    context: Context,
    environ: Mapping[str, str],
    *,
    wait_lock: bool = False,
) -> Summary:
    """Run a night and tell systemd, Prometheus and a ping service how it goes and how it ended; see `nightly`.

    Args:
        settings: of the nights.
        password: looks up the password of the OPERAS account; returns None if nothing is to be registered.
        context: what is passed in from outside.
        environ: shows whether systemd listens.
        wait_lock: wait for another run on the same ledger.

    Returns:
        The summary of the last night that was worked on.

    Raises:
        StopRun: no night could begin, or one had to end without a summary. It is reported as well.
    """
    url, watch = settings.metrics.ping_url, ClockWatch(context.clock)
    code, reason, summary = BUG, "a mistake in harvester itself; see the log", None
    heartbeat = asyncio.create_task(_heartbeat(context, environ, watch))
    async with AiohttpTransport(connections=1) as transport:
        if url:
            await ping(transport, url, "start")
        try:
            secret = password()
            require_email(settings.paperbuzz.email)
            job = nightly_job(settings, secret)
            summary = await nightly(
                job, context, wait_lock=wait_lock, watch=watch, ready=lambda: notify(environ, "READY=1")
            )
            code, reason = summary.exit.code, summary.exit.reason
        except StopRun as problem:
            code, reason = problem.exit_code, str(problem)
            raise
        finally:
            heartbeat.cancel()
            notify(environ, "STOPPING=1")
            _write_metrics(settings, context, code, summary)
            if url:
                await ping(transport, url, code, reason)
    return summary


def _write_metrics(settings: Settings, context: Context, code: int, summary: Summary | None) -> None:
    """Write the metrics of the night, or those of a failed one. If that fails, it is only logged."""
    if (path := settings.metrics.textfile) is None:
        return
    try:
        if summary is not None:
            write_metrics(path, summary)
        else:
            write_failure(path, code, context.clock.now())
    except DiskFailed as problem:
        log.warning(
            "the metrics, %s, cannot be written: %s. The harvest is not affected; see [metrics] textfile.",
            path,
            problem.__cause__ or problem,
        )


async def _heartbeat(context: Context, environ: Mapping[str, str], watch: ClockWatch) -> None:
    """Tell systemd how far the night is, often enough for its watchdog; look at the clock each time."""
    # Half the watchdog's time, so that one late message does not get us killed.
    pause = (watchdog_seconds(environ) or 2 * STATUS_SECONDS) / 2
    tally = context.tally
    while True:
        done = tally.results + tally.failures
        waiting = f", waiting for {tally.waiting_for}" if tally.waiting_for else ""
        notify(environ, "WATCHDOG=1", f"STATUS={done:,} of {done + tally.pending:,} works{waiting}")
        await asyncio.sleep(min(pause, STATUS_SECONDS))
        watch.look()
