"""Promises G11, G12 and G13: the right record, its own bytes, and a server that wishes us ill.

Hypothesis makes the names and the records, a corpus the rest; every fault that the sandbox knows meets a tenth of the
requests of the tool itself, and each run is held against the request log and the checker. That any text is refused or
becomes a URL that decodes to its DOI is tested in test_paperbuzz; here it is the request line that counts.

Larger: `HARVESTER_HOSTILE_DOIS=10000 HARVESTER_HOSTILE_SEEDS=1,2,3 HARVESTER_HOSTILE_MIB=31 pytest
tests/promises/test_hostile.py`.
"""

import contextlib
import errno
import gzip
import hashlib
import io
import json
import os
import pty
import random
import re
import subprocess
import sys
import time
import tty
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import orjson
import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harvester.core.clock import SystemClock
from harvester.core.doi import parse_doi
from harvester.core.errors import InvalidDoi, InvalidJson
from harvester.core.limits import ServiceLimits
from harvester.politeness.retry import CONFIRMED
from harvester.providers.paperbuzz import PaperbuzzProvider
from harvester.records.lines import result_lines
from harvester.records.result import Result
from harvester.sandbox.faults.rates import faults_of, parse_faults
from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.run import run_in_thread
from harvester.transport.aiohttp import AiohttpTransport
from harvester.verify.gather import gather
from tests.hostile import record_of, scripted, sent_as
from tests.oracle import Input, violations
from tests.support import a_result
from tests.tool import PASSWORD, Tool, dois
from tests.transport.test_transport import Exchange, ok, serving

DOIS = int(os.environ.get("HARVESTER_HOSTILE_DOIS", "300"))
SEEDS = [int(seed) for seed in os.environ.get("HARVESTER_HOSTILE_SEEDS", "1").split(",")]
LARGE_BYTES = int(os.environ.get("HARVESTER_HOSTILE_MIB", "6")) * 2**20
EMAIL = "demo+a@example.org"
PATIENT = 110 + DOIS // 4
"""Seconds for one run."""

EXAMPLES = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# Promise G11: the right record

PIECES = st.sampled_from(
    [
        *("a", "1", "B", "/", "//", "/.", "/..", "/../", "./", "..", "?", "#", "&", "=", "%", "%25", "%2F", "%2e%2e"),
        *("%0d%0a", "\r\n", " ", "+", ";", ":", "@", "\\", "<", ">", "(", ")", "[", "]", "{", "}", "|", "^", "`", '"'),
        *("ä", "\u0301", "ﬁ", "İ", "ſ", "中", "💩", "\u200b", "\u202e", "\ufeff", "\xad", "\x00", "\x7f", "\ud800"),
        *(
            "?email=x@y.example",
            "//evil.example/",
            "@evil.example",
            " HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            "~",
            "*",
        ),
    ]
)
NAMES = st.builds(
    "{}10.{}/{}".format,
    st.sampled_from(["", "", "", "doi:", "https://doi.org/", "info:doi/", "<"]),
    st.integers(1000, 99_999),
    st.lists(PIECES, min_size=1, max_size=8).map("".join),
)


def read_strictly(line: bytes, base: str) -> tuple[str, dict[str, str]]:
    """DOI and query of a request line, as a server reads it that decodes once and normalises nothing."""
    method, target, version = line.decode("ascii").split(" ")
    assert (method, version) == ("GET", "HTTP/1.1")
    assert target.isprintable()
    assert "#" not in target
    path, _, query = target.partition("?")
    assert path.startswith(base + "doi/")
    assert not {".", ".."} & set(path.split("/"))
    return unquote_to_bytes(path.removeprefix(base + "doi/")).decode(), dict(parse_qsl(query, strict_parsing=True))


@EXAMPLES
@given(text=NAMES | st.text(), email=st.just(EMAIL) | st.emails())
@example(text="10.1234/a/../../../b?email=c#d", email="a+b&c=d@e.example")
@example(text="10.1234/a%252fb", email=EMAIL)
@example(text="10.1234//evil.example/..", email=EMAIL)
async def test_any_text_is_refused_or_its_request_line_names_exactly_its_doi(text: str, email: str) -> None:
    try:
        doi = parse_doi(text)
    except InvalidDoi:
        return

    async def answer(exchange: Exchange) -> None:
        body = json.dumps({"doi": doi, "altmetrics_sources": []}).encode()
        await exchange.reply(ok(body, "Content-Type: application/json"))

    async with serving(answer) as server, AiohttpTransport(connections=1) as transport:
        await asker(transport, server.url("/below/v0/"), email).record(doi)
        (head,) = server.heads
        host = f"Host: 127.0.0.1:{server.port}".encode()
    first, *headers = head.split(b"\r\n")
    assert read_strictly(first, "/below/v0/") == (doi, {"email": email})
    assert [header for header in headers if header.lower().startswith(b"host:")] == [host]


