"""What each fault makes of a good answer, as plain data; faults that need the socket itself are in `deliver`."""

import time
import zlib
from email.utils import formatdate
from functools import lru_cache

from harvester.sandbox.answer import HTML, JSON, Answer, Ask, error_page, gateway_page
from harvester.sandbox.faults.rates import Faults, ServiceName
from harvester.sandbox.operas.tokens import EXPIRED

ELSEWHERE = "/_elsewhere"
"""Where `redirect-other` points: nobody should ever come here, and whoever does is logged."""

REDIRECTED = "sandbox-redirected=1"
"""In the query of a request that followed `redirect-same`; such a request meets no fault."""

DEPTH = 100_000
DIGITS = 5_000
_CHUNK = 1024 * 1024

_INSERTED: dict[str, bytes] = {
    "nan": b'"a":NaN,"b":[Infinity,-Infinity]',
    "surrogate": b'"a":"half a pair: \\ud800"',
    "deep": b'"a":' + b"[" * DEPTH + b"]" * DEPTH,
    "huge-number": b'"a":' + b"7" * DIGITS,
    "not-utf8": b'"a":"caf\xe9"',
    "escape": b'"title":"\\u001b[2J\\u001b]0;owned\\u0007 \\u202e \\r\\n"',
}
"""Members put first into a record that is otherwise left as it is."""

_STATUSES: dict[str, tuple[int, str]] = {
    "429": (429, "Too Many Requests"),
    "502": (502, "Bad Gateway"),
    "stored-502": (502, "Bad Gateway"),
    "503": (503, "Service Unavailable"),
    "504": (504, "Gateway Time-out"),
    "413": (413, "Request Entity Too Large"),
}

REPLACES = frozenset({*_STATUSES, "429-seconds", "429-date", "500", "503-seconds", "401"} - {"stored-502"})
"""Faults for which the service is not asked at all."""


def replacement(fault: str, service: ServiceName, faults: Faults) -> Answer:
    """The answer given in the service's place.

    Args:
        fault: one of `REPLACES`.
        service: that was asked; its pages differ.
        faults: for Retry-After.
    """
    if fault == "500":
        return error_page(500, content_type="text/html; charset=utf-8" if service == "paperbuzz" else HTML)
    if fault == "401":
        return error_page(401, f"{{'message': {EXPIRED}}}")
    plain = fault.partition("-")[0]
    answer = gateway_page(*_STATUSES[plain])
    if fault.endswith("-seconds"):
        answer.headers["Retry-After"] = str(faults.retry_after_seconds)
    if fault.endswith("-date"):
        answer.headers["Retry-After"] = formatdate(time.time() + faults.retry_after_seconds, usegmt=True)
    return answer


def spoiled(fault: str, good: Answer, ask: Ask, faults: Faults, other: bytes) -> Answer:
    """A good answer with the fault in it; a fault that does not apply to it leaves it as it is.

    Args:
        fault: any name.
        good: what the service said.
        ask: the request, for redirects.
        faults: sizes.
        other: bytes of a good record of another DOI.
    """
    if fault == "stored-502":
        return gateway_page(*_STATUSES[fault])
    if fault == "html200":
        page = b"<!DOCTYPE html>\n<title>Maintenance</title>\n<h1>We will be back soon</h1>\n"
        return Answer(200, page, "text/html; charset=utf-8")
    if fault == "empty-body":
        return Answer(200, b"", good.content_type)
    if fault.startswith("redirect-"):
        return _redirect(fault, ask)
    if good.status == 200 and good.content_type == JSON:
        return _spoiled_record(fault, good, faults, other)
    return good


def _redirect(fault: str, ask: Ask) -> Answer:
    query = f"?{ask.query}" if ask.query else ""
    target = f"http://{ask.host}{ask.path}{query}"
    if fault == "redirect-same":
        target += ("&" if query else "?") + REDIRECTED
    if fault == "redirect-other":
        port = ask.host.rpartition(":")[2]
        target = f"http://localhost:{port}{ELSEWHERE}{ask.path}{query}"
    answer = gateway_page(302, "Found")
    answer.headers["Location"] = target
    return answer


def _spoiled_record(fault: str, good: Answer, faults: Faults, other: bytes) -> Answer:
    headers = good.headers
    if fault in _INSERTED:
        return Answer(200, b"{" + _INSERTED[fault] + b"," + good.body.lstrip(b"{"), JSON, headers)
    if fault == "wrong-doi":
        return Answer(200, other, JSON, headers)
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
    """About a thousandth of `size` bytes of gzip that unfold to a little more than `size`: a JSON string without end.

    One compressed block is repeated, so that it costs a checksum and not a compression of hundreds of megabytes.
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
