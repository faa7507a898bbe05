"""The limits of each service, made from the settings."""

from harvester.config.settings import Settings
from harvester.core.limits import ServiceLimits


def paperbuzz_limits(settings: Settings) -> ServiceLimits:
    """The limits of Paperbuzz: each has a setting."""
    section = settings.paperbuzz
    return ServiceLimits(
        base_url=section.base_url,
        rate=section.rate,
        burst=section.burst,
        daily_budget=section.daily_budget,
        concurrency=section.concurrency,
        timeout=section.timeout,
        max_attempts=section.max_attempts,
        patience=section.patience,
        max_body=section.max_body,
    )


def operas_limits(settings: Settings) -> ServiceLimits:
    """The limits of OPERAS: it has a rate of its own, and the patience of Paperbuzz (docs/registration.md)."""
    return ServiceLimits(settings.operas.base_url, settings.operas.rate, patience=settings.paperbuzz.patience)