def asker(transport: AiohttpTransport, base: str, email: str = EMAIL, max_body: int = 2**25) -> PaperbuzzProvider:
    return PaperbuzzProvider(
        transport, ServiceLimits(base, rate=1, timeout=20, max_body=max_body), email, SystemClock()
    )


# Promise G12: the server's bytes

SPACE = st.text(" \t\r\n", max_size=3)
NUMBERS = st.sampled_from(
    [
        "0",
        "-0",
        "1e5",
        "1E+2",
        "0.10",
        "-1.50e-7",
        "12345678901234567890",
        "1" * 40,
        "1e-400",
        "-0.0",
        "1.0000000000001",
    ]
)
ESCAPES = st.sampled_from(
    [
        *("\\u00e9", "\\u00E9", "\\/", "\\n", "\\r", "\\\\", '\\"', "\\u0000", "\\u001b[2J", "\\ud83d\\ude00"),
        *("\\u2028", "\\u0085", '\\",\\"paperbuzz\\":', "\\uFEFF"),
    ]
)
PLAIN = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters='"\\')
    .filter(lambda char: char >= " ")
    .filter(str.__len__),
    max_size=5,
) | st.sampled_from(
    ["\u2028", "\u2029", "\x85", "\x7f", "\x9b31m", "\u202e", "\ufeff", "e\u0301", "\U000e0001", "\ufffe"]
)
STRINGS = st.lists(PLAIN | ESCAPES, max_size=4).map(lambda parts: f'"{"".join(parts)}"')


def _spaced(items: st.SearchStrategy[str], opening: str, closing: str) -> st.SearchStrategy[str]:
    spaced = st.lists(st.tuples(SPACE, items, SPACE).map("".join), max_size=4)
    return st.tuples(spaced, SPACE).map(lambda made: opening + (",".join(made[0]) or made[1]) + closing)


def _objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    keys = STRINGS | st.sampled_from(['"a"', '"a"', '"sha256"', '"paperbuzz"', '"metadata"', '"open_access"'])
    return _spaced(st.tuples(keys, SPACE, st.just(":"), SPACE, values).map("".join), "{", "}")


JSON = st.recursive(
    NUMBERS | STRINGS | st.sampled_from(["true", "false", "null"]),
    lambda inner: _spaced(inner, "[", "]") | _objects(inner),
    max_leaves=12,
)


@st.composite
def records(draw: st.DrawFn, doi: str = "10.1/x") -> bytes:
    """Records as only a hostile server writes them, in a shape that has to be taken."""
    sources = draw(_spaced(JSON, "[", "]"))
    members = [f'"doi"{draw(SPACE)}:{draw(SPACE)}"{doi}"', f'"altmetrics_sources"{draw(SPACE)}:{sources}']
    extra = draw(st.lists(st.tuples(STRINGS | st.just('"a"'), JSON), max_size=4))
    members += [f"{key}:{value}" for key, value in extra if json.loads(key) not in ("doi", "altmetrics_sources")]
    inside = ",".join(draw(SPACE) + member + draw(SPACE) for member in draw(st.permutations(members)))
    return (draw(SPACE) + "{" + inside + "}" + draw(SPACE)).encode()


async def harvested(record: bytes, form: str, doi: str = "10.1/x") -> bytes:
    """The line that becomes of a record which came over a socket."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(sent_as(record, form))

    async with serving(answer) as server, AiohttpTransport(connections=1) as transport:
        found = await asker(transport, server.url("/v0/")).record(doi)
    result: Result = a_result(doi, paperbuzz=found.body, outcome=found.outcome, truncated=found.truncated)
    assert result.sha256 == hashlib.sha256(found.body).hexdigest()
    return result_lines([result])


def assert_holds(line: bytes, record: bytes) -> None:
    """Whoever cuts the record out of its line has what the server sent, and can check it."""
    kept = bytes(byte for byte in record if byte not in b"\r\n")
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    head, mark, rest = line.partition(b',"paperbuzz":')
    assert mark
    assert rest == kept + b"}\n"
    assert json.loads(head + b"}")["sha256"] == hashlib.sha256(kept).hexdigest()
    assert json.loads(line)["paperbuzz"] == json.loads(record)
    assert orjson.loads(line)["paperbuzz"] == orjson.loads(record)


@EXAMPLES
@given(record=records(), form=st.sampled_from(["plain", "gzip", "chunked"]))
async def test_what_the_server_sent_stands_in_the_line_byte_for_byte(record: bytes, form: str) -> None:
    assert_holds(await harvested(record, form), record)


@EXAMPLES
@given(
    record=records(),
    before=st.sampled_from([b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"\x0b", b"\xc2\xa0", b"\xe2\x80\xa8", b")]}',\n"]),
    behind=st.booleans(),
)
async def test_a_byte_order_mark_or_anything_else_around_a_record_is_refused(
    record: bytes, before: bytes, behind: bool
) -> None:
    with pytest.raises(InvalidJson):
        await harvested(record + before if behind else before + record, "plain")


@EXAMPLES
@given(record=records(), where=st.integers(0), instead=st.binary(max_size=2))
async def test_a_damaged_record_is_refused_or_kept_as_it_came(record: bytes, where: int, instead: bytes) -> None:
    where %= len(record)
    damaged = record[:where] + instead + record[where + 1 :]
    try:
        line = await harvested(damaged, "plain")
    except Exception as error:  # noqa: BLE001 - any error of ours will do, and no other
        assert type(error).__module__ == "harvester.core.errors"  # noqa: PT017
    else:
        assert_holds(line, damaged)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
async def test_however_deep_a_record_is_a_line_that_is_written_can_be_read(opening: bytes) -> None:
    """The readers' limits lie at about a thousand levels; a line is one level deeper than its record."""
    closing = {b"[": b"]", b'{"a":': b"}"}[opening]
    kept = 0
    for depth in (10, *range(1015, 1030)):
        record = b'{"doi":"10.1/x","altmetrics_sources":[],"b":' + opening * depth + b"1" + closing * depth + b"}"
        with contextlib.suppress(InvalidJson):
            line = await harvested(record, "plain")
            assert orjson.loads(line)["doi"] == "10.1/x"
            kept += 1
    assert 0 < kept < 16


def unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(content)
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content), read_across_frames=True).read()
    return content


HOSTILE_MEMBERS = (
    *(b'"a":1,"a":2,"a":[1,1]', b'"n":[0.10,1E+2,-0,1e-400,12345678901234567890123,1.0]', b'"":""', b'"a" : "\\/"'),
    *(
        b'"s":"\xe2\x80\xa8\xe2\x80\xa9\xc2\x85\x7f\xc2\x9b2J"',
        b'"s":"\\u001b]0;owned\\u0007\\r\\n"',
        b'"b":"\xef\xbb\xbf"',
    ),
    *(b'\r\n"a":\r1\n,\n\n"b"\r\n:\t{\r}', b'"s":"\\",\\"paperbuzz\\":{}"', b'"paperbuzz":{"sha256":"0"}'),
    *(
        b'"d":' + b"[" * 900 + b"]" * 900,
        b'"s":"' + b"\\\\" * 5000 + b'"',
        b'"e":"e\xcc\x81\xc3\xa9"',
        b'"t":1' + b" " * 9999,
    ),
)


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_hostile_records_come_out_of_the_tool_as_the_bytes_that_went_in(harvester: Tool, ending: str) -> None:
    sent = {
        f"10.5555/r-{number}": b'{%b,"doi":"10.5555/r-%d","altmetrics_sources":[]}\r\n' % (member, number)
        for number, member in enumerate(HOSTILE_MEMBERS)
    }
    forms = ("plain", "gzip", "chunked")
    answers = {doi: sent_as(record, forms[number % 3]) for number, (doi, record) in enumerate(sent.items())}
    with scripted(answers) as server:
        harvester.extra["HARVESTER_PAPERBUZZ__BASE_URL"] = server.url
        run = harvester("run", harvester.write("dois.txt", list(sent)), "-o", f"out.{ending}")
    assert run.returncode == 0, run.stderr
    lines = unpacked(harvester.folder / f"out.{ending}").split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == len(sent)
    for line in lines:
        assert_holds(line + b"\n", sent[json.loads(line)["doi"]])
    with gather(harvester.folder / f"out.{ending}", deep=True) as evidence:
        assert violations(evidence) == []


# Promise G13: the fault matrix

HTTP, CONNECTION, NO_JSON, REDIRECT = "http", "connection", "invalid-json", "redirect"


@dataclass(frozen=True)
class Expected:
    """What a fault may cost.

    Args:
        kind: of the failure, if it comes to one; empty if it never does.
        message: of the failure, as a pattern.
        passes: whether more than one further attempt is worth it.
        share: of `DOIS` that are enough; each of them takes long.
    """

    kind: str = ""
    message: str = ""
    passes: bool = False
    share: float = 1.0


