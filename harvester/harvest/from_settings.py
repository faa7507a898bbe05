"""The border between settings and jobs: the only file of this room that knows the settings.

The command line, a nightly harvest and whoever else starts a harvest turn their settings into plain data here.
"""

from harvester.config.credentials import Secret, operas_account
from harvester.config.limits import operas_limits, paperbuzz_limits
from harvester.config.settings import Settings
from harvester.harvest.job import Account, Upstream
from harvester.lists import ListOptions
from harvester.providers.paperbuzz import PaperbuzzProvider


def list_options(settings: Settings) -> ListOptions:
    """How lists are read."""
    given = settings.input
    return ListOptions(given.doi_column, given.url_column, given.format, given.encoding)


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
    )
