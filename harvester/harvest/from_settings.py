"""The border between settings and jobs: the only file of this room that knows the settings.

The command line, a nightly harvest and whoever else starts a harvest turn their settings into plain data here.
"""

from harvester.config.credentials import Secret, operas_account
from harvester.config.settings import Settings
from harvester.harvest.job import Account, Upstream
from harvester.lists import ListOptions


def list_options(settings: Settings) -> ListOptions:
    """How lists are read."""
    given = settings.input
    return ListOptions(given.doi_column, given.url_column, given.format, given.encoding)


def upstream(settings: Settings) -> Upstream:
    """Who gives the records."""
    return Upstream(
        "paperbuzz",
        settings.paperbuzz,
        settings.paperbuzz.email,
        landing_urls=settings.operas.urls_from_metadata,
    )


def account(settings: Settings, password: Secret) -> Account:
    """The OPERAS account, with the patience that is set for Paperbuzz: an outage of both is one outage.

    Raises:
        Misconfigured: its e-mail address is not known.
    """
    return Account(
        base_url=settings.operas.base_url,
        email=operas_account(settings),
        password=password,
        rate=settings.operas.rate,
        batch_size=settings.operas.batch_size,
        patience=settings.paperbuzz.patience,
    )
