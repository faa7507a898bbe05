"""OPERAS Altmetrics as its server behaves (wire facts O1 to O14): tokens, uriset, eventset."""

import asyncio
import base64
import binascii
import html
import json
import random
from urllib.parse import parse_qs, parse_qsl, urlencode

from harvester.core.clock import Clock
from harvester.sandbox.answer import HTML_UTF8, Answer, Ask, error_page
from harvester.sandbox.operas import tokens
from harvester.sandbox.operas.accept import PAGE, as_accepted
from harvester.sandbox.operas.uriset import Rejected, Store, StoredRow, names_in
from harvester.sandbox.options import Account, SandboxOptions
from harvester.sandbox.paperbuzz.doipath import decoded

ORIGINS = {"twitter": 1, "citation": 2, "wikipedia": 3, "hypothesis": 4, "facebook": 5, "wordpressdotcom": 6}

LARGEST = 2**63 - 1

_BASIC_REFUSED = (
    "\n    <h1>Unauthorized</h1>\n    <p>The server could not verify that you are authorized to access the URL\n"
    "    requested. You either supplied the wrong credentials (e.g. a bad password),\n    or your browser does not "
    "understand how to supply the credentials required.\n    </p>\n    "
)


class Refusal(Exception):
    """The request ends with this answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Operas:
    """The service and what it has stored.

    Args:
        options: the sandbox's.
        clock: wall time for tokens, sleep for the time a POST takes.
        mount: path in front of `/api`.
    """

    def __init__(self, options: SandboxOptions, clock: Clock, mount: str = "") -> None:
        self.accounts = {account.email: account for account in options.accounts}
        self.store = Store(prefixes=set(options.known_prefixes))
        self.events: list[dict[str, object]] = []
        self.posts = 0
        self.tokens_issued = 0
        self.key = f"sandbox signing key {options.seed}".encode()
        self._options = options
        self._clock = clock
        self._mount = mount
        self._lists = 0
        self._under_way: list[frozenset[str]] = []

    @property
    def registered(self) -> dict[str, tuple[str, ...]]:
        """DOI -> URLs, over all accounts."""
        return {doi: row.urls for doi, row in list(self.store.rows.items())}

    def token(self, email: str, **claims: object) -> str:
        """A token such as the server would give this account; `claims` overrides single ones, None drops them."""
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

    def account_of(self, ask: Ask) -> str:
        """Whose request this claims to be, unchecked; for the log."""
        try:
            claims = tokens.read(_bearer(ask), self.key, 0)
        except tokens.BadToken:
            return ""
        return str(claims.get("email", ""))

    async def answer(self, ask: Ask) -> Answer:
        """What the server says."""
        try:
            return await self._routed(ask)
        except Refusal as refusal:
            return refusal.answer

    async def _routed(self, ask: Ask) -> Answer:
        path = decoded(ask.path.partition("#")[0])
        plain = path.removesuffix("/")
        if plain == "/api/get_token":
            return await self._get_token(ask)
        if plain == "/api/uriset":
            return await self._uriset(ask)
        if plain == "/api/eventset":
            return self._eventset(ask)
        if path.startswith("/api/uriset/"):
            return self._one(ask, path.removeprefix("/api/uriset/"))
        return self._elsewhere(path)

    def _elsewhere(self, path: str) -> Answer:
        if path in ("", "/"):
            target = f"{self._mount}/login"
            moved = error_page(
                302, f'You should be redirected automatically to target URL: <a href="{target}">here</a>.'
            )
            moved.headers["Location"], moved.content_type = target, HTML_UTF8
            return moved
        if path == "/login":
            return Answer(200, PAGE, HTML_UTF8)
        return error_page(404)

    async def _get_token(self, ask: Ask) -> Answer:
        _only(ask, "HEAD, OPTIONS, POST, GET", "GET", "POST")
        account = await self._basic(ask)
        if not account.approved:
            raise Refusal(error_page(401, "Account has not yet been approved."))
        self.tokens_issued += 1
        token = self.token(account.email)
        if ask.method == "GET":
            return Answer(200, token.encode(), HTML_UTF8)
        data = {
            "surname": account.surname,
            "name": account.name,
            "authority": account.authority,
            "token": token,
            "email": account.email,
        }
        return as_accepted(ask, {"status": "ok", "count": 1, "code": 200, "data": [data]})

    async def _basic(self, ask: Ask) -> Account:
        scheme, _, value = ask.headers.get("authorization", "").partition(" ")
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

    def _authorised(self, ask: Ask) -> str:
        """The account of a request; approval is not looked at again, as in the server."""
        if "authorization" not in ask.headers:
            shown = ", ".join(f"({name.title()!r}, {value!r})" for name, value in ask.headers.items())
            raise Refusal(_unauthorised(f"EnvironHeaders([{shown}])"))
        try:
            claims = tokens.read(_bearer(ask), self.key, self._clock.now().timestamp())
        except tokens.BadToken as bad:
            raise Refusal(_unauthorised(str(bad))) from None
        email = str(claims.get("email", ""))
        if email not in self.accounts:
            raise Refusal(_unauthorised("'Invalid user account.'"))
        return email

    async def _uriset(self, ask: Ask) -> Answer:
        _only(ask, "HEAD, OPTIONS, POST, GET", "GET", "POST")
        account = self._authorised(ask)
        if ask.method == "GET":
            return self._list(ask, account)
        return await self._post(ask, account)

    async def _post(self, ask: Ask, account: str) -> Answer:
        batch = _json_of(ask)
        entries = len(batch) if isinstance(batch, list) else 0
        names = names_in(batch)
        news = self.store.unknown(names)
        raced = any(names & others for others in self._under_way)
        self._under_way.append(news)
        try:
            # Storing comes first, then the time it takes: a client that hangs up does not undo it (O13).
            status, text = (500, None) if raced else self._stored(batch, account)
            if self._options.entry_seconds:
                await asyncio.shield(self._clock.sleep(self._options.entry_seconds * entries))
        finally:
            self._under_way.remove(news)
        return Answer(200, b"200\n") if status == 200 else error_page(status, text)

    def _stored(self, batch: object, account: str) -> tuple[int, str | None]:
        self.posts += 1
        try:
            self.store.post(batch, account)
        except Rejected as rejected:
            return rejected.status, rejected.text
        return 200, None

    def _list(self, ask: Ask, account: str) -> Answer:
        query = parse_qs(ask.query, keep_blank_values=True)
        page, per_page = _number(query, "page", 1), _number(query, "per_page", 100)
        rows = self._in_some_order(self.store.of(account))
        if page < 1 or per_page < 0:
            raise Refusal(error_page(404))
        chosen = rows[(page - 1) * per_page : page * per_page]
        if not chosen and page > 1:
            raise Refusal(error_page(404))
        value: dict[str, object] = {"data": [row.as_dict() for row in chosen]}
        if per_page and page * per_page < len(rows):
            value["next"] = self._next(ask, page + 1)
        return as_accepted(ask, value)

    def _in_some_order(self, rows: list[StoredRow]) -> list[StoredRow]:
        """In table order, but for a share of rows that the server's own updates have moved, other ones each time."""
        self._lists += 1
        moved = int(len(rows) * self._options.uriset_drift)
        if not moved:
            return rows
        rng = random.Random(f"{self._options.seed} list {self._lists}")
        chosen = set(rng.sample(range(len(rows)), moved))
        still = [row for index, row in enumerate(rows) if index not in chosen]
        return still + [rows[index] for index in sorted(chosen)]

    def _next(self, ask: Ask, page: int) -> str:
        """As built behind a proxy: its own idea of the scheme, and no port (B4)."""
        scheme = ask.headers.get("x-forwarded-proto", "http")
        given = dict(reversed(parse_qsl(ask.query, keep_blank_values=True)))
        host = ask.host.rpartition(":")[0] or ask.host
        return f"{scheme}://{host}{self._mount}{ask.path}?{urlencode(given | {'page': str(page)})}"

    def _one(self, ask: Ask, text: str) -> Answer:
        if not text.strip("/") or text.endswith("//"):
            raise Refusal(error_page(404))
        _only(ask, "HEAD, OPTIONS, GET", "GET")
        account = self._authorised(ask)
        doi = text.removesuffix("/")
        row = self.store.rows.get(doi)
        if row is None or account not in row.owners:
            return as_accepted(ask, {"message": f"No URI {doi} associated with your account."}, 404)
        return as_accepted(ask, row.as_dict())

    def _eventset(self, ask: Ask) -> Answer:
        """Events of one origin; an unknown `uri` is ignored, so that everybody's events come back (B6)."""
        _only(ask, "HEAD, OPTIONS, GET", "GET")
        self._authorised(ask)
        query = parse_qs(ask.query)
        number = ORIGINS.get(query.get("origin", [""])[0].lower())
        if number is None:
            raise Refusal(error_page(500))
        doi = query.get("uri", [""])[0]
        wanted = doi if doi in self.store.rows else None
        found = [event for event in self.events if event["origin"] == number and wanted in (None, event["doi"])]
        shown = [self._event(event) for event in found]
        return Answer(200, json.dumps(shown, sort_keys=True, separators=(",", ":")).encode() + b"\n")

    def _event(self, event: dict[str, object]) -> dict[str, object]:
        row = self.store.rows.get(str(event["doi"]), StoredRow(0, str(event["doi"])))
        shown = {name: event[name] for name in ("created_at", "origin", "subject_id")}
        return shown | {"uri": {"id": row.number, **row.as_dict()}}


