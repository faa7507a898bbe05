"""The border between settings and jobs: the only file of this room that knows the settings.

The command line, a nightly harvest and whoever else starts a harvest turn their settings into plain data here.
"""

from harvester.config.credentials import Secret, operas_account
from harvester.config.limits import operas_limits, paperbuzz_limits
from harvester.config.settings import Settings
from harvester.core.errors import Misconfigured, Usage
from harvester.core.urls.landing import LandingPages
from harvester.harvest.job import Account, Upstream
from harvester.lists import ListOptions
from harvester.providers.paperbuzz import PaperbuzzProvider
from harvester.storage.paths import Paths, job_paths


def list_options(settings: Settings) -> ListOptions:
    """How lists are read."""
    given = settings.input
    return ListOptions(
        given.doi_column,
        given.url_column,
        given.format,
        given.encoding,
        given.header_row,
        given.sheet,
        allow_hosts=settings.operas.allow_hosts,
        deny_hosts=settings.operas.deny_hosts,
    )


def paths(settings: Settings, output: str | None = None) -> Paths:
    """The files of a run.

    Args:
        settings: say where they are that are not beside the output.
        output: from the command line; None for that of the settings.

    Raises:
        Usage: the output of the command line has an ending that says nothing.
        Misconfigured: that of the settings has.
    """
    try:
        name = output or settings.output.path or ""
        return job_paths(name, ledger=settings.ledger.path, failures=settings.output.failures)
    except Usage as error:
        if output:
            raise
        raise Misconfigured(f"[output] path: {error}") from None


def upstream(settings: Settings) -> Upstream:
    """Who gives the records."""
    return Upstream(
        PaperbuzzProvider.name,
        paperbuzz_limits(settings),
        settings.paperbuzz.email,
        settings.paperbuzz.reference_doi,
        landing_urls=settings.operas.urls_from_metadata,
    )


def account(settings: Settings, password: Secret) -> Account:
    """The OPERAS account.

    Raises:
        Misconfigured: its e-mail address is not known.
    """
    return Account(
        limits=operas_limits(settings),
        email=operas_account(settings),
        password=password,
        batch_size=settings.operas.batch_size,
        register_empty=settings.operas.register_empty,
        pages=LandingPages(settings.operas.allow_hosts, settings.operas.deny_hosts),
    )
