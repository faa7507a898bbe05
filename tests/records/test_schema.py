"""The record format: what is really written holds to the schemas, and the reference names every member."""

import io
import re
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from harvester.config.load import load
from harvester.core import errors
from harvester.core.clock import SystemClock
from harvester.core.errors import FailureKind
from harvester.core.model import Failure, Figures, Outcome, Stage
from harvester.core.stop import Stop
from harvester.core.tally import Tally
from harvester.harvest.job import Context
from harvester.harvest.registration import register
from harvester.harvest.run import run
from harvester.records.lines import failure_line, result_lines
from harvester.records.result import Result
from harvester.records.schema import SCHEMAS, failure_schema, result_schema, summary_schema
from harvester.reports.summary import Summary, as_json, broken_identities
from harvester.sandbox.faults.rates import parse_faults
from harvester.sandbox.options import DEMO_ACCOUNTS, SandboxOptions
from harvester.sandbox.server import Sandbox
from harvester.storage.paths import Paths, job_paths
from tests.folders import ROOT
from tests.jobs import harvest_job, registration_job
from tests.reports.test_summary import SUMMARY

REFERENCE = ROOT / "docs" / "reference"

RESULT = Result(
    doi="10.5334/bbc",
    outcome=Outcome.OK,
    harvested_at="2026-11-21T03:54:06.372Z",
    http_status=200,
    attempts=1,
    elapsed_ms=57,
    truncated=None,
    changed=None,
    paperbuzz=b'{"doi":"10.5334/bbc","altmetrics_sources":[],"new":1}',
    sha256="0" * 64,
)
FAILURE = Failure(
    doi=None,
    input="see the catalogue",
    origin="dois.csv:3",
    kind="invalid-doi",
    http_status=None,
    attempts=0,
    message="not a DOI",
    failed_at="2026-11-21T03:54:06.372Z",
    stage=Stage.INPUT,
)


def strict(schema: dict[str, object]) -> Draft202012Validator:
    """A schema by which nothing may be there that it does not list; for our own output alone."""
    schema = deepcopy(schema)
    schema["additionalProperties"] = False
    return Draft202012Validator(schema)


def complaints(schema: dict[str, object], records: Iterable[bytes]) -> list[str]:
    validator = strict(schema)
    return [error.message for record in records for error in validator.iter_errors(orjson.loads(record))]


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().removesuffix(b"\n").split(b"\n")


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_is_valid_and_open_and_says_so(name: str) -> None:
    schema = SCHEMAS[name]()
    Draft202012Validator.check_schema(schema)
    assert "additionalProperties" not in schema
    assert "Ignore members" in str(schema["description"])


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_member_is_described_and_stands_in_the_reference(name: str) -> None:
    text = (REFERENCE / "records.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {name.capitalize()}")[1].split("\n## ")[0]
    members: Any = SCHEMAS[name]()["properties"]
    for member, schema in members.items():
        assert schema["description"].endswith("."), member
        assert f"| `{member}` |" in section


def test_the_schema_lists_exactly_what_a_line_holds() -> None:
    assert list(orjson.loads(result_lines([RESULT]))) == result_schema()["required"]
    assert list(orjson.loads(failure_line(FAILURE))) == failure_schema()["required"]
    members = {each.name for each in (*fields(Summary), *fields(Figures))}
    assert set(orjson.loads(as_json(SUMMARY))) == members - {"figures", "registers", "harvests"} | {"v"}
    required: Any = summary_schema()["required"]
    assert set(orjson.loads(as_json(SUMMARY))) == set(required)


def test_lines_and_summaries_hold_to_their_schemas() -> None:
    assert complaints(result_schema(), [result_lines([RESULT])]) == []
    assert complaints(failure_schema(), [failure_line(FAILURE)]) == []
    assert complaints(summary_schema(), [as_json(SUMMARY)]) == []


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"doi": "https://doi.org/10.5334/bbc"},
        {"outcome": "fine"},
        {"harvested_at": "2026-11-21 03:54"},
        {"sha256": "no"},
        {"truncated": 1},
        {"attempts": 0},
        {"paperbuzz": {"doi": "10.5334/bbc"}},
        {"more": 1},
    ],
)
def test_a_record_that_is_wrong_is_refused(change: dict[str, object]) -> None:
    wrong = orjson.dumps(orjson.loads(result_lines([RESULT])) | change)
    assert len(complaints(result_schema(), [wrong])) == 1


