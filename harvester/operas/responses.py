"""Read the answers of OPERAS: tokens, acknowledgements, pages, refusals. Pure."""

import base64
import binascii
import logging
import re
from collections.abc import Sequence
from datetime import datetime

import orjson

from harvester.core.errors import (
    CredentialsRefused,
    FailureKind,
    GiveUp,
    InvalidJson,
    Misconfigured,
    NotJson,
    RedirectRefused,
    ServerBusy,
    ServerFailed,
    TryAgain,
)
from harvester.core.text.sanitize import printable, safe_line
from harvester.transport.messages import Response, retry_after

log = logging.getLogger("harvester")

_REFUSALS = frozenset({400, 413, 422, 500})
"""Statuses that may be about the batch itself (O10). Any other comes from something in front of the application and
says nothing about the entries, so that no DOI is rejected because of a 403 or a 521."""


_NOT_THE_API = frozenset({404, 405, 410})
"""Statuses of `get_token` which show that the address is not that of the API."""


LONGEST_TOKEN = 64 * 1024
"""Bytes of an answer that may be a token. Servers take no header that is longer."""


_PAGE_BYTES_READ = 4096
"""How much of an error page is read. What is shown of it is shorter."""


AcknowledgedRow = dict[str, object]
"""What OPERAS holds for one DOI: `raw` (the DOI), `urls`, `last_checked`."""


class BatchRefused(GiveUp):
    """The application itself refused a batch: some entry may be bad, and a part of the batch may be stored (O4)."""

    kind = FailureKind.REJECTED


def read_token(response: Response, now: datetime) -> str:
    """The token in an answer of `get_token`, which is the bare text of a JWT (O1).

    Raises:
        CredentialsRefused: 401: wrong e-mail or password, or an account that is not approved; the text tells (O2).
        Misconfigured: a redirect, a 404 or something that is no token, so the base URL is not that of the API.
        TryAgain: the service does not answer as it should.
    """
    if response.status == 401:
        if b"not yet been approved" in response.body:
            raise CredentialsRefused(
                "your OPERAS account has not been approved yet, though e-mail and password are right. "
                "Ask OPERAS to approve it."
            )
        raise CredentialsRefused(
            "OPERAS does not accept e-mail and password. Check [operas] email (or HARVESTER_OPERAS__EMAIL) "
            "and HARVESTER_OPERAS__PASSWORD or password_file."
        )
    _refuse_redirect(response)
    if response.status in _NOT_THE_API:
        raise Misconfigured(_wrong_address(f"answers the request for a token with {response.status}"))
    if response.status != 200:
        raise _temporary(response, now)
    text = response.body[:LONGEST_TOKEN].decode("utf-8", "replace").strip()
    try:
        if len(response.body) > LONGEST_TOKEN:
            raise ValueError("too long for a token")
        token_life(text)
    except ValueError:
        raise Misconfigured(_wrong_address("answers the request for a token with something that is none")) from None
    return text


def _wrong_address(what: str) -> str:
    return (
        f"OPERAS {what}. Check [operas] base_url: it has to be the address of the API, such as "
        "https://altmetrics.operas-eu.org/api/."
    )


def token_life(token: str) -> tuple[float, float]:
    """When a JWT was issued and when it expires, in seconds since 1970. Its signature is not checked.

    Raises:
        ValueError: it is no JWT.
    """
    parts = token.split(".")
    if len(parts) != 3 or not all(re.fullmatch(r"[A-Za-z0-9_-]+", part) for part in parts):
        raise ValueError("not three parts")
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["iat"]), float(claims["exp"])
    except (binascii.Error, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError("not the claims of a token") from error


def check_posted(response: Response, now: datetime, secrets: Sequence[str] = ()) -> None:
    """Read the answer to a batch. The acknowledgement is the JSON number `200` and nothing more (O3).

    Args:
        response: the answer.
        now: wall time, for a `Retry-After` that is a date.
        secrets: texts that must not be shown if the answer repeats them.

    Raises:
        RedirectRefused: a redirect, as of a service under maintenance. To follow it would turn the POST into a GET,
            which is answered with 200 and registers nothing.
        BatchRefused: the application refused the batch.
        TryAgain: something in front of the application answered.
    """
    if 300 <= response.status < 400:
        raise RedirectRefused(_redirected(response), status=response.status)
    if response.status == 200:
        if response.body.strip() != b"200":
            raise NotJson("OPERAS answers a batch with 200, but not with its acknowledgement", status=200)
        return
    if response.status not in _REFUSALS:
        raise _temporary(response, now)
    raise BatchRefused(f"OPERAS answers {response.status}: {excerpt(response, secrets)}", status=response.status)


def read_page(response: Response, now: datetime) -> tuple[list[AcknowledgedRow], bool]:
    """The rows of a page, and whether there are more pages. Every row can be written down again.

    Only the presence of `next` counts. The address in it is useless: it is what the server believes to be its own (O8).

    Raises:
        InvalidJson: the answer is not the list.
        Misconfigured: a redirect, so the base URL is not that of the API.
        TryAgain: the service does not answer as it should.
    """
    _refuse_redirect(response)
    if response.status != 200:
        raise _temporary(response, now)
    try:
        content = orjson.loads(response.body)
        rows, more = content["data"], "next" in content
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise InvalidJson("the list of OPERAS is not the JSON it should be", status=200) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("raw"), str) for row in rows):
        raise InvalidJson("the list of OPERAS holds rows without a DOI", status=200)
    return _writable(rows), more


def _writable(rows: list[AcknowledgedRow]) -> list[AcknowledgedRow]:
    """The same rows. Members that JSON cannot be made of are left out, with a warning: those nested too deeply."""
    if _can_be_written(rows):
        return rows
    kept = [{name: value for name, value in row.items() if _can_be_written(value)} for row in rows]
    for row, whole in zip(kept, rows, strict=True):
        if left_out := ", ".join(sorted(whole.keys() - row.keys())):
            log.warning(
                "OPERAS nests %s of %s too deeply; it is left out", *map(printable, (left_out, str(row["raw"])))
            )
    return kept


def _can_be_written(value: object) -> bool:
    try:
        orjson.dumps([value])
    except (TypeError, RecursionError):
        return False
    return True


def _refuse_redirect(response: Response) -> None:
    if 300 <= response.status < 400:
        raise Misconfigured(_redirected(response))


def _redirected(response: Response) -> str:
    where = safe_line(response.headers.get("location", ""), 100)
    return _wrong_address(f"redirects to {where!r}, which is not followed")


def _temporary(response: Response, now: datetime) -> TryAgain:
    kind = ServerBusy if response.status in (429, 503) else ServerFailed
    return kind(f"OPERAS answers {response.status}", status=response.status, retry_after=retry_after(response, now))


def excerpt(response: Response, secrets: Sequence[str]) -> str:
    """What an answer says, as one short line without tags and secrets; an answer may repeat our headers (O2)."""
    text = response.body[:_PAGE_BYTES_READ].decode("utf-8", "replace")
    if len(response.body) > _PAGE_BYTES_READ:
        text = " ".join(text.split()[:-1])
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    # Whole words only: half an address or half a token would not be recognized.
    return safe_line(" ".join(re.sub(r"<[^<>]*>", " ", text).split()))
