"""The record format for machines: JSON Schemas (draft 2020-12) of a result, a failure and the summary.

New members may appear within a version, so a reader must ignore members that it does not know. A member that is listed
here keeps its name, type and meaning as long as `v` is 1.
"""

from typing import Final

from harvester.core.errors import FailureKind
from harvester.core.model import Outcome, Stage
from harvester.records.lines import SCHEMA_VERSION

SERVICES: Final = ("paperbuzz", "operas")
"""The services whose requests a summary of this version always has, be they none."""

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, object]

_COUNT: Schema = {"type": "integer", "minimum": 0}
_COUNTS: Schema = {"type": "object", "additionalProperties": _COUNT}
_TIME: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
_DOI: Schema = {"type": "string", "pattern": r"^10\..+/"}
_MAYBE: Schema = {"type": ["boolean", "null"]}
_STATUS: Schema = {"type": ["integer", "null"], "minimum": 100, "maximum": 599}

_SUMMARY_COUNTS = {
    "lines": "Lines, rows or entries read.",
    "works": "DOIs in them, each once.",
    "duplicates": "Further mentions of them.",
    "invalid": "Lines that are no DOI; in the failures file under the stage input.",
    "blank": "Lines with nothing in them.",
    "results": "Works with a record.",
    "failures": "Works without one, for a reason; in the failures file under the stage fetch.",
    "pending": "Works still to be asked.",
    "resting": "Works of the list that a nightly harvest did not ask tonight; 0 in any other run.",
    "gone": "Works with a result or failure that left the list; counted nowhere else.",
    "registered": "Works that OPERAS acknowledged.",
    "rejected": "Works that OPERAS refuses; in the failures file under the stage register.",
    "registration_pending": "Works that wait to be registered.",
    "held_back": "Works that are not registered because their record is empty; 0 where nothing is registered.",
    "urls_left_out": "URLs that are not registered because they are no landing pages; `harvester failures` names them.",
    "retries": "Requests of this run beyond the first for each work.",
    "bytes": "Decompressed bytes of records received in this run.",
}


def _object(title: str, description: str, members: Schema) -> Schema:
    return {
        "$schema": DRAFT,
        "title": title,
        "description": f"{description} Ignore members that are not listed here.",
        "type": "object",
        "required": list(members),
        "properties": members,
    }


def _said(description: str, schema: Schema) -> Schema:
    return {"description": description, **schema}


def result_schema() -> Schema:
    """The schema of a line of the output."""
    record: Schema = {
        "type": "object",
        "required": ["doi", "altmetrics_sources"],
        "properties": {"doi": {"type": "string"}, "altmetrics_sources": {"type": "array"}},
    }
    return _object(
        "harvester result",
        "One work with its Paperbuzz record, one line of the output.",
        {
            "v": _said("Version of this format.", {"const": SCHEMA_VERSION}),
            "doi": _said("The DOI asked for, in canonical form: without a prefix, ASCII letters in lower case.", _DOI),
            "outcome": _said(
                "ok; empty: neither metadata nor events; degraded: events without metadata, or no open-access data.",
                {"enum": list(Outcome)},
            ),
            "harvested_at": _said("When the answer was complete, UTC.", _TIME),
            "http_status": _said("Status of the answer.", {"type": "integer", "minimum": 100, "maximum": 599}),
            "attempts": _said("Requests made for it in the run.", {"type": "integer", "minimum": 1}),
            "elapsed_ms": _said("Milliseconds that the last attempt took.", _COUNT),
            "truncated": _said(
                "Whether events are missing at the service's cap of 2,500; null: cannot be known.", _MAYBE
            ),
            "changed": _said(
                "Whether it differs from the record before; null: nothing to compare with, or not to be told.", _MAYBE
            ),
            "added": _said(
                "Events by source that came since the record before; null: nothing to compare with.",
                {"type": ["object", "null"], "additionalProperties": {"type": "integer", "minimum": 1}},
            ),
            "sha256": _said("Of the bytes of paperbuzz, in hex.", {"type": "string", "pattern": "^[0-9a-f]{64}$"}),
            "paperbuzz": _said("The server's own bytes, CR and LF dropped, nothing re-encoded.", record),
        },
    )


def failure_schema() -> Schema:
    """The schema of a line of the failures file."""
    return _object(
        "harvester failure",
        "A line that is no DOI, a work without a record, a registration that was refused, or a URL that was left out.",
        {
            "v": _said("Version of this format.", {"const": SCHEMA_VERSION}),
            "doi": _said("In canonical form; null: the text is no DOI.", {"anyOf": [_DOI, {"type": "null"}]}),
            "input": _said("The text as it stood in the input, cut to a readable length.", {"type": "string"}),
            "origin": _said("File and line it was read from first.", {"type": "string", "pattern": r":\d+$"}),
            "kind": _said("What kind of failure it is.", {"enum": list(FailureKind)}),
            "http_status": _said("Status of the last answer; null: there was none.", _STATUS),
            "attempts": _said("Requests made for it.", _COUNT),
            "message": _said("What happened, for people; its wording may change.", {"type": "string", "minLength": 1}),
            "failed_at": _said("When, UTC.", _TIME),
            "stage": _said("Where it arose.", {"enum": list(Stage)}),
        },
    )


def summary_schema() -> Schema:
    """The schema of the summary file."""
    ending: Schema = {
        "type": "object",
        "required": ["code", "name", "reason"],
        "properties": {
            "code": _said("The exit code of the process.", {"type": "integer"}),
            "name": _said("The same in a word.", {"type": "string"}),
            "reason": _said("The same in a sentence; its wording may change.", {"type": "string"}),
        },
    }
    return _object(
        "harvester summary",
        "The figures of a run; those of works include earlier runs with the same ledger.",
        {
            "v": _said("Version of this format.", {"const": SCHEMA_VERSION}),
            **{name: _said(meaning, _COUNT) for name, meaning in _SUMMARY_COUNTS.items()},
            "outcomes": _said("Results by outcome.", _COUNTS),
            "failures_by_kind": _said("Failures by kind, invalid lines not among them.", _COUNTS),
            "requests": _said("Requests sent in this run, by service.", {**_COUNTS, "required": list(SERVICES)}),
            "budget_left": _said(
                "Requests left in the daily budget; null: there is none, or nothing was asked.",
                {"type": ["integer", "null"], "minimum": 0},
            ),
            "started_at": _said("When the run began, UTC.", _TIME),
            "finished_at": _said("When it ended, UTC.", _TIME),
            "duration_seconds": _said("Time between them.", {"type": "number", "minimum": 0}),
            "files": _said(
                "Paths of output, failures, ledger and summary, as far as there are any.",
                {"type": "object", "additionalProperties": {"type": "string"}},
            ),
            "exit": _said("How the run ended.", ending),
        },
    )


SCHEMAS = {"result": result_schema, "failure": failure_schema, "summary": summary_schema}
