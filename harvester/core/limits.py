"""The limits within which one service may be asked, as plain data."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """How often, how many at a time and how long one service may be asked.

    Each service has its own. The defaults are for a service that has no setting for them.

    Args:
        base_url: of the API, with a slash at its end.
        rate: requests a second.
        burst: requests that may start at once; None for what follows from the rate.
        daily_budget: requests in any 24 hours; 0 for no limit.
        concurrency: requests that may be under way at a time, at the most.
        timeout: total time for one request, in seconds.
        max_attempts: attempts for one work.
        patience: how long the service may be down before the run ends, in seconds.
        max_body: cap on the decompressed body of an answer, in bytes.
    """

    base_url: str
    rate: float
    burst: float | None = None
    daily_budget: int = 0
    concurrency: int = 1
    timeout: float = 60.0
    max_attempts: int = 5
    patience: float = 2 * 3600.0
    max_body: int = 32 * 2**20
