"""Sort the addresses of a work: landing pages are registered, all others are left out and told."""

from collections.abc import Iterable

from harvester.core.errors import FailureKind
from harvester.core.model import Failure, Stage
from harvester.core.text.sanitize import printable
from harvester.core.urls.landing import IN_WORDS, SILENT, LandingPages, without_credentials
from harvester.lists.notes import FileNotes

MAX_SHOWN = 200


def sort_out(
    pieces: Iterable[str], doi: str, origin: str, now: str, pages: LandingPages, notes: FileNotes
) -> tuple[tuple[str, ...], tuple[Failure, ...]]:
    """Sort what stands where the addresses of a work should be.

    Args:
        pieces: of the cells, see `harvester.core.urls.cells`.
        doi: of the work.
        origin: `file:line`.
        now: a timestamp.
        pages: tells landing pages.
        notes: count what is left out.

    Returns:
        The landing pages, and a failure for each address that is none. Text that is no address is only counted, and so
        is an address of a resolver that repeats the DOI.
    """
    urls: list[str] = []
    left_out: list[Failure] = []
    for piece in pieces:
        reason = pages.why_left_out(piece, doi)
        if reason is None:
            urls.append(piece)
            continue
        shown = printable(without_credentials(piece), MAX_SHOWN)
        notes.add_left_out(reason, origin, shown)
        if reason not in SILENT:
            left_out.append(url_left_out(doi, shown, origin, f"this URL is not registered: {IN_WORDS[reason]}", now))
    return tuple(urls), tuple(left_out)


def url_left_out(doi: str, url: str, origin: str, message: str, now: str) -> Failure:
    """What is told about an address that is not registered; its DOI is registered all the same."""
    return Failure(doi, url, origin, FailureKind.URL_LEFT_OUT, None, 0, message, now, Stage.REGISTER)