BROKEN_OFF = r"the connection broke off in the middle of the answer"
FAULTS = {
    **dict.fromkeys(("slow", "drip", "redirect-same", "escape", "charset", "surplus"), Expected()),
    **{status: Expected(HTTP, f"answers {status}", passes=True) for status in ("429", "500", "502", "503", "504")},
    "400": Expected(HTTP, "answers 400"),
    "json-error": Expected(NO_JSON, "the record has no doi"),
    **{
        f"{status}-{form}": Expected(HTTP, f"answers {status}", passes=True, share=0.2)
        for status, form in (("429", "seconds"), ("429", "date"), ("503", "seconds"))
    },
    "reset": Expected(CONNECTION, "reset by peer|without an answer", passes=True),
    "reset-mid": Expected(CONNECTION, BROKEN_OFF, passes=True),
    "close": Expected(CONNECTION, "without an answer", passes=True),
    "truncated": Expected(CONNECTION, BROKEN_OFF, passes=True),
    "bad-gzip": Expected(CONNECTION, "broken HTTP|broke off", passes=True),
    "hang": Expected("timeout", "no complete answer within 1 s", passes=True, share=0.3),
    "loris": Expected("timeout", "no complete answer within 1 s", passes=True, share=0.3),
    "html200": Expected(NO_JSON, "200 with text/html in place of JSON", passes=True),
    "endless": Expected("too-large", "larger than 2,097,152 bytes"),
    "gzip-bomb": Expected("too-large", "larger than 2,097,152 bytes"),
    "wrong-doi": Expected("doi-mismatch", "the record is of '10.5555/ok.other"),
    "not-a-record": Expected(NO_JSON, "but no object"),
    **dict.fromkeys(
        ("bad-json", "nan", "surrogate", "deep", "huge-number", "bom", "not-utf8", "empty-body"),
        Expected(NO_JSON, "the answer is no valid JSON: "),
    ),
    "redirect-other": Expected(REDIRECT, "a redirect to 'http://localhost:.*' is not followed", share=0.3),
    "redirect-loop": Expected(REDIRECT, "more than 3 redirects", share=0.3),
}
ATTEMPTS, STICKY_ATTEMPTS = 5, 2
ALSO_STICKY = {REDIRECT, HTTP, "doi-mismatch"}
"""Kinds of failures whose faults are tried sticky although they do not pass; the others take the same way."""


@dataclass(frozen=True)
class Case:
    """One run of the matrix.

    Args:
        fault: its name.
        sticky: whether it hits every try for its DOIs.
        seed: which DOIs are hit.
    """

    fault: str
    sticky: bool
    seed: int

    def __str__(self) -> str:
        return f"{self.fault}{' sticky' if self.sticky else ''}{f' seed {self.seed}' if len(SEEDS) > 1 else ''}"


CASES = [
    Case(fault, sticky, seed)
    for seed in SEEDS
    for fault, expected in FAULTS.items()
    for sticky in (False, True)
    if not sticky or expected.passes or expected.kind in ALSO_STICKY
]


@dataclass
class Attack:
    """What came of a run."""

    tool: Tool
    code: int
    seconds: float
    listed: list[str]
    met: Counter[str]
    """How often each DOI met the fault."""
    strayed: int

    @property
    def stderr(self) -> bytes:
        return (self.tool.folder / "stderr").read_bytes()


def attack(case: Case, folder: Path) -> Attack:
    folder.mkdir()
    faults = parse_faults(
        f"paperbuzz.{case.fault}=0.1,sticky={int(case.sticky)},slow-seconds=0.2,hang-seconds=30,retry-after=1"
    )
    with run_in_thread(SandboxOptions(seed=case.seed, size_scale=0.1, faults=faults)) as sandbox:
        tool = Tool(folder, sandbox)
        tool.extra = {
            "HARVESTER_PAPERBUZZ__TIMEOUT": "1 s" if FAULTS[case.fault].kind == "timeout" else "20 s",
            "HARVESTER_PAPERBUZZ__MAX_BODY": "2 MiB",
            "HARVESTER_PAPERBUZZ__MAX_ATTEMPTS": str(STICKY_ATTEMPTS if case.sticky else ATTEMPTS),
        }
        listed = dois(round(DOIS * FAULTS[case.fault].share))
        command = ["run", tool.write("dois.txt", listed), "-o", "out.jsonl", "--concurrency", "16"]
        begun = time.monotonic()
        with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
            process = tool.start(*command, "--log-format", "json", "--log-level", "debug", stdout=stdout, stderr=stderr)
            try:
                code = process.wait(PATIENT)
            finally:
                tool.close()
        seconds = time.monotonic() - begun
        met = Counter(entry.doi for entry in sandbox.log if entry.fault and entry.doi.startswith("10."))
        return Attack(tool, code, seconds, listed, met, sandbox.strayed)


@pytest.fixture(scope="module")
def attacks(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Case, "Future[Attack]"]]:
    """The runs of all selected cases. Most of their time is spent in pauses, so that several go on at a time."""
    selected = [item.callspec.params.get("case") for item in request.session.items if hasattr(item, "callspec")]
    folder = tmp_path_factory.mktemp("attacks")
    with ThreadPoolExecutor(8) as pool:
        cases = [case for case in selected if isinstance(case, Case)]
        yield {case: pool.submit(attack, case, folder / str(number)) for number, case in enumerate(cases)}
        pool.shutdown(cancel_futures=True)


def test_the_matrix_holds_every_fault_that_paperbuzz_may_meet() -> None:
    assert set(FAULTS) == set(faults_of("paperbuzz", with_timeouts=True))