def test_readers_may_meet_members_they_do_not_know() -> None:
    newer = orjson.loads(result_lines([RESULT])) | {"added_later": True}
    assert Draft202012Validator(result_schema()).is_valid(newer)


def subclasses(kind: type[Any]) -> set[type[Any]]:
    found = {kind}
    for child in kind.__subclasses__():
        found |= subclasses(child)
    return found


def test_every_kind_of_failure_is_carried_by_an_error_and_is_in_the_schema_and_the_reference() -> None:
    carried = {each.kind for each in subclasses(errors.TryAgain) | subclasses(errors.GiveUp)}
    assert carried == set(FailureKind) - {FailureKind.URL_LEFT_OUT}, "that one is no error of a work"
    members: Any = failure_schema()["properties"]
    assert members["kind"]["enum"] == list(FailureKind)
    text = (REFERENCE / "records.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([a-z-]+)` \| (?:input|fetch|register) \|", text, re.MULTILINE) == list(FailureKind)


def test_every_outcome_is_in_the_schema() -> None:
    members: Any = result_schema()["properties"]
    assert members["outcome"]["enum"] == list(Outcome)


def test_every_exit_code_stands_in_the_reference_with_its_name() -> None:
    text = (REFERENCE / "exit-codes.md").read_text(encoding="utf-8")
    for kind in subclasses(errors.StopRun) - {errors.StopRun, errors.Interrupted}:
        assert f"| {kind.exit_code} | `{kind.name}` |" in text
    for row in (
        "| 0 | `complete` |",
        "| 1 | `bug` |",
        "| 3 | `failures` |",
        "| 130 | `interrupted` |",
        "| 143 | `interrupted` |",
    ):
        assert row in text


def outside(folder: Path) -> Context:
    return Context(
        clock=SystemClock(),
        random=Random(1),
        stop=Stop(),
        tally=Tally(),
        warn=lambda _: None,
        stdin=io.BytesIO(),
        stdout=io.BytesIO(),
        state=folder / "state",
    )


async def test_what_a_run_through_both_services_writes_holds_to_the_schemas(tmp_path: Path) -> None:
    refused = ["10.1234/ä", "10.1234/ö", "10.1234/ü"]
    listed = [f"10.5555/{number}" for number in range(40)]
    (tmp_path / "dois.txt").write_text("\n".join([*listed, listed[0], "", "no doi", "10.5555/bad\u3000_", *refused]))
    options = SandboxOptions(faults=parse_faults("500=0.1,wrong-doi=0.2"))
    async with Sandbox(options) as sandbox:
        settings = load(
            None,
            {},
            {
                "paperbuzz.base_url": sandbox.paperbuzz_url,
                "paperbuzz.email": "demo@example.org",
                "paperbuzz.rate": 1000,
                "paperbuzz.max_attempts": 1,
                "operas.base_url": sandbox.operas_url,
                "operas.rate": 1000,
            },
        ).settings
        inputs, password = [tmp_path / "dois.txt"], DEMO_ACCOUNTS[0].password
        job = harvest_job(settings, inputs, job_paths(str(tmp_path / "harvest.jsonl")), password)
        summary = await run(job, outside(tmp_path))
        alone = Paths(None, tmp_path / "r.ledger", tmp_path / "r.failures.jsonl", tmp_path / "r.summary.json")
        registered = await register(registration_job(settings, inputs, alone, password), outside(tmp_path))
    assert broken_identities(summary) == []
    assert summary.figures.failures
    assert summary.figures.rejected
    assert registered.figures.registered
    assert complaints(result_schema(), lines_of(tmp_path / "harvest.jsonl")) == []
    for name in ("harvest", "r"):
        assert complaints(failure_schema(), lines_of(tmp_path / f"{name}.failures.jsonl")) == []
        assert complaints(summary_schema(), [(tmp_path / f"{name}.summary.json").read_bytes()]) == []
