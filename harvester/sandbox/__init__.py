"""Both services on loopback, as their servers behave, with faults on request: for users, demos and tests alike.

The way in: `Sandbox(SandboxOptions(…))` under `async with`, `run_in_thread` for blocking code, `serve` for the command.
What it does is decided in modules that know no network (`paperbuzz`, `operas`, `records`, `faults`, `monitor`);
`server` and `deliver` bring it onto the wire. Nothing of the client is imported: it must not share its beliefs.
"""

from harvester.sandbox.faults.rates import FAULTS, PATIENCE, Faults, faults_of, parse_faults
from harvester.sandbox.limits import LimitViolation, busiest_window, quota_violations, rate_violations
from harvester.sandbox.options import DEMO_ACCOUNTS, Account, PlannedOutage, SandboxOptions, Shares
from harvester.sandbox.requestlog import RequestLog
from harvester.sandbox.run import greeting, run_in_thread, serve
from harvester.sandbox.server import Sandbox

__all__ = [
    "DEMO_ACCOUNTS",
    "FAULTS",
    "PATIENCE",
    "Account",
    "Faults",
    "LimitViolation",
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