@pytest.mark.timeout(PATIENT * 2)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_fault_costs_at_most_a_failure_of_the_doi_that_met_it(
    attacks: dict[Case, "Future[Attack]"], case: Case
) -> None:
    run = attacks[case].result()
    stderr = run.stderr.decode()
    assert run.code == 0, stderr
    assert run.strayed == 0
    expected = FAULTS[case.fault]
    results = [record["doi"] for record in run.tool.lines("out.jsonl")]
    failures = run.tool.lines("out.failures.jsonl")
    assert sorted(results + [failure["doi"] for failure in failures]) == run.listed
    with gather(run.tool.folder / "out.jsonl", deep=True) as evidence:
        assert violations(evidence, given=Input(run.listed)) == []
    assert_costs(case, run, failures, expected)
    assert_is_safe(stderr)


def assert_costs(case: Case, run: Attack, failures: list[dict[str, Any]], expected: Expected) -> None:
    """Only who met the fault as often as it takes has failed, for that reason; and the fault was met at all."""
    assert len(run.met) > len(run.listed) / 50
    limit = STICKY_ATTEMPTS if case.sticky else min(ATTEMPTS, 3 if case.fault == "500" else ATTEMPTS)
    for failure in failures:
        assert expected.kind
        assert run.met[failure["doi"]] >= (limit if expected.passes else CONFIRMED), failure
        assert (failure["kind"], failure["stage"]) == (expected.kind, "fetch")
        assert re.search(expected.message, failure["message"]), failure
        assert failure["message"].isprintable()
        assert len(failure["message"]) < 300
        assert "demo@" not in failure["message"]
        assert "demo%40" not in failure["message"]
    if case.sticky:
        assert {failure["doi"] for failure in failures} == set(run.met)


def assert_is_safe(stderr: str) -> None:
    """No traceback, no secret, nothing that a terminal obeys, and one JSON event a line; the last has the figures."""
    assert "Traceback" not in stderr
    assert "this is a bug" not in stderr
    assert PASSWORD not in stderr.replace("harvester sandbox", "")
    lines = stderr.split("\n")
    assert lines.pop() == ""
    assert all(line.isprintable() for line in lines), [line for line in lines if not line.isprintable()]
    events = [json.loads(line) for line in lines]
    for event in events:
        assert {"time", "level", "logger", "message"} <= set(event)
        assert event["level"] in ("debug", "info", "warning")
    assert "works" in events[-1]


# Promise G13: memory

MEASURED = "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); \
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=open('peak', 'w')); sys.exit(code)"
"""A process in between: the peak of a child begins with that of its parent, and pytest's is large."""


def peak_memory(folder: Path, faults: str) -> int:
    """Bytes that a run takes at the most; all other settings are the defaults."""
    folder.mkdir(exist_ok=True)
    options = SandboxOptions(size_scale=0.1, faults=parse_faults(faults))
    with run_in_thread(options) as sandbox:
        tool = Tool(folder, sandbox)
        peak = peak_of(tool, dois(DOIS))
    assert (tool.summary()["failures"] > 0) == bool(faults)
    return peak


def peak_of(tool: Tool, listed: list[str], *, command: str = "run") -> int:
    """Bytes that a run or a night over a list takes at the most."""
    tool.write("dois.txt", listed)
    tool.write("nights.toml", NIGHTS)
    arguments = {
        "run": ["run", "dois.txt", "-o", "out.jsonl"],
        "nightly": ["nightly", "--config", "nights.toml"],
        "verify": ["verify", "--deep", "out.jsonl"],
    }[command]
    subprocess.run(
        [sys.executable, "-c", MEASURED, sys.executable, "-m", "harvester", *arguments],
        cwd=tool.folder, env=tool.environment, check=True, timeout=PATIENT, capture_output=True,
    )  # fmt: skip
    unit = 1 if sys.platform == "darwin" else 1024
    return int((tool.folder / "peak").read_text()) * unit


NIGHTS = [
    "[input]",
    'files = ["dois.txt"]',
    "[output]",
    'path = "{run_id}.jsonl"',
    "[ledger]",
    'path = "nights.ledger"',
]


@pytest.fixture(scope="module")
def calm_peak(tmp_path_factory: pytest.TempPathFactory) -> int:
    return peak_memory(tmp_path_factory.mktemp("calm"), "")


@pytest.mark.timeout(PATIENT * 2)
@pytest.mark.parametrize(
    "fault",
    [
        "gzip-bomb",
        "endless",
        "deep",
    ],
)
def test_a_tenth_of_bombs_endless_or_bottomless_answers_costs_little_memory(
    tmp_path: Path, calm_peak: int, fault: str
) -> None:
    peak = peak_memory(tmp_path / fault, f"paperbuzz.{fault}=0.1")
    print(f"{fault}: {peak / 2**20:.0f} MiB, calm {calm_peak / 2**20:.0f} MiB")  # noqa: T201 - shown with -s
    assert peak - calm_peak < 64 * 2**20


