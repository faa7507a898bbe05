"""Which request meets which fault. Seed, service, key and attempt decide that, and nothing else.

Above all the order of requests does not matter: two runs over the same list meet the same faults, however many requests
they send at once. How each fault looks on the wire is in `bodies` and `connection`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from harvester.core.errors import Usage
from harvester.sandbox.service import READ_FROM, SERVICES, WRITTEN_TO, ServiceName

_ALL, _READ, _WRITE = SERVICES, READ_FROM, WRITTEN_TO

FAULTS: dict[str, tuple[tuple[ServiceName, ...], str]] = {
    "slow": (_ALL, "the right answer, `slow_seconds` late"),
    "400": (_READ, "400 as HTML, from a gateway"),
    "429": (_ALL, "429 without Retry-After"),
    "429-seconds": (_ALL, "429, Retry-After in seconds"),
    "429-date": (_ALL, "429, Retry-After as a date"),
    "500": (_ALL, "500 as HTML, as both servers answer it"),
    "502": (_ALL, "502 as HTML, from a gateway"),
    "503": (_ALL, "503 as HTML, from a router that gave up"),
    "503-seconds": (_ALL, "503, Retry-After in seconds"),
    "504": (_ALL, "504 as HTML, from a gateway"),
    "reset": (_ALL, "the connection is reset before a byte of the answer"),
    "reset-mid": (_ALL, "the connection is reset in the middle of the body"),
    "close": (_ALL, "the connection is closed without a byte"),
    "truncated": (_ALL, "a Content-Length larger than the body, then the end"),
    "drip": (_READ, "the right answer in small pieces over `slow_seconds`"),
    "hang": (_ALL, "no byte for `hang_seconds`; a POST is not carried out"),
    "loris": (_ALL, "one byte of headers at a time, for `hang_seconds`"),
    "endless": (_READ, "a body without end"),
    "wrong-doi": (_READ, "a good record of another DOI"),
    "json-error": (_READ, "an error as JSON with status 200"),
    "surplus": (_READ, "the right answer, and 20 ms later one that nobody asked for"),
    "not-a-record": (_READ, "valid JSON that is no record"),
    "bad-json": (_READ, "a record cut off in the middle, with the right length"),
    "nan": (_READ, "a record holding NaN and Infinity"),
    "surrogate": (_READ, "a record holding a lone surrogate"),
    "deep": (_READ, "a record nested 100,000 levels deep"),
    "huge-number": (_READ, "a record holding a number of 5,000 digits"),
    "bom": (_READ, "a record after a byte order mark"),
    "not-utf8": (_READ, "a record holding Latin-1 bytes"),
    "escape": (_READ, "a record whose title holds terminal escape sequences"),
    "charset": (_READ, "a record labelled as UTF-16"),
    "html200": (_ALL, "a web page with status 200"),
    "empty-body": (_ALL, "200 and nothing"),
    "bad-gzip": (_READ, "Content-Encoding: gzip before bytes that are none"),
    "gzip-bomb": (_READ, "300 KB of gzip that unfold to `bomb_bytes`"),
    "redirect-other": (_ALL, "302 to another host"),
    "redirect-same": (_READ, "302 to the same record on the same origin, which then answers"),
    "redirect-loop": (_READ, "302 to itself"),
    "stored-reset": (_WRITE, "carried out, then the connection is reset"),
    "stored-hang": (_WRITE, "carried out, then no answer for `hang_seconds`"),
    "stored-502": (_WRITE, "carried out, then 502 from a gateway"),
    "401": (_WRITE, "401: the token has expired before its time"),
    "413": (_WRITE, "413 from a gateway"),
}
"""Every fault: the services that can show it, and what it is."""

TIMEOUTS = frozenset({"hang", "loris", "stored-hang"})
"""Faults that end only when the client gives up. `all` leaves them out, because each costs a whole timeout."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How often which fault occurs, and how long or large faults are.

    Args:
        rates: share of requests from 0 to 1, by name of the fault, or by `SERVICE.NAME` for one service alone.
        sticky: whether all attempts for one key meet the same fault.
        heal_after: how many attempts for one key may meet faults; later ones meet none. None for no limit.
        retry_after_seconds: value of Retry-After in `429-seconds`, `429-date` and `503-seconds`.
        slow_seconds: how long `slow` and `drip` take.
        hang_seconds: how long silence lasts if the client does not hang up before.
        bomb_bytes: size of `gzip-bomb` when unfolded.

    Raises:
        Usage: a name is unknown, a rate is not from 0 to 1, or the rates of a service exceed 1 together.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    sticky: bool = False
    heal_after: int | None = None
    retry_after_seconds: int = 1
    slow_seconds: float = 2.0
    hang_seconds: float = 120.0
    bomb_bytes: int = 300_000_000

    def __post_init__(self) -> None:
        for name, rate in self.rates.items():
            if not any(_applies(name, service) for service in SERVICES):
                raise Usage(f"sandbox: no fault is called {name!r}; known: {', '.join(FAULTS)}")
            if not 0 <= rate <= 1:
                raise Usage(f"sandbox: the rate of {name} must be from 0 to 1, not {rate}")
        for service in SERVICES:
            total = sum(rate for _, rate in self.table(service))
            if total > 1 + 1e-9:
                raise Usage(f"sandbox: the fault rates of {service} make {total:.2f} together; at most 1 is possible")

    def table(self, service: ServiceName) -> list[tuple[str, float]]:
        """The faults of this service with their rates, in a fixed order."""
        found: dict[str, float] = {}
        for name, rate in self.rates.items():
            if _applies(name, service):
                plain = name.rpartition(".")[2]
                found[plain] = found.get(plain, 0.0) + rate
        return sorted(found.items())

    def pick(self, seed: int, service: ServiceName, key: str, attempt: int) -> str | None:
        """The fault of one request, or None.

        Args:
            seed: of the sandbox.
            service: that is asked.
            key: what is asked for, such as a DOI.
            attempt: 1 for the first request for this key.
        """
        if not self.rates or (self.heal_after is not None and attempt > self.heal_after):
            return None
        point = chance(seed, service, key, 0 if self.sticky else attempt)
        for name, rate in self.table(service):
            if point < rate:
                return name
            point -= rate
        return None


