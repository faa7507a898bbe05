"""The stand-in for OPERAS Altmetrics, which behaves as its server does (wire facts O1 to O14).

This module answers requests: tokens, uriset and eventset. What a POST stores is decided in `uriset`.
"""

import asyncio
import base64
import binascii
import html
import json
import random
from typing import ClassVar
from urllib.parse import parse_qs, parse_qsl, urlencode

from harvester.core.clock import Clock
from harvester.sandbox.messages import HTML_UTF8, Answer, Request, decoded, error_page
from harvester.sandbox.operas import tokens
from harvester.sandbox.operas.accept import PAGE, as_accepted
from harvester.sandbox.operas.uriset import Holdings, RegisteredDoi, Rejected, names_in
from harvester.sandbox.options import Account, SandboxOptions
from harvester.sandbox.requestlog import LoggedRequest
from harvester.sandbox.service import ServiceName, StandIn

ORIGINS = {"twitter": 1, "citation": 2, "wikipedia": 3, "hypothesis": 4, "facebook": 5, "wordpressdotcom": 6}
"""The number that the server gives to each origin of events."""

LARGEST = 2**63 - 1
"""The largest number that the server's database takes."""

_BASIC_REFUSED = (
    "\n    <h1>Unauthorized</h1>\n    <p>The server could not verify that you are authorized to access the URL\n"
    "    requested. You either supplied the wrong credentials (e.g. a bad password),\n    or your browser does not "
    "understand how to supply the credentials required.\n    </p>\n    "
)


