"""A hostile service: records that only it sends and that have to be taken all the same, and a server for them."""

import contextlib
import gzip
import json
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

import orjson
from hypothesis import strategies as st

from harvester.core.doi import doi_path
from tests.support import json_values
from tests.transport.test_transport import ok

NUMBERS = st.sampled_from(
    ["0", "-1", "1", "2500", "1e308", "1.5", "true", "null", '"7"', "9223372036854775807", "18446744073709551615"]
)
TEXTS = st.text(max_size=20) | st.sampled_from(["", "\x00", "\x9b31m\u202e", "💩", "score", "a" * 300])
DATES = st.sampled_from(
    [
        *("2026-11-20", "0001-01-01", "9999-12-31", "2017-W01-1", "20170131", "2026-02-30", "", "x" * 50, "-001-01-01"),
        *("٢٠١٧-٠١-٠١", "2026-11-20T25:00"),
    ]
).map(json.dumps)


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    """So many levels of nothing."""
    return opening * depth + ("1" if closing == "}" else "") + closing * depth


DEEP = st.builds(nested, st.integers(1, 1000)) | st.builds(nested, st.integers(1, 500), st.just('{"a":'), st.just("}"))
VALUES = (
    NUMBERS | DATES | DEEP | TEXTS.map(json.dumps) | json_values(st.text()).map(lambda it: orjson.dumps(it).decode())
)


def _object(pairs: Iterable[tuple[str, str]]) -> str:
    inside = ",".join(f"{json.dumps(name)}:{value}" for name, value in pairs)
    return f"{{{inside}}}"


def _objects(members: dict[str, st.SearchStrategy[str]]) -> st.SearchStrategy[str]:
    """Objects with some of these members, in any order, some of them twice."""
    pairs = st.one_of([st.tuples(st.just(name), values) for name, values in members.items()])
    return st.lists(pairs, max_size=8).map(_object)


def _lists(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(items, max_size=4).map(lambda made: f"[{','.join(made)}]")


COUNTS = st.sampled_from(["18446744073709551615", "9223372036854775807"]) | NUMBERS
NAMES = st.sampled_from(['"a"', '"b"']) | TEXTS.map(json.dumps)
"""Few names, so that there are sums."""

DAYS = _lists(_objects({"date": DATES | VALUES, "count": COUNTS}) | VALUES)
SOURCES = _lists(
    _objects(
        {
            "source_id": NAMES | VALUES,
            "events_count": COUNTS,
            "events_count_by_day": DAYS | VALUES,
            "events": _lists(VALUES),
        }
    )
    | VALUES
)
DATE_PARTS = _lists(_lists(NUMBERS | st.sampled_from(["2017", "13", "31", "20170131"]))) | VALUES
METADATA = _objects(
    {
        "title": VALUES,
        "URL": TEXTS.map(json.dumps)
        | st.sampled_from(['"https://x.example/a"', '"http://[::1"', '"ftp://x"'])
        | VALUES,
        "issued": _objects({"date-parts": DATE_PARTS}) | VALUES,
        "created": _objects({"date-parts": DATE_PARTS}),
        "crossref_url": VALUES,
    }
)
OPEN_ACCESS = _objects(
    {"best_oa_location": _objects({"url": VALUES, "url_for_landing_page": VALUES}) | VALUES, "oadoi_url": VALUES}
)


@st.composite
def hostile_records(draw: st.DrawFn, doi: str) -> bytes:
    """A record of this DOI that is valid, with whatever else JSON can hold."""
    members = {
        "altmetrics_sources": draw(SOURCES),
        "metadata": draw(METADATA | VALUES),
        "open_access": draw(OPEN_ACCESS | VALUES),
        **draw(st.dictionaries(st.text(max_size=5), VALUES, max_size=2)),
        "doi": json.dumps(doi),
    }
    return _object(draw(st.permutations(list(members.items())))).encode()


def record_of(doi: str, *, sources: bytes = b"[]", metadata: bytes = b'{"title":"t"}') -> bytes:
    """A record with these parts, byte for byte."""
    return b'{"doi":%b,"altmetrics_sources":%b,"metadata":%b,"open_access":{"is_oa":true}}' % (
        json.dumps(doi).encode(),
        sources,
        metadata,
    )


BIG = b"18446744073709551615"

POISONS: dict[str, Callable[[str], bytes]] = {
    "big-sum": lambda doi: record_of(
        doi, sources=b'[{"source_id":"a","events_count":%b},{"source_id":"a","events_count":%b}]' % (BIG, BIG)
    ),
    "big-days": lambda doi: record_of(
        doi,
        sources=b'[{"source_id":"a","events_count_by_day":[{"date":"2026-11-20","count":%b},'
        b'{"date":"2026-11-21","count":%b}]}]' % (BIG, BIG),
    ),
    "deep-metadata": lambda doi: record_of(doi, metadata=b'{"x":%b}' % nested(255).encode()),
    "deep-source": lambda doi: record_of(doi, sources=b'[{"source_id":"a","x":%b}]' % nested(900).encode()),
    "long-name": lambda doi: record_of(doi, sources=b'[{"source_id":"%b","events_count":1}]' % (b"a" * 100_000)),
    "many-sources": lambda doi: record_of(
        doi, sources=b"[%b]" % b",".join(b'{"source_id":"%d","events_count":1}' % n for n in range(5_000))
    ),
    "wide": lambda doi: record_of(doi, metadata=b'{"x":[%b]}' % b",".join([b"[]"] * 60_000)),
    "too-wide": lambda doi: record_of(doi, metadata=b'{"x":[%b]}' % b",".join([b"[]"] * 400_000)),
    "too-many-sources": lambda doi: record_of(doi, sources=b"[%b]" % b",".join([b"{}"] * 400_000)),
    "one-astral-letter": lambda doi: record_of(doi, metadata=b'{"x":"\xf0\x9f\x92\xa9%b"}' % (b"a" * 3_000_000)),
}
"""Records that were too much for something once, by name."""


def sent_as(record: bytes, form: str) -> bytes:
    """The last answer of a connection, with this record: whole, compressed, or in pieces."""
    headers = ("Content-Type: application/json", "Connection: close")
    if form == "gzip":
        return ok(gzip.compress(record), *headers, "Content-Encoding: gzip")
    if form == "plain":
        return ok(record, *headers)
    head = "\r\n".join(["HTTP/1.1 200 OK", *headers, "Transfer-Encoding: chunked", "", ""]).encode()
    pieces = [record[start : start + 7] for start in range(0, len(record), 7)]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


class Scripted(socketserver.ThreadingTCPServer):
    """A server that says, for each DOI, the bytes it was given; its status page is in order."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, answers: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _ScriptedHandler)
        self.answers = {doi_path(doi): answer for doi, answer in answers.items()}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v0/"


class _ScriptedHandler(socketserver.StreamRequestHandler):
    server: Scripted

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            target = self.rfile.readline().split(b" ")[1].decode()
            while self.rfile.readline().strip():
                pass
            path = target.partition("?")[0].removeprefix("/v0/")
            alive = ok(b'{"msg":"Don\'t panic"}', "Content-Type: application/json", "Connection: close")
            self.wfile.write(alive if not path else self.server.answers.get(path.removeprefix("doi/"), b""))


@contextlib.contextmanager
def scripted(answers: Mapping[str, bytes]) -> Iterator[Scripted]:
    with Scripted(answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
