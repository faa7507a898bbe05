"""The record format for machines: JSON Schemas (draft 2020-12) of a result, a failure and the summary.

New members may appear within a version; whoever reads must ignore what it does not know. A member that is listed here
keeps its name, type and meaning for as long as `v` is 1.
"""

from typing import Final

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, object]

_COUNT: Schema = {"type": "integer", "minimum": 0}
_COUNTS: Schema = {"type": "object", "additionalProperties": _COUNT}
_TIME: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
_DOI: Schema = {"type": "string", "pattern": r"^10\..+/"}
_STATUS: Schema = {"type": ["integer", "null"], "minimum": 100, "maximum": 599}

KINDS = (
    "invalid-doi",
    "timeout",
    "connection",
    "http",
    "invalid-json",
    "doi-mismatch",
    "too-large",
    "redirect",
    "rejected",
)


def _object(title: str, description: str, members: Schema) -> Schema:
    return {
        "$schema": DRAFT,
        "title": title,
        "description": description,
        "type": "object",
        "required": list(members),
        "properties": members,
    }


def result_schema() -> Schema:
    """Of a line of the output."""
    return _object(
        "harvester result",
        "One work with its Paperbuzz record, one line of the output.",
        {
            "v": {"const": 1},
            "doi": _DOI,
            "outcome": {"enum": ["ok", "empty", "degraded"]},
            "harvested_at": _TIME,
            "http_status": {"type": "integer"},
            "attempts": {"type": "integer", "minimum": 1},
            "elapsed_ms": _COUNT,
            "truncated": {"type": ["boolean", "null"]},
            "changed": {"type": ["boolean", "null"]},
            "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "paperbuzz": {
                "type": "object",
                "description": "The server's own bytes, CR and LF dropped, nothing re-encoded.",
                "required": ["doi", "altmetrics_sources"],
                "properties": {"doi": {"type": "string"}, "altmetrics_sources": {"type": "array"}},
            },
        },
    )


def failure_schema() -> Schema:
    """Of a line of the failures file."""
    return _object(
        "harvester failure",
        "A line that is no DOI, a work without a record, or a registration that was refused.",
        {
            "v": {"const": 1},
            "doi": {"anyOf": [_DOI, {"type": "null"}]},
            "input": {"type": "string"},
            "origin": {"type": "string", "pattern": r":\d+$"},
            "kind": {"enum": list(KINDS)},
            "http_status": _STATUS,
            "attempts": _COUNT,
            "message": {"type": "string", "minLength": 1},
            "failed_at": _TIME,
            "stage": {"enum": ["input", "fetch", "register"]},
        },
    )


def summary_schema() -> Schema:
    """Of the summary file."""
    counts = (
        "lines works duplicates invalid blank results failures pending gone registered rejected registration_pending"
    )
    return _object(
        "harvester summary",
        "The figures of a run.",
        {
            "v": {"const": 1},
            **dict.fromkeys(counts.split(), _COUNT),
            "outcomes": _COUNTS,
            "failures_by_kind": _COUNTS,
            "requests": {**_COUNTS, "required": ["paperbuzz", "operas"]},
            "retries": _COUNT,
            "bytes": _COUNT,
            "budget_left": {"type": ["integer", "null"], "minimum": 0},
            "started_at": _TIME,
            "finished_at": _TIME,
            "duration_seconds": {"type": "number", "minimum": 0},
            "files": {"type": "object", "additionalProperties": {"type": "string"}},
            "exit": {
                "type": "object",
                "required": ["code", "name", "reason"],
                "properties": {
                    "code": {"type": "integer"},
                    "name": {"type": "string"},
                    "reason": {"type": "string"},
                },
            },
        },
    )


SCHEMAS = {"result": result_schema, "failure": failure_schema, "summary": summary_schema}
