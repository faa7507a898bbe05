"""Everything that can be set on a sandbox before it starts.

Only values and their defaults are here. What may change while it runs is in `state`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from harvester.sandbox.faults.rates import Faults
from harvester.sandbox.service import ServiceName

OutageKind = Literal["503", "refuse", "400", "500", "json-error", "one-record"]
"""How a service is down: a router answers 503 for it, every connection is reset, a gateway answers 400 to everything.
With the last three the status page still answers: 500, an error as JSON with status 200, one record for all."""

OUTAGE_KINDS: tuple[OutageKind, ...] = get_args(OutageKind)


@dataclass(frozen=True, slots=True)
class Account:
    """An OPERAS account.

    Args:
        email: case-sensitive.
        password: in clear; nothing here is secret.
        name: first name.
        surname: family name.
        authority: `user` or `admin`.
        approved: whether an administrator has approved it. An account that is not approved gets no token (O2).
        confirmed: whether its e-mail address is confirmed. The server gives a token in either case.
    """

    email: str
    password: str = "sandbox"  # noqa: S105 - printed at the start for everybody to use
    name: str = "Demo"
    surname: str = "Account"
    authority: str = "user"
    approved: bool = True
    confirmed: bool = True


DEMO_ACCOUNTS = (
    Account("demo@example.org"),
    Account("unapproved@example.org", approved=False),
    Account("unconfirmed@example.org", confirmed=False),
)


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of DOIs, from 0 to 1, that get a particular kind of record. The others get an ordinary one.

    Args:
        empty: unknown to Crossref and without events. Half of them become known within 14 days.
        degraded: metadata or open-access data are missing. It is drawn anew for each day.
        broken: always answered with a 500, because one of their events cannot be shown (P11).
        quiet: known, without any event.
        giant: about as many events as the server gives at most, or more (P6).
    """

    empty: float = 0.03
    degraded: float = 0.02
    broken: float = 0.005
    quiet: float = 0.47
    giant: float = 0.002


@dataclass(frozen=True, slots=True)
class PlannedOutage:
    """A time, fixed beforehand, in which one service is down.

    Args:
        service: that is down.
        start_seconds: when the outage begins, counted from the start of the sandbox.
        seconds: how long it lasts.
        kind: how it is down.
    """

    service: ServiceName
    start_seconds: float
    seconds: float
    kind: OutageKind = "503"


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """How the sandbox behaves. By default it is fast, has no faults, and answers the same each time.

    Args:
        host: address to listen on.
        port: 0 for any free one.
        seed: of records, faults and latencies.
        faults: what goes wrong, and how often.
        shares: how many DOIs get which kind of record.
        latency_seconds: added to every answer of Paperbuzz.
        jitter_seconds: at most this much more; how much depends on DOI and attempt.
        capacity: requests that Paperbuzz serves at a time, the others wait; None for no limit.
        token_lifetime_seconds: of OPERAS tokens (O1).
        accounts: OPERAS accounts.
        known_prefixes: DOI prefixes that OPERAS knows from the start (O12).
        entry_seconds: time OPERAS takes for each entry of a POST. The real one takes about 0.006 (O3).
        password_seconds: time OPERAS takes to check a password. The real one takes 0.26.
        uriset_drift: share of rows that move in each answer of GET /uriset, because OPERAS promises no order (O8).
        max_body_bytes: of a POST. A longer one is answered with 413, as nginx does by default. None for no limit.
        watch_rate: requests per second that Paperbuzz should not see exceeded; None not to watch.
        watch_burst: requests allowed beyond the rate.
        watch_slack_seconds: how much closer together requests may arrive than they were sent.
        day: simulated days since the first. The later the day, the more events (see `Sandbox.advance`).
        size_scale: factor on the length of abstracts and reference lists.
        reorder: sources come in another order in each answer (P6).
        collide: the second of two first requests for one DOI at once may end with a 500 (P11).
        indented: JSON with indentation, as the public service sends it, instead of compact (P9).
        icon_host: host in `icon_url`; None for the request's Host header, as the real server does.
        outages: planned beforehand; see also `Sandbox.set_outage`.
        log_path: file of JSON Lines, one for each request, written at once; None for no file.
        log_entries: log entries kept in memory; None for all.
        idle_seconds: a connection that is not used is dropped after this long (P12).
    """

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    faults: Faults = field(default_factory=Faults)
    shares: Shares = field(default_factory=Shares)
    latency_seconds: float = 0.0
    jitter_seconds: float = 0.0
    capacity: int | None = None
    token_lifetime_seconds: float = 86_400
    accounts: tuple[Account, ...] = DEMO_ACCOUNTS
    known_prefixes: frozenset[str] = frozenset()
    entry_seconds: float = 0.0
    password_seconds: float = 0.0
    uriset_drift: float = 0.05
    max_body_bytes: int | None = 1024 * 1024
    watch_rate: float | None = None
    watch_burst: float = 1.0
    watch_slack_seconds: float = 0.05
    day: int = 0
    size_scale: float = 1.0
    reorder: bool = False
    collide: bool = False
    indented: bool = False
    icon_host: str | None = "api.paperbuzz.org"
    outages: tuple[PlannedOutage, ...] = ()
    log_path: Path | None = None
    log_entries: int | None = None
    idle_seconds: float = 2.0
