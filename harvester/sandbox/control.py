"""The sandbox's own pages: one for people at `/`, and JSON under `/_sandbox/` to read its state and to change it.

What they show and change is in `state`. The page for people is made in `page`.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, cast
from urllib.parse import parse_qs

from aiohttp import web

from harvester.core.errors import Usage
from harvester.sandbox.faults.rates import parse_faults
from harvester.sandbox.messages import HTML_UTF8, Answer, error_page, json_answer
from harvester.sandbox.options import OUTAGE_KINDS, OutageKind
from harvester.sandbox.page import page
from harvester.sandbox.service import SERVICES, ServiceName
from harvester.sandbox.state import SandboxState

LOG_PAGE = 1_000
"""Entries of the log in one answer, unless the query says otherwise."""


async def answer(state: SandboxState, incoming: web.BaseRequest) -> Answer:
    """The answer to a request that is for no service."""
    path, _, query = incoming.raw_path.partition("?")
    if path in ("", "/"):
        return Answer(200, page(state).encode(), HTML_UTF8)
    name = path.removeprefix("/_sandbox/") if path.startswith("/_sandbox/") else ""
    if incoming.method == "GET" and name in _READS:
        return _guarded(lambda: _READS[name](state, _flat(query)))
    if incoming.method == "POST" and name in _WRITES:
        given = await incoming.read()
        return _guarded(lambda: _WRITES[name](state, _object(given)))
    return error_page(404)


def _guarded(action: Callable[[], object]) -> Answer:
    """The value of the action as JSON. If the request cannot be understood, a 400 that says why."""
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


def stats(state: SandboxState) -> dict[str, object]:
    """What was counted so far."""
    violations = state.rate_violations()
    return {
        "requests": state.log.total,
        "by_service": dict(state.log.counts),
        "by_status": dict(state.log.statuses),
        "by_fault": dict(state.log.faults),
        "day": state.day,
        "dois_answered": len(state.paperbuzz.asked),
        "dois_registered": len(state.operas.registered),
        "posts": state.operas.posts,
        "tokens_issued": state.operas.tokens_issued,
        "most_at_once": state.gate.most,
        "most_at_once_for_one_doi": state.same_doi.most,
        "most_posts_at_once_of_one_account": state.posts_at_once.most,
        "requests_at_foreign_host": state.strayed,
        "rate_violations": len(violations),
    }


def _state(state: SandboxState, _: dict[str, str]) -> object:
    return {
        **{f"{name}_url": state.base_url(name) for name in state.services},
        "accounts": [asdict(account) for account in state.options.accounts],
        "seed": state.options.seed,
        "day": state.day,
        "faults": dict(state.faults.rates),
        "outages": {service: state.outage(service) for service in state.services},
        "capacity": state.gate.limit,
        "latency_seconds": state.latency_seconds,
        "registered": {doi: list(urls) for doi, urls in state.operas.registered.items()},
    }


def _log(state: SandboxState, query: dict[str, str]) -> object:
    since, service = int(query.get("since", 0)), query.get("service")
    found = [entry for entry in state.log if entry.number > since and service in (None, entry.service)]
    return [entry.as_dict() for entry in found[: int(query.get("limit", LOG_PAGE))]]


def _violations(state: SandboxState, query: dict[str, str]) -> object:
    rate = float(query["rate"]) if "rate" in query else None
    burst = float(query["burst"]) if "burst" in query else None
    slack = float(query["slack"]) if "slack" in query else None
    found: dict[str, object] = {
        "rate": [asdict(item) for item in state.rate_violations(rate, burst, slack_seconds=slack)],
        "same_doi_at_once": state.same_doi.offenders,
        "posts_at_once": state.posts_at_once.offenders,
    }
    if "quota" in query:
        found["quota"] = [asdict(item) for item in state.quota_violations(int(query["quota"]))]
    return found


def _faults(state: SandboxState, given: dict[str, Any]) -> object:
    state.set_faults(parse_faults(str(given["faults"])))
    return {"faults": dict(state.faults.rates)}


def _advance(state: SandboxState, given: dict[str, Any]) -> object:
    return {"day": state.advance(int(given.get("days", 1)))}


def _outage(state: SandboxState, given: dict[str, Any]) -> object:
    service, kind = given["service"], given.get("kind", "503")
    if service not in SERVICES or kind not in (*OUTAGE_KINDS, None):
        raise ValueError(f"service is {' or '.join(SERVICES)}; kind is {', '.join(OUTAGE_KINDS)} or null")
    state.set_outage(cast("ServiceName", service), cast("OutageKind | None", kind))
    return {"service": service, "kind": kind}


def _capacity(state: SandboxState, given: dict[str, Any]) -> object:
    capacity = given["capacity"]
    state.set_capacity(None if capacity is None else int(capacity))
    return {"capacity": state.gate.limit}


def _latency(state: SandboxState, given: dict[str, Any]) -> object:
    state.latency_seconds = float(given["seconds"])
    return {"latency_seconds": state.latency_seconds}


_READS: dict[str, Callable[[SandboxState, dict[str, str]], object]] = {
    "state": _state,
    "stats": lambda state, _: stats(state),
    "log": _log,
    "violations": _violations,
}
_WRITES: dict[str, Callable[[SandboxState, dict[str, Any]], object]] = {
    "faults": _faults,
    "advance": _advance,
    "outage": _outage,
    "capacity": _capacity,
    "latency": _latency,
}
