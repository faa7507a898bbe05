"""The sandbox's own pages: one for people at `/`, JSON under `/_sandbox/` to read its state and to steer it."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs

from aiohttp import web

from harvester.core.errors import Usage
from harvester.sandbox.answer import HTML_UTF8, Answer, error_page, json_answer
from harvester.sandbox.faults.rates import SERVICES, ServiceName, parse_faults
from harvester.sandbox.page import page

if TYPE_CHECKING:
    from harvester.sandbox.server import OutageKind, Sandbox

LOG_PAGE = 1_000


async def answer(sandbox: "Sandbox", request: web.BaseRequest) -> Answer:
    """The answer to a request that is for neither service."""
    path, _, query = request.raw_path.partition("?")
    if path in ("", "/"):
        return Answer(200, page(sandbox).encode(), HTML_UTF8)
    name = path.removeprefix("/_sandbox/") if path.startswith("/_sandbox/") else ""
    if request.method == "GET" and name in _READS:
        return _guarded(lambda: _READS[name](sandbox, _flat(query)))
    if request.method == "POST" and name in _WRITES:
        given = await request.read()
        return _guarded(lambda: _WRITES[name](sandbox, _object(given)))
    return error_page(404)


def _guarded(action: Callable[[], object]) -> Answer:
    """Its value as JSON; what cannot be understood is a 400 that says why."""
    try:
        return json_answer(action())
    except (Usage, ValueError, TypeError, KeyError) as error:
        return json_answer({"error": f"{type(error).__name__}: {error}"}, 400)


def _flat(query: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(query).items()}


def _object(body: bytes) -> dict[str, Any]:
    value = json.loads(body or b"{}")
    if not isinstance(value, dict):
        raise TypeError("a JSON object is expected")
    return value


def stats(sandbox: "Sandbox") -> dict[str, object]:
    """Counts so far."""
    violations = sandbox.rate_violations()
    return {
        "requests": sandbox.log.total,
        "by_service": dict(sandbox.log.counts),
        "by_status": dict(sandbox.log.statuses),
        "by_fault": dict(sandbox.log.faults),
        "day": sandbox.day,
        "dois_answered": len(sandbox.paperbuzz.asked),
        "dois_registered": len(sandbox.operas.registered),
        "posts": sandbox.operas.posts,
        "tokens_issued": sandbox.operas.tokens_issued,
        "most_at_once": sandbox.gate.most,
        "most_at_once_for_one_doi": sandbox.same_doi.most,
        "most_posts_at_once_of_one_account": sandbox.posts_at_once.most,
        "requests_at_foreign_host": sandbox.strayed,
        "rate_violations": len(violations),
    }


def _state(sandbox: "Sandbox", _: dict[str, str]) -> object:
    return {
        "paperbuzz_url": sandbox.paperbuzz_url,
        "operas_url": sandbox.operas_url,
        "accounts": [asdict(account) for account in sandbox.options.accounts],
        "seed": sandbox.options.seed,
        "day": sandbox.day,
        "faults": dict(sandbox.faults.rates),
        "outages": {service: sandbox.outage(service) for service in SERVICES},
        "capacity": sandbox.gate.limit,
        "latency_seconds": sandbox.latency_seconds,
        "registered": {doi: list(urls) for doi, urls in sandbox.operas.registered.items()},
    }


def _log(sandbox: "Sandbox", query: dict[str, str]) -> object:
    since, service = int(query.get("since", 0)), query.get("service")
    found = [entry for entry in sandbox.log if entry.number > since and service in (None, entry.service)]
    return [entry.as_dict() for entry in found[: int(query.get("limit", LOG_PAGE))]]


def _violations(sandbox: "Sandbox", query: dict[str, str]) -> object:
    rate = float(query["rate"]) if "rate" in query else None
    burst = float(query["burst"]) if "burst" in query else None
    slack = float(query["slack"]) if "slack" in query else None
    found: dict[str, object] = {
        "rate": [asdict(item) for item in sandbox.rate_violations(rate, burst, slack_seconds=slack)],
        "same_doi_at_once": sandbox.same_doi.offenders,
        "posts_at_once": sandbox.posts_at_once.offenders,
    }
    if "quota" in query:
        found["quota"] = [asdict(item) for item in sandbox.quota_violations(int(query["quota"]))]
    return found


def _faults(sandbox: "Sandbox", given: dict[str, Any]) -> object:
    sandbox.set_faults(parse_faults(str(given["faults"])))
    return {"faults": dict(sandbox.faults.rates)}


def _advance(sandbox: "Sandbox", given: dict[str, Any]) -> object:
    return {"day": sandbox.advance(int(given.get("days", 1)))}


def _outage(sandbox: "Sandbox", given: dict[str, Any]) -> object:
    service, kind = given["service"], given.get("kind", "503")
    if service not in SERVICES or kind not in ("503", "refuse", None):
        raise ValueError("service is paperbuzz or operas; kind is 503, refuse or null")
    sandbox.set_outage(cast("ServiceName", service), cast("OutageKind | None", kind))
    return {"service": service, "kind": kind}


def _capacity(sandbox: "Sandbox", given: dict[str, Any]) -> object:
    capacity = given["capacity"]
    sandbox.set_capacity(None if capacity is None else int(capacity))
    return {"capacity": sandbox.gate.limit}


def _latency(sandbox: "Sandbox", given: dict[str, Any]) -> object:
    sandbox.latency_seconds = float(given["seconds"])
    return {"latency_seconds": sandbox.latency_seconds}


_READS: dict[str, Callable[["Sandbox", dict[str, str]], object]] = {
    "state": _state,
    "stats": lambda sandbox, _: stats(sandbox),
    "log": _log,
    "violations": _violations,
}
_WRITES: dict[str, Callable[["Sandbox", dict[str, Any]], object]] = {
    "faults": _faults,
    "advance": _advance,
    "outage": _outage,
    "capacity": _capacity,
    "latency": _latency,
}