class Refusal(Exception):
    """Ends a request with this answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Operas(StandIn):
    """The stand-in for OPERAS, and what it has stored.

    Args:
        options: of the sandbox.
        clock: tells the time for tokens, and lets it pass while a POST is carried out.

    Attributes:
        accounts: by e-mail address.
        holdings: what is registered. `registered` is a shorter view of it.
        events: what GET /eventset shows; empty unless a test fills it.
        posts: how many POSTs were carried out.
        tokens_issued: how many tokens were given.
        key: that tokens are signed with.
    """

    name: ClassVar[ServiceName] = "operas"
    title = "OPERAS"
    api_path = "api"
    server_header = "gunicorn/19.9.0"

    def __init__(self, options: SandboxOptions, clock: Clock) -> None:
        super().__init__()
        self.accounts = {account.email: account for account in options.accounts}
        self.holdings = Holdings(prefixes=set(options.known_prefixes))
        self.events: list[dict[str, object]] = []
        self.posts = 0
        self.tokens_issued = 0
        self.key = f"sandbox signing key {options.seed}".encode()
        self._options = options
        self._clock = clock
        self._lists = 0
        self._new_names: list[frozenset[str]] = []

    @property
    def registered(self) -> dict[str, tuple[str, ...]]:
        """The URLs of each registered DOI, over all accounts."""
        return {doi: row.urls for doi, row in list(self.holdings.rows.items())}

    def token(self, email: str, **claims: object) -> str:
        """A token as the server would give it to this account.

        Args:
            email: of the account, which need not exist.
            claims: replace single claims of the token. None leaves a claim out.
        """
        account = self.accounts.get(email, Account(email))
        now = int(self._clock.now().timestamp())
        full: dict[str, object] = {
            "sub": f"acct:{email}",
            "email": email,
            "name": f"{account.name} {account.surname}",
            "authority": account.authority,
            "iat": now,
            "exp": now + int(self._options.token_lifetime_seconds),
        }
        kept = {name: value for name, value in (full | claims).items() if value is not None}
        return tokens.issue(kept, self.key)

    def account_of(self, request: Request) -> str:
        """The account that the token names, whether or not the token is valid still."""
        try:
            claims = tokens.read(_bearer(request), self.key, 0)
        except tokens.BadToken:
            return ""
        return str(claims.get("email", ""))

    def overlap_key(self, request: Request, entry: LoggedRequest) -> str | None:
        """The account of a POST: an account should have one POST in flight at a time."""
        is_post = request.method == "POST" and request.path.startswith("/api/uriset")
        return entry.account if is_post else None

    def error(self, status: int) -> Answer:
        """An error page. A 401 says that the token has expired."""
        return _unauthorised(tokens.EXPIRED) if status == 401 else error_page(status)

    async def answer(self, request: Request, attempt: int = 1) -> Answer:  # noqa: ARG002 - as inherited
        """What OPERAS answers. POSTs change what is registered."""
        try:
            return await self._routed(request)
        except Refusal as refusal:
            return refusal.answer

    async def _routed(self, request: Request) -> Answer:
        path = decoded(request.path.partition("#")[0])
        plain = path.removesuffix("/")
        if plain == "/api/get_token":
            return await self._get_token(request)
        if plain == "/api/uriset":
            return await self._uriset(request)
        if plain == "/api/eventset":
            return self._eventset(request)
        if path.startswith("/api/uriset/"):
            return self._get_one(request, path.removeprefix("/api/uriset/"))
        return self._other_page(path)

    def _other_page(self, path: str) -> Answer:
        if path in ("", "/"):
            target = f"{self.mount}/login"
            moved = error_page(
                302, f'You should be redirected automatically to target URL: <a href="{target}">here</a>.'
            )
            moved.headers["Location"], moved.content_type = target, HTML_UTF8
            return moved
        if path == "/login":
            return Answer(200, PAGE, HTML_UTF8)
        return error_page(404)

    async def _get_token(self, request: Request) -> Answer:
        _require_method(request, "HEAD, OPTIONS, POST, GET", "GET", "POST")
        account = await self._logged_in(request)
        if not account.approved:
            raise Refusal(error_page(401, "Account has not yet been approved."))
        self.tokens_issued += 1
        token = self.token(account.email)
        if request.method == "GET":
            return Answer(200, token.encode(), HTML_UTF8)
        data = {
            "surname": account.surname,
            "name": account.name,
            "authority": account.authority,
            "token": token,
            "email": account.email,
        }
        return as_accepted(request, {"status": "ok", "count": 1, "code": 200, "data": [data]})

    async def _logged_in(self, request: Request) -> Account:
        """The account whose e-mail address and password the request gives."""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        try:
            text = base64.b64decode(value, validate=True).decode() if scheme.lower() == "basic" else ""
        except (binascii.Error, ValueError):
            text = ""
        email, _, password = text.partition(":")
        account = self.accounts.get(email)
        if account is not None and self._options.password_seconds:
            await self._clock.sleep(self._options.password_seconds)
        if account is None or account.password != password:
            headers = {"WWW-Authenticate": 'Basic realm="Login Required"'}
            raise Refusal(Answer(401, _BASIC_REFUSED.encode(), HTML_UTF8, headers))
        return account

    def _authorised(self, request: Request) -> str:
        """The account whose token the request gives. Whether it is approved is not checked again, as in the server."""
        if "authorization" not in request.headers:
            shown = ", ".join(f"({name.title()!r}, {value!r})" for name, value in request.headers.items())
            raise Refusal(_unauthorised(f"EnvironHeaders([{shown}])"))
        try:
            claims = tokens.read(_bearer(request), self.key, self._clock.now().timestamp())
        except tokens.BadToken as bad:
            raise Refusal(_unauthorised(str(bad))) from None
        email = str(claims.get("email", ""))
        if email not in self.accounts:
            raise Refusal(_unauthorised("'Invalid user account.'"))
        return email

    async def _uriset(self, request: Request) -> Answer:
        _require_method(request, "HEAD, OPTIONS, POST, GET", "GET", "POST")
        account = self._authorised(request)
        if request.method == "GET":
            return self._get_list(request, account)
        return await self._post(request, account)

    async def _post(self, request: Request, account: str) -> Answer:
        batch = _json_of(request)
        entries = len(batch) if isinstance(batch, list) else 0
        names = names_in(batch)
        new_names = self.holdings.unknown(names)
        # Two POSTs at once that hold the same new name collide: the later one fails (O5).
        collides = any(names & others for others in self._new_names)
        self._new_names.append(new_names)
        try:
            # First it is stored, then the time passes: a client that hangs up undoes nothing (O13).
            status, text = (500, None) if collides else self._stored(batch, account)
            if self._options.entry_seconds:
                await asyncio.shield(self._clock.sleep(self._options.entry_seconds * entries))
        finally:
            self._new_names.remove(new_names)
        return Answer(200, b"200\n") if status == 200 else error_page(status, text)

    def _stored(self, batch: object, account: str) -> tuple[int, str | None]:
        """Carry out a POST. Returns the status of the answer, and the text of its page if it is refused."""
        self.posts += 1
        try:
            self.holdings.post(batch, account)
        except Rejected as rejected:
            return rejected.status, rejected.text
        return 200, None

    def _get_list(self, request: Request, account: str) -> Answer:
        query = parse_qs(request.query, keep_blank_values=True)
        page, per_page = _integer(query, "page", 1), _integer(query, "per_page", 100)
        rows = self._in_some_order(self.holdings.of(account))
        if page < 1 or per_page < 0:
            raise Refusal(error_page(404))
        chosen = rows[(page - 1) * per_page : page * per_page]
        if not chosen and page > 1:
            raise Refusal(error_page(404))
        value: dict[str, object] = {"data": [row.as_dict() for row in chosen]}
        if per_page and page * per_page < len(rows):
            value["next"] = self._next(request, page + 1)
        return as_accepted(request, value)

    def _in_some_order(self, rows: list[RegisteredDoi]) -> list[RegisteredDoi]:
        """The rows in table order, except for a share that stands at the end, and is another one each time.

        In the real server its own updates move them (O8).
        """
        self._lists += 1
        moved = int(len(rows) * self._options.uriset_drift)
        if not moved:
            return rows
        rng = random.Random(f"{self._options.seed} list {self._lists}")
        chosen = set(rng.sample(range(len(rows)), moved))
        still = [row for index, row in enumerate(rows) if index not in chosen]
        return still + [rows[index] for index in sorted(chosen)]

    def _next(self, request: Request, page: int) -> str:
        """The URL of the next page. Behind its proxy the server guesses the scheme and loses the port (O8)."""
        scheme = request.headers.get("x-forwarded-proto", "http")
        given = dict(reversed(parse_qsl(request.query, keep_blank_values=True)))
        host = request.host.rpartition(":")[0] or request.host
        return f"{scheme}://{host}{self.mount}{request.path}?{urlencode(given | {'page': str(page)})}"

    def _get_one(self, request: Request, text: str) -> Answer:
        if not text.strip("/") or text.endswith("//"):
            raise Refusal(error_page(404))
        _require_method(request, "HEAD, OPTIONS, GET", "GET")
        account = self._authorised(request)
        doi = text.removesuffix("/")
        row = self.holdings.rows.get(doi)
        if row is None or account not in row.owners:
            return as_accepted(request, {"message": f"No URI {doi} associated with your account."}, 404)
        return as_accepted(request, row.as_dict())

    def _eventset(self, request: Request) -> Answer:
        """Events of one origin. An unknown `uri` is ignored, so that the events of all DOIs come back."""
        _require_method(request, "HEAD, OPTIONS, GET", "GET")
        self._authorised(request)
        query = parse_qs(request.query)
        number = ORIGINS.get(query.get("origin", [""])[0].lower())
        if number is None:
            raise Refusal(error_page(500))
        doi = query.get("uri", [""])[0]
        wanted = doi if doi in self.holdings.rows else None
        found = [event for event in self.events if event["origin"] == number and wanted in (None, event["doi"])]
        shown = [self._event(event) for event in found]
        return Answer(200, json.dumps(shown, sort_keys=True, separators=(",", ":")).encode() + b"\n")

    def _event(self, event: dict[str, object]) -> dict[str, object]:
        row = self.holdings.rows.get(str(event["doi"]), RegisteredDoi(0, str(event["doi"])))
        shown = {name: event[name] for name in ("created_at", "origin", "subject_id")}
        return shown | {"uri": {"id": row.number, **row.as_dict()}}


def _bearer(request: Request) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ")


def _unauthorised(message: str) -> Answer:
    return error_page(401, f"{{'message': {html.escape(message, quote=False)}}}")


def _require_method(request: Request, allow: str, *methods: str) -> None:
    if request.method == "OPTIONS":
        raise Refusal(Answer(200, b"", HTML_UTF8, {"Allow": allow}))
    if request.method not in methods:
        refused = error_page(405)
        refused.headers["Allow"] = allow
        raise Refusal(refused)


def _json_of(request: Request) -> object:
    """The body as the server's framework reads it; None if its Content-Type is not JSON."""
    if "chunked" in request.headers.get("transfer-encoding", "").lower():
        raise Refusal(error_page(400))  # gunicorn 19.9 hands on an empty body
    label = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if label != "application/json" and not (label.startswith("application/") and label.endswith("+json")):
        return None
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError):
        raise Refusal(error_page(400)) from None


def _integer(query: dict[str, list[str]], name: str, default: int) -> int:
    try:
        value = int(query.get(name, [str(default)])[0])
    except ValueError:
        raise Refusal(error_page(500)) from None
    if abs(value) > LARGEST:
        raise Refusal(error_page(500))
    return value