def one_mark(doi: str) -> bytes:
    """One letter by which each of a long text takes four bytes, as Python holds it."""
    return record_of(doi, metadata='{"x":"💩'.encode() + b"a" * LARGE_BYTES + b'"}')


def filled(item: bytes) -> Callable[[str], bytes]:
    """Records with so many of an item."""
    return lambda doi: record_of(doi, metadata=b'{"x":[%b1]}' % ((item + b",") * (LARGE_BYTES // len(item + b","))))


COSTLY: dict[str, Callable[[str], bytes]] = {
    "empty arrays": filled(b"[]"),
    "small objects": filled(b'{"":0}'),
    "lines": filled(b'\n"abcdefgh"'),
    "one mark": one_mark,
    "sources": lambda doi: record_of(doi, sources=b"[%b{}]" % (b"{}," * (LARGE_BYTES // 3))),
}


@pytest.mark.timeout(PATIENT)
@pytest.mark.parametrize("command", ["run", "nightly"])
def test_whatever_a_valid_record_holds_it_costs_little_memory(harvester: Tool, calm_peak: int, command: str) -> None:
    """All of them are taken. In objects each would take up to thirty times its length."""
    costly = {f"10.5555/{name.replace(' ', '-')}": record for name, record in COSTLY.items()}
    answers = {doi: sent_as(record(doi), "gzip") for doi, record in costly.items()}
    with scripted(answers) as server:
        harvester.extra["HARVESTER_PAPERBUZZ__BASE_URL"] = server.url
        peak = peak_of(harvester, list(answers), command=command)
    [output] = [path for path in harvester.folder.glob("*.jsonl") if "failures" not in path.name]
    assert len(output.read_bytes().splitlines()) == len(COSTLY)
    print(f"{command}: {peak / 2**20:.0f} MiB, calm {calm_peak / 2**20:.0f} MiB")  # noqa: T201 - shown with -s
    assert peak - calm_peak < 64 * 2**20


@pytest.mark.timeout(PATIENT)
def test_many_large_records_at_once_cost_little_memory_and_so_does_reading_them_back(
    harvester: Tool, calm_peak: int
) -> None:
    events = b'{"url":"https://social.example/1","author":"somebody","date":"2026-11-20"},'
    answer = filled(events[:-1])
    large = {f"10.5555/large-{number}": b"" for number in range(30)}
    answers = {doi: sent_as(answer(doi), "plain") for doi in large}
    with scripted(answers) as server:
        harvester.extra["HARVESTER_PAPERBUZZ__BASE_URL"] = server.url
        harvester.extra["HARVESTER_PAPERBUZZ__CONCURRENCY"] = "64"
        peak = peak_of(harvester, list(answers))
    assert harvester.summary()["results"] == 30
    reading = peak_of(harvester, list(answers), command="verify")
    print(f"{peak / 2**20:.0f} and {reading / 2**20:.0f} MiB, calm {calm_peak / 2**20:.0f} MiB")  # noqa: T201
    assert peak - calm_peak < 64 * 2**20
    assert reading - calm_peak < 64 * 2**20


def test_large_answers_that_are_broken_are_let_go_of(harvester: Tool, calm_peak: int) -> None:
    """Each failure waits for its commit with an error in hand, and that must not hold the answer."""
    broken = sent_as(b'{"doi":"' + b"x" * 3_000_000, "plain")
    good = {doi: sent_as(b'{"doi":"%b","altmetrics_sources":[]}' % doi.encode(), "plain") for doi in dois(120)}
    bad = {f"10.5555/broken-{number}": broken for number in range(60)}
    mixed = [doi for trio in zip(dois(120)[::2], bad, dois(120)[1::2], strict=True) for doi in trio]
    with scripted(good | bad) as server:
        harvester.extra["HARVESTER_PAPERBUZZ__BASE_URL"] = server.url
        peak = peak_of(harvester, mixed)
    assert harvester.summary()["failures"] == 60
    assert peak - calm_peak < 64 * 2**20


# Terminals

ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m\x90q\x9c\u202eevil\u2066\x08\x0b\x7f\x00\u2028\U000e0001"
"""Window title, bell, cleared screen, 8-bit control sequences, a device control string, bidi overrides, backspace."""

OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\r?\x1b\[2K|\r?\x1b\[1A\x1b\[2K|\r")
"""What rich paints a progress bar with: colours, cursor off and on, line cleared, line up."""


def on_a_terminal(tool: Tool, *arguments: str, stdout_too: bool = True) -> tuple[int, str]:
    """Run in a terminal; returns the exit code and what the terminal was given, byte for byte."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    tool.extra |= {"TERM": "xterm-256color", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"}
    tool.without = ["NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"]
    with (tool.folder / "stdout").open("wb") as file:
        process = tool.start(*arguments, stdin=slave, stdout=slave if stdout_too else file, stderr=slave)
    os.close(slave)
    shown = bytearray()
    try:
        while True:
            try:
                block = os.read(master, 65_536)
            except OSError as error:
                assert error.errno == errno.EIO  # noqa: PT017 - the other side is closed
                break
            if not block:
                break
            shown += block
        return process.wait(60), shown.decode()
    finally:
        os.close(master)


def assert_only_ours(shown: str) -> None:
    rest = OURS.sub("", shown)
    obeyed = sorted({repr(char) for char in rest if char != "\n" and not char.isprintable()})
    assert not obeyed, (obeyed, [line for line in rest.split("\n") if not line.isprintable()])
    assert "\r" not in re.sub(r"\r(?=\x1b\[2K|\x1b\[1A|\n)", "", shown)


def hostile_answers() -> dict[str, bytes]:
    """Escape sequences wherever a server may put text."""
    raw, json_text = ESCAPE.replace("\x00", "").encode(), json.dumps(ESCAPE)[1:-1].encode()
    latin = b"\x1b]0;owned\x07\x1b[2J\x9b31m"
    closing = b"Connection: close\r\nContent-Length: 0\r\n"
    answers = {
        "reason": b"HTTP/1.1 500 " + raw + b"\r\n" + closing + b"\r\n",
        "reason-latin": b"HTTP/1.1 404 " + latin + b"\r\n" + closing + b"\r\n",
        "status": b"HTTP/1.1 " + raw + b"\r\n\r\n",
        "version": latin + b"\r\n\r\n",
        "name": b"HTTP/1.1 200 OK\r\n" + raw + b": x\r\n" + closing + b"\r\n",
        "location": b"HTTP/1.1 302 F\r\nLocation: http://evil.example/" + raw + b"\r\n" + closing + b"\r\n",
        "location-bidi": b"HTTP/1.1 302 F\r\nLocation: http://\xe2\x80\xaeevil/\xc2\x9b2J\r\n" + closing + b"\r\n",
        "type": b"HTTP/1.1 200 OK\r\nContent-Type: text/" + raw + b"\r\n" + closing + b"\r\n",
        "type-c1": b"HTTP/1.1 200 OK\r\nContent-Type: text/\xc2\x9b2J\xe2\x80\xae\r\n" + closing + b"\r\n",
        "encoding": b"HTTP/1.1 200 OK\r\nContent-Encoding: \xc2\x9b2J\r\n" + closing + b"\r\n",
        "retry": b"HTTP/1.1 429 Slow\r\nRetry-After: \xc2\x9b2J\xe2\x80\xae\r\n" + closing + b"\r\n",
        "length": b"HTTP/1.1 200 OK\r\nContent-Length: " + latin + b"\r\n\r\n",
        "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + latin + b"\r\n",
        "mismatch": sent_as(b'{"doi":"' + json_text + b'","altmetrics_sources":[]}', "plain"),
        "raw-json": sent_as(b'{"doi":"' + raw + b'","altmetrics_sources":[]}', "plain"),
        "no-json": sent_as(raw, "plain"),
        "title": sent_as(b'{"title":"' + json_text + b'","doi":"10.5555/title","altmetrics_sources":[]}', "plain"),
    }
    good = {
        f"10.5555/ok-{n}": sent_as(b'{"doi":"10.5555/ok-%d","altmetrics_sources":[]}' % n, "plain") for n in range(12)
    }
    return good | {f"10.5555/{name}": answer for name, answer in answers.items()}


HOSTILE_LINES = [
    ESCAPE,
    "10.5555/" + ESCAPE,
    "10.5555/\u202eb",
    "10.5555/a\rb",
    "\x07\x07",
    "doi:\x1b[2J",
    "10.5555/\x9b2Ja",
]


@pytest.fixture
def harvester(tmp_path: Path) -> Iterator[Tool]:
    with run_in_thread(SandboxOptions(size_scale=0.1)) as sandbox:
        tool = Tool(tmp_path, sandbox)
        yield tool
        tool.close()


@pytest.fixture
def besieged(harvester: Tool) -> Iterator[Tool]:
    """The tool, a server all of whose texts are hostile, and a list like that."""
    answers = hostile_answers()
    with scripted(answers) as server:
        harvester.extra["HARVESTER_PAPERBUZZ__BASE_URL"] = server.url
        harvester.extra["HARVESTER_PAPERBUZZ__MAX_ATTEMPTS"] = "1"
        harvester.write("dois.txt", [*answers, *HOSTILE_LINES])
        yield harvester


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_but_our_own_sequences_reaches_a_terminal(besieged: Tool, form: str) -> None:
    command = ["run", "dois.txt", "-o", "out.jsonl", "--log-level", "debug", "--log-format", form]
    code, shown = on_a_terminal(besieged, *command)
    assert code == 0, shown
    assert_only_ours(shown)
    assert "\x1b[?25l" in shown
    failures = besieged.lines("out.failures.jsonl")
    assert len(failures) > 20
    assert {record["doi"] for record in besieged.lines("out.jsonl")} >= {"10.5555/ok-0", "10.5555/title"}
    for failure in failures:
        assert failure["message"].isprintable()
    for look in ("status", "verify"):
        code, shown = on_a_terminal(besieged, look, "out.jsonl")
        assert code == 0, shown
        assert_only_ours(shown)


def test_failures_that_are_told_on_a_terminal_are_safe(besieged: Tool) -> None:
    code, shown = on_a_terminal(besieged, "run", "dois.txt", "-o", "-", stdout_too=False)
    assert code == 0, shown
    assert_only_ours(shown)
    assert "not a DOI" in shown
    assert "owned" in shown


def test_the_escape_fault_leaves_a_terminal_alone(harvester: Tool) -> None:
    harvester.sandbox.set_faults(parse_faults("paperbuzz.escape=0.5,paperbuzz.wrong-doi=0.1"))
    listed = harvester.write("dois.txt", dois(60))
    code, shown = on_a_terminal(harvester, "run", listed, "-o", "out.jsonl", "--log-level", "debug")
    assert code == 0, shown
    assert_only_ours(shown)
    assert b"owned" in (harvester.folder / "out.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("content", "arguments"),
    [
        (f"{ESCAPE},b\n1,2\n", ["list.csv"]),
        (f"doi,{ESCAPE}\n10.5555/ok-1,{ESCAPE}\n{ESCAPE},2\n", ["list.csv"]),
        (f"doi,url\n10.5555/ok-1,{ESCAPE}\n", ["list.csv", "--url-column", "url"]),
        ("doi,b\n10.5555/ok-1,2\n", ["list.csv", "--doi-column", "\x1b[2J"]),
        (json.dumps([{ESCAPE: ESCAPE}]), ["list.json"]),
        (f'[{{"doi": "{ESCAPE}"', ["list.json"]),
        (f"@article{{{ESCAPE},\n doi = {{{ESCAPE}}}\n", ["list.bib"]),
        (f"TY  - JOUR\nDO  - {ESCAPE}\nER  - \n", ["list.ris"]),
        (f"{ESCAPE}\n", ["list.txt"]),
        ("", ["\x1b]0;owned\x07.txt"]),
        ("", ["dois.txt", "--rate", "\x1b[2J"]),
        ("", ["dois.txt", "--config", "\x1b[2J.toml"]),
        ("", ["dois.txt", "--\x1b[2J"]),
    ],
    ids=lambda value: ascii(value)[:40],
)  # fmt: skip
def test_hostile_lists_and_arguments_leave_a_terminal_alone(
    harvester: Tool, content: str, arguments: list[str]
) -> None:
    harvester.write("dois.txt", ["10.5555/ok-1"])
    (harvester.folder / arguments[0]).write_text(content or "10.5555/ok-1\n10.5555/\x1b[2J\n", "utf-8")
    _, shown = on_a_terminal(harvester, "run", *arguments, "-o", "out.jsonl", "--log-level", "debug")
    assert shown
    assert "Traceback" not in shown
    assert_only_ours(shown)


# Promise G11 once more, through the tool


def test_whatever_stands_in_a_list_each_request_names_one_of_its_dois(harvester: Tool) -> None:
    chance = random.Random(13)
    pieces = [
        "a",
        "/",
        "/..",
        "/.",
        "?",
        "#",
        "%",
        "%25",
        "&",
        "=",
        "+",
        ";",
        ":",
        "<",
        ">",
        "(",
        "[",
        "~",
        "\\",
        "ä",
        "中",
    ]
    lines = [
        chance.choice(["", "doi:", "https://doi.org/"])
        + f"10.5555/{number}"
        + "".join(chance.choice(pieces) for _ in range(chance.randrange(1, 7)))
        for number in range(200)
    ]
    run = harvester("run", harvester.write("dois.txt", lines), "-o", "out.jsonl", "--concurrency", "16")
    assert run.returncode == 0, run.stderr
    with gather(harvester.folder / "out.jsonl", deep=True) as evidence:
        assert violations(evidence) == []
    works = {record["doi"] for record in harvester.lines("out.jsonl")}
    works |= {failure["doi"] for failure in harvester.lines("out.failures.jsonl") if failure["doi"]}
    assert len(works) > 50
    asked = set()
    for entry in harvester.sandbox.log:
        if entry.path.startswith("/v0/doi/"):
            doi, query = read_strictly(f"{entry.method} {entry.path} HTTP/1.1".encode(), "/v0/")
            assert query == {"email": "demo@example.org"}
            asked.add(doi)
    assert asked == works
