"""The border between settings and jobs: the only file of this room that knows the settings.

The command line, a nightly harvest and whoever else starts a harvest turn their settings into plain data here.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from harvester.config.credentials import Secret, operas_account
from harvester.config.limits import operas_limits, paperbuzz_limits
from harvester.config.parsers import as_proxy
from harvester.config.settings import Settings
from harvester.core.errors import Misconfigured, Usage
from harvester.core.text.sanitize import hide
from harvester.core.urls.landing import LandingPages
from harvester.harvest.job import Account, Upstream
from harvester.lists import ListOptions
from harvester.providers.paperbuzz import PaperbuzzProvider
from harvester.storage.paths import Paths, job_paths
from harvester.transport.network import Network

PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


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
        extract=given.extract,
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
        network=network(settings, os.environ),
    )


def network(settings: Settings, environ: Mapping[str, str]) -> Network:
    """The way to the services. What is not set is taken from the variables that other programs know as well.

    Both services speak https, so that HTTPS_PROXY counts, then ALL_PROXY. SSL_CERT_FILE is heeded by OpenSSL itself.

    Raises:
        Misconfigured: the address of a proxy in the environment is none.
    """
    given = settings.network
    name, proxy = next(((name, environ[name]) for name in PROXY_VARIABLES if environ.get(name)), ("", None))
    if given.proxy is None and proxy is not None:
        try:
            as_proxy(proxy if "://" in proxy else f"http://{proxy}")
        except ValueError as error:
            raise Misconfigured(f"the variable {name} is not {error}.") from None
        proxy = proxy if "://" in proxy else f"http://{proxy}"
    bundle = environ.get("REQUESTS_CA_BUNDLE")
    found = Network(
        proxy=given.proxy or proxy,
        no_proxy=environ.get("no_proxy") or environ.get("NO_PROXY") or "",
        ca_bundle=given.ca_bundle or (Path(bundle) if bundle else None),
        client_cert=given.client_cert,
        client_key=given.client_key,
    )
    for secret in filter(None, (found.proxy and urlsplit(found.proxy).password,)):
        hide(secret)
        hide(unquote(secret))
    return found


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
        network=network(settings, os.environ),
        register_empty=settings.operas.register_empty,
        pages=LandingPages(settings.operas.allow_hosts, settings.operas.deny_hosts),
    )
