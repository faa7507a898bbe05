"""Run a night and tell others how it goes: systemd, Prometheus, a ping service."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import replace

from harvester.config.credentials import Secret, require_email
from harvester.config.settings import Settings
from harvester.core.clock import ClockWatch
from harvester.core.errors import Interrupted, LockHeld, StopRun
from harvester.core.tasks import until_stopped
from harvester.core.text.sanitize import MAX_SHOWN, masked
from harvester.harvest.from_settings import network
from harvester.harvest.job import Context
from harvester.monitoring.courtesy import courtesy
from harvester.monitoring.healthchecks import Signal, ping
from harvester.monitoring.prometheus import write_failure, write_metrics
from harvester.monitoring.systemd import notify, watchdog_seconds
from harvester.nightly.job import nightly_job
from harvester.nightly.report import write_failure_page
from harvester.nightly.run import nightly
from harvester.reports.summary import Summary
from harvester.transport.aiohttp import AiohttpTransport

STATUS_SECONDS = 10.0
"""How often systemd is told how far the night is."""


METRICS_SECONDS = 10.0
"""How long writing the metrics may take: their folder may be on a disk that hangs."""


BUG = StopRun.exit_code
"""The exit code that is reported if the night ends neither with a summary nor with a `StopRun`."""


async def nightly_and_notify(
    settings: Settings,
    password: Callable[[], Secret | None],
    context: Context,
    environ: Mapping[str, str],
    *,
    wait_lock: bool = False,
    accepts_list: bool = False,
) -> Summary:
    """Run a night and tell systemd, Prometheus and a ping service how it goes and how it ended; see `nightly`.

    Args:
        settings: of the nights.
        password: looks up the password of the OPERAS account; returns None if nothing is to be registered.
        context: what is passed in from outside.
        environ: shows whether systemd listens.
        wait_lock: wait for another run on the same ledger.
        accepts_list: a person accepts the list as it is now.

    Returns:
        The summary of the last night that was worked on.

    Raises:
        StopRun: no night could begin, or one had to end without a summary. It is reported as well.
    """
    watch = ClockWatch(context.clock)
    code, reason, summary = BUG, "a mistake in harvester itself; see the log", None
    systemd = _Systemd(context, environ, watch)
    heartbeat = asyncio.create_task(systemd.beat())
    try:
        await until_stopped(_ping(settings, "start"), context.stop, grace_seconds=0)
        secret = password()
        require_email(settings.paperbuzz.email)
        job = replace(nightly_job(settings, secret), accepts_list=accepts_list)
        summary = await nightly(job, context, wait_lock=wait_lock, watch=watch, ready=systemd.ready)
        code, reason = summary.exit.code, summary.exit.reason
    except StopRun as problem:
        code, reason = problem.exit_code, str(problem)
        if not isinstance(problem, LockHeld | Interrupted):  # whoever holds the lock writes a page
            with courtesy("the page of the night"):
                await asyncio.to_thread(write_failure_page, settings.output.path or "", problem, context.clock.now())
        raise
    finally:
        heartbeat.cancel()
        notify(environ, "STOPPING=1")
        await _write_metrics(settings, context, code, summary)
        await _ping(settings, code, masked(reason, MAX_SHOWN))
    return summary


async def _ping(settings: Settings, signal: Signal, verdict: str = "") -> None:
    """Ping, if there is an address for it."""
    if url := settings.metrics.ping_url:
        with courtesy("the ping"):
            async with AiohttpTransport(connections=1, network=network(settings, os.environ)) as transport:
                await ping(transport, url, signal, verdict)


async def _write_metrics(settings: Settings, context: Context, code: int, summary: Summary | None) -> None:
    """Write the metrics of the night, or those of a failed one, if there is a file for them."""
    if path := settings.metrics.textfile:
        ended = context.clock.now()
        with courtesy("writing the metrics", more="See [metrics] textfile."):
            async with asyncio.timeout(METRICS_SECONDS):
                if summary is not None:
                    await asyncio.to_thread(write_metrics, path, summary)
                else:
                    await asyncio.to_thread(write_failure, path, code, ended)


class _Systemd:
    """Tells systemd how far the night is.

    Args:
        context: has the figures.
        environ: shows whether systemd listens.
        watch: looks at the clock at each message.
    """

    def __init__(self, context: Context, environ: Mapping[str, str], watch: ClockWatch) -> None:
        self._tally, self._environ, self._watch = context.tally, environ, watch
        self._is_ready = False

    def ready(self) -> None:
        """Say that the night has begun. It is said again with each message: one may be dropped."""
        self._is_ready = True
        notify(self._environ, "READY=1")

    async def beat(self) -> None:
        """Send how far the night is, often enough for the watchdog of systemd."""
        # Half the watchdog's time, so that one late message does not get us killed.
        pause = min((watchdog_seconds(self._environ) or 2 * STATUS_SECONDS) / 2, STATUS_SECONDS)
        while True:
            with courtesy("telling systemd"):
                notify(self._environ, *["READY=1"] * self._is_ready, "WATCHDOG=1", f"STATUS={self._status()}")
            await asyncio.sleep(pause)
            self._watch.look()

    def _status(self) -> str:
        tally = self._tally
        done = tally.results + tally.failures
        waiting = f", waiting for {tally.waiting_for}" if tally.waiting_for else ""
        return f"{done:,} of {done + tally.pending:,} works{waiting}"
