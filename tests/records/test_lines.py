"""The lines of the output and of the failures file: what was written is read back, and what is damaged is told."""

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.core.errors import InputUnusable
from harvester.core.model import Failure, Outcome, Stage
from harvester.records.lines import BadLine, failure_line, read, read_failure, read_result, result_lines
from harvester.records.packing import FORMATS, packer
from harvester.records.result import Result
from tests.support import a_failure, a_result, json_values

COUNTS = st.integers(0, 2**53)
RECORDS = st.dictionaries(st.text(), json_values(st.text())).map(orjson.dumps)
RESULTS = st.builds(
    Result,
    doi=st.text(),
    outcome=st.sampled_from(Outcome),
    harvested_at=st.text(),
    http_status=COUNTS,
    attempts=COUNTS,
    elapsed_ms=COUNTS,
    truncated=st.none() | st.booleans(),
    changed=st.none() | st.booleans(),
    paperbuzz=RECORDS,
    sha256=st.text(),
    added=st.none() | st.dictionaries(st.text(), COUNTS),
    place=st.none(),
)
FAILURES = st.builds(
    Failure,
    doi=st.none() | st.text(),
    input=st.text(),
    origin=st.text(),
    kind=st.text(),
    http_status=st.none() | COUNTS,
    attempts=COUNTS,
    message=st.text(),
    failed_at=st.text(),
    stage=st.sampled_from(Stage),
)


@given(RESULTS)
def test_a_result_that_was_written_is_read_back(result: Result) -> None:
    line = read_result(result_lines([result]))
    told = line._asdict()
    assert told.pop("record") == orjson.loads(result.paperbuzz)
    not_written = ("landing_urls", "comparable", "place")
    assert told == {name: value for name, value in result._asdict().items() if name not in not_written}


@given(FAILURES)
def test_a_failure_that_was_written_is_read_back(failure: Failure) -> None:
    assert read_failure(failure_line(failure)) == failure


def test_the_bytes_of_a_record_are_those_of_the_server() -> None:
    sent = b'{"doi" : "10.5555/a","n":1.50,"quoted":",\\"paperbuzz\\":"}'
    assert read_result(result_lines([a_result(paperbuzz=sent)])).paperbuzz == sent


LINE = result_lines([a_result()])


def without(name: str) -> Callable[[bytes], bytes]:
    return lambda line: orjson.dumps({key: value for key, value in orjson.loads(line).items() if key != name}) + b"\n"


def changed(**members: object) -> Callable[[bytes], bytes]:
    return lambda line: orjson.dumps(orjson.loads(line) | members) + b"\n"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda line: line[:-1], "is cut off: no line feed ends it"),
        (lambda line: line[:20] + b"\n", "is no valid JSON: "),
        (lambda _: b"[" * 100_000 + b"\n", "is no valid JSON: "),
        (lambda _: b"[]\n", "is JSON, but no object"),
        (changed(v=2), "is no record of version 1: see v"),
        (without("truncated"), "is no record of version 1: see truncated"),
        (changed(attempts="1", sha256=None), "is no record of version 1: see attempts, sha256"),
        (changed(paperbuzz=[]), "is no record of version 1: see paperbuzz"),
    ],
)
def test_a_line_that_is_no_result_says_why(change: Callable[[bytes], bytes], problem: str) -> None:
    with pytest.raises(BadLine) as caught:
        read_result(change(LINE))
    assert caught.value.problem.startswith(problem)


@pytest.mark.parametrize(("doi", "told"), [("10.5555/a", "10.5555/a"), (7, ""), (None, "")])
def test_a_line_that_is_no_result_tells_the_doi_that_it_names(doi: object, told: str) -> None:
    with pytest.raises(BadLine) as caught:
        read_result(changed(doi=doi, attempts="1")(LINE))
    assert caught.value.doi == told


@pytest.mark.parametrize(
    "change", [changed(v=2), without("doi"), changed(doi=7), changed(stage="later"), changed(kind=1)]
)
def test_a_line_that_is_no_failure_is_refused(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(BadLine, match="is no failure of this format"):
        read_failure(change(failure_line(a_failure())))


def test_an_outcome_or_a_kind_of_a_later_version_is_read_as_it_stands() -> None:
    assert read_result(changed(outcome="brand-new")(LINE)).outcome == "brand-new"
    assert read_failure(changed(kind="brand-new")(failure_line(a_failure()))).kind == "brand-new"


def test_members_of_a_later_version_are_passed_over() -> None:
    assert read_result(changed(later=1)(LINE)).doi == "10.5555/a"


# An output as a whole


@pytest.mark.parametrize("ending", FORMATS)
def test_an_output_is_read_in_its_order_however_it_is_packed(tmp_path: Path, ending: str) -> None:
    results = [a_result(f"10.5555/{number}") for number in range(5)]
    pack = packer(ending)
    path = tmp_path / f"out{ending}"
    path.write_bytes(pack(result_lines(results[:3])) + pack(result_lines(results[3:])))
    assert [line.doi for line in read(path)] == [result.doi for result in results]


def test_what_stands_behind_the_committed_length_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl.partial"
    path.write_bytes(LINE + LINE[:50])
    assert len(list(read(path, len(LINE)))) == 1


@pytest.mark.parametrize("damage", [LINE[:50], b"\0\n", b'{"v":1}\n'])
def test_damage_is_told_with_its_line_after_all_that_is_whole(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(LINE + damage)
    lines = read(path)
    assert next(lines).doi == "10.5555/a"
    with pytest.raises(InputUnusable, match=r"out\.jsonl: line 2 is "):
        next(lines)


def test_a_packed_output_that_was_cut_is_told_as_well(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl.gz"
    path.write_bytes(packer(".jsonl.gz")(LINE)[:-9])
    with pytest.raises(InputUnusable, match="cannot be unpacked"):
        list(read(path))