def chance(seed: int, *parts: object) -> float:
    """A number from 0 to below 1, drawn at random, but always the same for the same arguments."""
    text = "\x1f".join(map(str, (seed, *parts))).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") / 2**64


def parse_faults(text: str) -> Faults:
    """Read `all=0.05` or `429=0.1,reset=0.02,operas.500=0.01,heal=2`.

    With `all=0.05` five in a hundred requests meet some fault. Every kind is equally likely, except those that cost a
    whole timeout, which are left out. The other settings are `sticky=1`, `heal=N`, `retry-after=SECONDS`,
    `slow-seconds=SECONDS`, `hang-seconds=SECONDS` and `bomb-bytes=BYTES`.

    Raises:
        Usage: the text cannot be read, or names something unknown.
    """
    rates: dict[str, float] = {}
    settings: dict[str, float] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (part.strip() for part in item.partition("="))
        try:
            number = float(value)
        except ValueError:
            raise Usage(f"sandbox: {item!r} is no fault; write NAME=RATE, as in 429=0.1") from None
        if not equals:
            raise Usage(f"sandbox: {item!r} has no rate; write NAME=RATE, as in 429=0.1")
        (settings if name in _SETTINGS else rates)[name] = number
    if "all" in rates:
        rates = _spread(rates.pop("all"), rates)
    return Faults(
        rates=rates,
        sticky=bool(settings.get("sticky", 0)),
        heal_after=int(settings["heal"]) if "heal" in settings else None,
        retry_after_seconds=int(settings.get("retry-after", 1)),
        slow_seconds=settings.get("slow-seconds", 2.0),
        hang_seconds=settings.get("hang-seconds", 120.0),
        bomb_bytes=int(settings.get("bomb-bytes", 300_000_000)),
    )


_SETTINGS = frozenset({"sticky", "heal", "retry-after", "slow-seconds", "hang-seconds", "bomb-bytes"})


def _spread(share: float, others: Mapping[str, float]) -> dict[str, float]:
    """Add the share `all` to the rates, spread evenly over the faults of each service."""
    rates = dict(others)
    for service in SERVICES:
        names = faults_of(service)
        for name in names:
            full = f"{service}.{name}"
            rates[full] = rates.get(full, 0.0) + share / len(names)
    return rates


def faults_of(service: ServiceName, *, with_timeouts: bool = False) -> list[str]:
    """Names of the faults that a service can show; those that cost a whole timeout only on request."""
    known = [name for name, (services, _) in FAULTS.items() if service in services]
    return [name for name in known if with_timeouts or name not in TIMEOUTS]


def _applies(name: str, service: ServiceName) -> bool:
    before, dot, plain = name.rpartition(".")
    if dot and before != service:
        return False
    return plain in FAULTS and service in FAULTS[plain][0]
