"""The services on this machine: stand-ins that behave as the real servers do, and that show faults on request.

The way in is `Sandbox(SandboxOptions(…))` under `async with`, `run_in_thread` for blocking code, or `serve` for the
command. What one service answers is in its own folder, faults are in `faults`, and nothing of the clients is used here.
"""

from harvester.sandbox.faults.rates import FAULTS, TIMEOUTS, Faults, faults_of, parse_faults
from harvester.sandbox.limits import LimitViolation, busiest_window, quota_violations, rate_violations
from harvester.sandbox.options import DEMO_ACCOUNTS, Account, PlannedOutage, SandboxOptions, Shares
from harvester.sandbox.page import greeting
from harvester.sandbox.requestlog import LoggedRequest, RequestLog
from harvester.sandbox.run import run_in_thread, serve
from harvester.sandbox.server import Sandbox

__all__ = [
    "DEMO_ACCOUNTS",
    "FAULTS",
    "TIMEOUTS",
    "Account",
    "Faults",
    "LimitViolation",
    "LoggedRequest",
    "PlannedOutage",
    "RequestLog",
    "Sandbox",
    "SandboxOptions",
    "Shares",
    "busiest_window",
    "faults_of",
    "greeting",
    "parse_faults",
    "quota_violations",
    "rate_violations",
    "run_in_thread",
    "serve",
]
