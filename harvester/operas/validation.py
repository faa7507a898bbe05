"""Which DOIs OPERAS takes. Pure; for URLs see `harvester.core.urls.clean`."""

import re

from harvester.core.urls.clean import is_unicode

_DOI = re.compile(r"10\.\d{4,9}/[-._;()/:A-Z0-9]+", re.IGNORECASE)
"""The server's rule; it looks only at the beginning of a DOI (O4)."""


def doi_refusal(doi: str) -> str | None:
    """Why OPERAS would refuse a DOI; None if it would accept it (O4)."""
    if _DOI.match(doi) and "\0" not in doi and is_unicode(doi):
        return None
    return "OPERAS registers only DOIs of the form 10.NNNN/… with four to nine digits and a plain first character"
