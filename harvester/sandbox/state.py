"""The state of a sandbox: what outlives a request, what can be switched while it runs, and whether limits were kept.

`control`, `page` and `exchange` work on this state. `server` adds the listening. The table of stand-ins is here, too.
"""

from collections import Counter

from harvester.core.clock import SystemClock
from harvester.sandbox import limits
from harvester.sandbox.faults.rates import Faults
from harvester.sandbox.gate import Gate
from harvester.sandbox.operas.service import Operas
from harvester.sandbox.options import OutageKind, SandboxOptions
from harvester.sandbox.paperbuzz.service import Paperbuzz
from harvester.sandbox.requestlog import RequestLog
from harvester.sandbox.service import ServiceName, StandIn


class SandboxState:
    """Everything about a sandbox except the socket it listens on.

    Args:
        options: how it behaves.

    Attributes:
        faults: the present rates of faults; see `set_faults`.
        latency_seconds: added to every answer of Paperbuzz. May be changed at any time.
        day: the present simulated day; see `advance`.
        port: that it listens on; 0 until then.
        log: every request to a service, in order.
        gate: the limit on requests that Paperbuzz serves at a time; see `set_capacity`.
        paperbuzz: the stand-in for Paperbuzz.
        operas: the stand-in for OPERAS. `operas.registered` maps each DOI to its URLs.
        services: all stand-ins by name. The server finds them here.
        same_doi: how many requests for one DOI were served at once. `same_doi.most` should be 1.
        posts_at_once: the same for POSTs of one account.
        strayed: requests that followed a redirect to another host. There should be none.
        started_at: monotonic seconds when it began to listen. Planned outages are counted from then.
    """

    def __init__(self, options: SandboxOptions | None = None) -> None:
        self.options = options or SandboxOptions()
        self.faults = self.options.faults
        self.latency_seconds = self.options.latency_seconds
        self.day = self.options.day
        self.port = 0
        self.clock = SystemClock()
        self.log = RequestLog(self.options.log_path, self.options.log_entries)
        self.gate = Gate(self.options.capacity)
        self.paperbuzz = Paperbuzz(self.options, lambda: self.day)
        self.operas = Operas(self.options, self.clock)
        self.services: dict[ServiceName, StandIn] = {each.name: each for each in (self.paperbuzz, self.operas)}
        self.same_doi = self.paperbuzz.overlaps
        self.posts_at_once = self.operas.overlaps
        self.strayed = 0
        self.started_at = 0.0
        self._outages: dict[ServiceName, OutageKind] = {}
        self._attempts: Counter[tuple[ServiceName, str]] = Counter()

    @property
    def url(self) -> str:
        """Where its page for people is. Ends with a slash."""
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        return f"http://{host}:{self.port}/"

    @property
    def paperbuzz_url(self) -> str:
        """The value for harvester's setting `[paperbuzz] base_url`. Ends with a slash."""
        return self.base_url("paperbuzz")

    @property
    def operas_url(self) -> str:
        """The value for harvester's setting `[operas] base_url`. Has no slash at its end."""
        return self.base_url("operas")

    def base_url(self, service: ServiceName) -> str:
        """The address of a service's API."""
        return f"{self.url}{service}/{self.services[service].api_path}"

    def advance(self, days: int = 1) -> int:
        """Let simulated days pass, in which DOIs gain events. Returns the new day."""
        self.day += days
        return self.day

    def set_faults(self, faults: Faults) -> None:
        """Replace the rates of faults, from the next request on."""
        self.faults = faults

    def set_outage(self, service: ServiceName, kind: OutageKind | None = "503") -> None:
        """Take a service down, or bring it up again with None."""
        if kind is None:
            self._outages.pop(service, None)
        else:
            self._outages[service] = kind

    def set_capacity(self, capacity: int | None) -> None:
        """Change how many requests Paperbuzz serves at a time; None for no limit."""
        self.gate.set_limit(capacity)

    def outage(self, service: ServiceName) -> OutageKind | None:
        """How the service is down at this moment; None if it is up."""
        if service in self._outages:
            return self._outages[service]
        since_start = self.clock.monotonic() - self.started_at
        for outage in self.options.outages:
            if outage.service == service and 0 <= since_start - outage.start_seconds < outage.seconds:
                return outage.kind
        return None

    def count_attempt(self, service: ServiceName, key: str) -> int:
        """Count one more request for this key. Returns how many there have been."""
        self._attempts[service, key] += 1
        return self._attempts[service, key]

    def planned_fault(self, service: ServiceName, key: str, attempt: int) -> str | None:
        """The fault that this attempt for this key meets; None if there is none.

        It depends on nothing but the seed, the rates of faults and these arguments.
        """
        named = self.services[service].named_fault(key, attempt)
        return named or self.faults.pick(self.options.seed, service, key, attempt)

    def rate_violations(
        self, rate: float | None = None, burst: float | None = None, *, slack_seconds: float | None = None
    ) -> list[limits.LimitViolation]:
        """Windows in which Paperbuzz saw more requests than a rate allows.

        Args:
            rate: requests per second; None for the option `watch_rate`. If that is None, too, nothing is watched.
            burst: requests allowed beyond the rate; None for the option `watch_burst`.
            slack_seconds: how much closer together requests may arrive; None for the option `watch_slack_seconds`.
        """
        rate = self.options.watch_rate if rate is None else rate
        if rate is None:
            return []
        burst = self.options.watch_burst if burst is None else burst
        slack = self.options.watch_slack_seconds if slack_seconds is None else slack_seconds
        return limits.rate_violations(self.log.times("paperbuzz")[0], rate, burst, slack_seconds=slack)

    def quota_violations(self, quota: int) -> list[limits.LimitViolation]:
        """UTC days, and 24 hours in a row, in which Paperbuzz saw more requests than this."""
        return limits.quota_violations(self.log.times("paperbuzz")[1], quota)
