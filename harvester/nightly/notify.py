"""A night, and everybody who wants to know is told how it goes: systemd, Prometheus, a ping service, progress."""

import asyncio
import logging
from collections.abc import Callable, Mapping

from harvester.config.credentials import Secret
from harvester.config.settings import Settings
from harvester.core.clock import ClockWatch
from harvester.core.errors import DiskFailed, StopRun
from harvester.core.sanitize import redacted
from harvester.harvest.job import Context
from harvester.harvest.services import open_plain
from harvester.monitoring.healthchecks import ping
from harvester.monitoring.prometheus import write_failure, write_metrics
from harvester.monitoring.systemd import notify, watchdog_seconds
from harvester.nightly.job import nightly_job
from harvester.nightly.run import nightly
from harvester.reports.summary import Summary

log = logging.getLogger("harvester")


STATUS_SECONDS = 10.0
"""How often systemd is told how far it is."""


BUG = StopRun.exit_code


async def nightly_and_tell(
    settings: Settings,
    password: Callable[[], Secret | None],
    context: Context,
    environ: Mapping[str, str],
    *,
    wait_lock: bool = False,
) -> Summary:
    """A night, and everybody who wants to know is told how it goes and went; see `nightly`.

    Args:
        settings: of the nights.
        password: looks up that of the OPERAS account, if there is to be one.
        context: what is passed in from outside.
        environ: tells whether systemd listens.
        wait_lock: wait for another run on the same ledger.
    """
    url, watch = settings.metrics.ping_url, ClockWatch(context.clock)
    code, reason, report = BUG, "a mistake in harvester itself; see the log", None
    alive = asyncio.create_task(_say_alive(context, environ, watch))
    async with open_plain() as transport:
        if url:
            await ping(transport, url, "start")
        try:
            job = nightly_job(settings, password())
            report = await nightly(
                job, context, wait_lock=wait_lock, watch=watch, ready=lambda: notify(environ, "READY=1")
            )
            code, reason = report.exit.code, report.exit.reason
        except StopRun as problem:
            code, reason = problem.exit_code, str(problem)
            raise
        finally:
            alive.cancel()
            notify(environ, "STOPPING=1")
            _write_metrics(settings, context, code, report)
            if url:
                await ping(transport, url, code, redacted(reason))
    return report


def _write_metrics(settings: Settings, context: Context, code: int, report: Summary | None) -> None:
    """Write the figures, or that there are none; what was harvested stays harvested if that fails."""
    if (path := settings.metrics.textfile) is None:
        return
    try:
        if report is not None:
            write_metrics(path, report)
        else:
            write_failure(path, code, context.clock.now())
    except DiskFailed as problem:
        log.warning(
            "the metrics, %s, cannot be written: %s. The harvest is not affected; see [metrics] textfile.",
            path,
            problem.__cause__ or problem,
        )


async def _say_alive(context: Context, environ: Mapping[str, str], watch: ClockWatch) -> None:
    """Tell systemd how far we are, and, as often as its watchdog wants, that we are still there; watch the clock."""
    pause = (watchdog_seconds(environ) or 2 * STATUS_SECONDS) / 2
    tally = context.tally
    while True:
        done = tally.results + tally.failures
        waiting = f", waiting for {tally.waiting_for}" if tally.waiting_for else ""
        notify(environ, "WATCHDOG=1", f"STATUS={done:,} of {done + tally.pending:,} works{waiting}")
        await asyncio.sleep(min(pause, STATUS_SECONDS))
        watch.look()