def _bearer(ask: Ask) -> str:
    return ask.headers.get("authorization", "").removeprefix("Bearer ")


def _unauthorised(message: str) -> Answer:
    return error_page(401, f"{{'message': {html.escape(message, quote=False)}}}")


def _only(ask: Ask, allow: str, *methods: str) -> None:
    if ask.method == "OPTIONS":
        raise Refusal(Answer(200, b"", HTML_UTF8, {"Allow": allow}))
    if ask.method not in methods:
        refused = error_page(405)
        refused.headers["Allow"] = allow
        raise Refusal(refused)


def _json_of(ask: Ask) -> object:
    """The body as the server's framework reads it; None if it is not labelled as JSON."""
    if "chunked" in ask.headers.get("transfer-encoding", "").lower():
        raise Refusal(error_page(400))  # gunicorn 19.9 hands on an empty body
    label = ask.headers.get("content-type", "").partition(";")[0].strip().lower()
    if label != "application/json" and not (label.startswith("application/") and label.endswith("+json")):
        return None
    try:
        return json.loads(ask.body)
    except (ValueError, RecursionError):
        raise Refusal(error_page(400)) from None


def _number(query: dict[str, list[str]], name: str, default: int) -> int:
    try:
        value = int(query.get(name, [str(default)])[0])
    except ValueError:
        raise Refusal(error_page(500)) from None
    if abs(value) > LARGEST:
        raise Refusal(error_page(500))
    return value
