"""The running counts of one run, for progress and for the summary."""

from collections import Counter
from dataclasses import dataclass, field

from harvester.core.model import Figures


@dataclass(slots=True)
class Tally:
    """The live figures of one run; the parts of the run count here, progress reads them.

    Args:
        works: DOIs in the list, each once.
        results: works with a committed record, those of earlier runs included.
        failures: works with a committed failure, those of earlier runs included.
        pending: works with neither.
        registered: works that OPERAS acknowledged.
        rejected: works that OPERAS refuses.
        registration_pending: works that wait in the outbox.
        requests: requests sent in this run, by the name of the service; probes and tokens are included.
        retries: attempts beyond the first of each DOI, in this run.
        bytes: decompressed bytes of records received in this run.
        budget_left: requests left in the daily budget; None without a budget.
        waiting_for: what everything waits for, in words; empty while work goes on.
    """

    works: int = 0
    results: int = 0
    failures: int = 0
    pending: int = 0
    registered: int = 0
    rejected: int = 0
    registration_pending: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    bytes: int = 0
    budget_left: int | None = None
    waiting_for: str = ""

    def forget_requests(self) -> None:
        """Count requests, retries and bytes from nothing again, for another harvest in this process."""
        self.requests.clear()
        self.retries = self.bytes = 0

    def take_over(self, figures: Figures) -> None:
        """Set the counts to those of the ledger."""
        self.works = figures.works
        self.results = figures.results
        self.failures = figures.failures
        self.pending = figures.pending
        self.registered = figures.registered
        self.rejected = figures.rejected
        self.registration_pending = figures.registration_pending
