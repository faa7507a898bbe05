"""Faults of the answer: a status, a spoiled record, a redirect. Plain data goes in and comes out.

Faults that need the connection itself are in `connection`.
"""

import time
import zlib
from email.utils import formatdate
from functools import lru_cache

from harvester.sandbox.faults.rates import Faults
from harvester.sandbox.messages import JSON, Answer, Request, gateway_page
from harvester.sandbox.service import StandIn

ELSEWHERE = "/_elsewhere"
"""The path to which `redirect-other` points. Nobody should ever come here; who does is counted."""

REDIRECTED = "sandbox-redirected=1"
"""Stands in the query of a request that followed `redirect-same`. Such a request meets no fault."""

DEPTH = 100_000
"""How deep `deep` nests."""

DIGITS = 5_000
"""The length of the number in `huge-number`."""

_CHUNK = 1024 * 1024

_INSERTED: dict[str, bytes] = {
    "nan": b'"a":NaN,"b":[Infinity,-Infinity]',
    "surrogate": b'"a":"half a pair: \\ud800"',
    "deep": b'"a":' + b"[" * DEPTH + b"]" * DEPTH,
    "huge-number": b'"a":' + b"7" * DIGITS,
    "not-utf8": b'"a":"caf\xe9"',
    "escape": b'"title":"\\u001b[2J\\u001b]0;owned\\u0007 \\u202e \\r\\n"',
}
"""Members that are put at the beginning of a record. The rest of the record stays as it is."""

_STATUSES: dict[str, tuple[int, str]] = {
    "400": (400, "Bad Request"),
    "429": (429, "Too Many Requests"),
    "502": (502, "Bad Gateway"),
    "stored-502": (502, "Bad Gateway"),
    "503": (503, "Service Unavailable"),
    "504": (504, "Gateway Time-out"),
    "413": (413, "Request Entity Too Large"),
}

_JSON_ERROR = Answer(200, b'{"message": "Internal server error"}\n', JSON)
"""An error as many services tell it: as JSON, with status 200."""

REPLACES = frozenset({*_STATUSES, "429-seconds", "429-date", "500", "503-seconds", "401"} - {"stored-502"})
"""Faults that are answered in the service's place: its stand-in is not asked at all."""


def replacement(fault: str, service: StandIn, faults: Faults) -> Answer:
    """The answer that is given in the service's place.

    Args:
        fault: one of `REPLACES`.
        service: whose own pages show a 401 and a 500. All other pages are a gateway's.
        faults: for Retry-After.
    """
    if fault in ("401", "500"):
        return service.error(int(fault))
    plain = fault.partition("-")[0]
    answer = gateway_page(*_STATUSES[plain])
    if fault.endswith("-seconds"):
        answer.headers["Retry-After"] = str(faults.retry_after_seconds)
    if fault.endswith("-date"):
        answer.headers["Retry-After"] = formatdate(time.time() + faults.retry_after_seconds, usegmt=True)
    return answer


def spoiled(fault: str, good: Answer, request: Request, faults: Faults, other: bytes) -> Answer:
    """A good answer with the fault in it. An answer to which the fault does not apply stays as it is.

    Args:
        fault: any name.
        good: what the stand-in answered.
        request: with the whole path, for redirects.
        faults: for the size of the bomb.
        other: body of a good answer to another question, for `wrong-doi`.
    """
    if fault == "stored-502":
        return gateway_page(*_STATUSES[fault])
    if fault == "html200":
        page = b"<!DOCTYPE html>\n<title>Maintenance</title>\n<h1>We will be back soon</h1>\n"
        return Answer(200, page, "text/html; charset=utf-8")
    if fault == "empty-body":
        return Answer(200, b"", good.content_type)
    if fault.startswith("redirect-"):
        return _redirect(fault, request)
    if good.status == 200 and good.content_type == JSON:
        return _spoiled_record(fault, good, faults, other)
    return good


def in_an_outage(kind: str, service: StandIn) -> Answer:
    """The answer to everything while a service is down in this way."""
    if kind == "500":
        return service.error(500)
    if kind == "json-error":
        return _JSON_ERROR
    if kind == "one-record":
        return Answer(200, service.other_body(""), JSON)
    return gateway_page(400, "Bad Request") if kind == "400" else gateway_page(503, "Service Unavailable")


def _redirect(fault: str, request: Request) -> Answer:
    query = f"?{request.query}" if request.query else ""
    target = f"http://{request.host}{request.path}{query}"
    if fault == "redirect-same":
        target += ("&" if query else "?") + REDIRECTED
    if fault == "redirect-other":
        port = request.host.rpartition(":")[2]
        target = f"http://localhost:{port}{ELSEWHERE}{request.path}{query}"
    answer = gateway_page(302, "Found")
    answer.headers["Location"] = target
    return answer


def _spoiled_record(fault: str, good: Answer, faults: Faults, other: bytes) -> Answer:
    headers = good.headers
    if fault in _INSERTED:
        return Answer(200, b"{" + _INSERTED[fault] + b"," + good.body.lstrip(b"{"), JSON, headers)
    if fault == "wrong-doi":
        return Answer(200, other, JSON, headers)
    if fault == "json-error":
        return _JSON_ERROR
    if fault == "not-a-record":
        return Answer(200, b'["a list", null]\n', JSON, headers)
    if fault == "bad-json":
        return Answer(200, good.body[: len(good.body) // 2], JSON, headers)
    if fault == "bom":
        return Answer(200, b"\xef\xbb\xbf" + good.body, JSON, headers)
    if fault == "charset":
        return Answer(200, good.body, "application/json; charset=utf-16", headers)
    if fault == "bad-gzip":
        return Answer(200, b"this is not gzip" * 8, JSON, headers | {"Content-Encoding": "gzip"})
    if fault == "gzip-bomb":
        return Answer(200, bomb(faults.bomb_bytes), JSON, headers | {"Content-Encoding": "gzip"})
    return good


@lru_cache(maxsize=2)
def bomb(size: int) -> bytes:
    """Gzip that unfolds to a JSON object of a little more than `size` bytes, and is itself a thousandth as long.

    One compressed block is repeated. So this costs a checksum, and not the compression of hundreds of megabytes.
    """
    head = b'{"altmetrics_sources":["'
    block = b"a" * _CHUNK
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    middle = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    end = packer.compress(b'"]}') + packer.flush(zlib.Z_FINISH)
    repeats = size // _CHUNK + 1
    checksum = zlib.crc32(head)
    for _ in range(repeats):
        checksum = zlib.crc32(block, checksum)
    checksum = zlib.crc32(b'"]}', checksum)
    length = (len(head) + repeats * _CHUNK + 3) % 2**32
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
    return header + start + middle * repeats + end + checksum.to_bytes(4, "little") + length.to_bytes(4, "little")
