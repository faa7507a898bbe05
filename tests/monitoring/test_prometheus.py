"""The figures of a night as Prometheus reads them: in base units, whole at any moment, and nobody's address."""

import errno
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harvester.core import files
from harvester.core.errors import DiskFailed, FailureKind
from harvester.core.model import Outcome
from harvester.monitoring.prometheus import last_success, metrics_text, write_metrics
from harvester.reports.summary import Exit
from tests.reports.test_summary import SUMMARY, summary_with

ENDED = 1_795_234_628.372
"""`SUMMARY.finished_at`, in seconds since 1970."""

FAILED = replace(
    SUMMARY, exit=Exit(69, "service-down", "Paperbuzz stays down."), finished_at="2026-11-22T04:00:00.000Z"
)

Sample = tuple[str, frozenset[tuple[str, str]]]


def samples(text: bytes) -> dict[Sample, float]:
    """What the collector reads, by Prometheus's own parser."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(text: bytes, name: str, **labels: str) -> float | None:
    return samples(text).get((f"harvester_{name}", frozenset(labels.items())))


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("works", {}, 12_000),
        ("pending", {}, 0),
        ("gone", {}, 7),
        ("invalid_lines", {}, 60),
        ("results", {"outcome": "ok"}, 10_000),
        ("results", {"outcome": "empty"}, 1_750),
        ("failures", {"kind": "http"}, 70),
        ("registered", {}, 11_895),
        ("rejected", {}, 5),
        ("registration_pending", {}, 0),
        ("requests", {"service": "paperbuzz"}, 13_001),
        ("requests", {"service": "operas"}, 125),
        ("retries", {}, 1_002),
        ("received_bytes", {}, 123_456_789),
        ("budget_left", {}, 81_999),
        ("duration_seconds", {}, 1382.0),
        ("exit_code", {}, 0),
        ("last_run_timestamp_seconds", {}, ENDED),
        ("last_success_timestamp_seconds", {}, ENDED),
    ],
)
def test_each_figure_of_a_night_is_told(name: str, labels: dict[str, str], expected: float) -> None:
    assert value(metrics_text(SUMMARY, None), name, **labels) == expected


def test_what_did_not_happen_is_told_as_zero_so_that_an_alert_has_something_to_watch() -> None:
    nothing = {"paperbuzz": 0, "operas": 0}
    text = metrics_text(summary_with(SUMMARY, outcomes={}, failures_by_kind={}, requests=nothing), None)
    for outcome in Outcome:
        assert value(text, "results", outcome=outcome) == 0
    for kind in set(FailureKind) - {FailureKind.INVALID_DOI, FailureKind.REJECTED}:
        assert value(text, "failures", kind=kind) == 0
    for service in ("paperbuzz", "operas"):
        assert value(text, "requests", service=service) == 0


def test_each_service_of_the_summary_is_told_whatever_its_name() -> None:
    assert value(metrics_text(replace(SUMMARY, requests={"crossref": 9}), None), "requests", service="crossref") == 9


def test_without_a_budget_nothing_is_said_of_it() -> None:
    assert value(metrics_text(replace(SUMMARY, budget_left=None), None), "budget_left") is None


def test_names_follow_the_rules_of_prometheus() -> None:
    text = metrics_text(SUMMARY, None)
    families = list(text_string_to_metric_families(text.decode()))
    assert {family.type for family in families} == {"gauge"}
    for family in families:
        assert re.fullmatch(r"harvester_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        # Only counters end in _total, and no unit but base units stands in a name.
        assert not re.search(r"_(total|count|sum|ms|milliseconds|minutes|hours|kb|mib|ratio_percent)$", family.name)


def test_labels_are_few_and_never_a_doi_or_an_address() -> None:
    secretive = replace(
        SUMMARY,
        exit=Exit(12, "credentials", "OPERAS refuses jane.doe@press.example for 10.5334/bbc"),
        files={"output": "/home/jane.doe/10.5334.jsonl"},
    )
    text = metrics_text(secretive, None)
    assert {label for _, labels in samples(text) for label, _ in labels} == {"outcome", "kind", "service"}
    for secret in (b"jane", b"10.5334", b"/home"):
        assert secret not in text


# The last success


@pytest.mark.parametrize("code", [1, 3, 4, 12, 69, 143])
def test_a_night_that_failed_keeps_the_last_success(code: int) -> None:
    failed = replace(SUMMARY, exit=Exit(code, "…", "…"))
    text = metrics_text(failed, 1_795_000_000.5)
    assert value(text, "last_success_timestamp_seconds") == 1_795_000_000.5
    assert value(text, "last_run_timestamp_seconds") == ENDED


def test_where_no_night_ever_succeeded_none_is_claimed() -> None:
    assert value(metrics_text(FAILED, None), "last_success_timestamp_seconds") is None


@pytest.mark.parametrize("moment", [ENDED, 1_795_000_000.0, 0.0, 1.0])
def test_a_moment_that_was_written_is_read_back_exactly(moment: float) -> None:
    assert last_success(metrics_text(FAILED, moment)) == moment


@pytest.mark.parametrize(
    "previous",
    [
        b"",
        b"\x00\xff",
        b"harvester_last_success_timestamp_seconds NaN\n",
        b"harvester_last_success_timestamp_seconds +Inf\n",
        b"harvester_last_success_timestamp_seconds 1.2.3\n",
        b"# HELP harvester_last_success_timestamp_seconds 17\n",
        b"other_harvester_last_success_timestamp_seconds 17\n",
        b"harvester_last_success_timestamp_seconds",
    ],
)
def test_a_file_that_does_not_say_is_no_obstacle(previous: bytes) -> None:
    assert last_success(previous) is None


def test_a_broken_file_still_tells_if_the_line_is_whole() -> None:
    assert last_success(b'torn{\nharvester_last_success_timestamp_seconds 1.5e+09\n"') == 1.5e9


# The file


def test_success_then_failure_then_success_moves_the_last_success_twice(tmp_path: Path) -> None:
    path = tmp_path / "harvester.prom"
    told = []
    for summary in (SUMMARY, FAILED, replace(FAILED, exit=SUMMARY.exit)):
        write_metrics(path, summary)
        told.append(value(path.read_bytes(), "last_success_timestamp_seconds"))
    assert told == [ENDED, ENDED, 1_795_320_000.0]


def test_what_is_written_until_the_rename_is_not_what_the_collector_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "harvester.prom"
    write_metrics(path, FAILED)
    old = path.read_bytes()
    seen: list[tuple[list[str], bytes]] = []
    monkeypatch.setattr(
        files, "sync_data", lambda _: seen.append(([each.name for each in tmp_path.glob("*.prom")], path.read_bytes()))
    )
    write_metrics(path, SUMMARY)
    assert seen == [(["harvester.prom"], old)]
    assert [each.name for each in tmp_path.iterdir()] == ["harvester.prom"]


def test_a_disk_that_refuses_leaves_the_old_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "harvester.prom"
    write_metrics(path, SUMMARY)
    old = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "sync_data", full)
    with pytest.raises(DiskFailed, match="No space left"):
        write_metrics(path, FAILED)
    assert path.read_bytes() == old


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_may_be_anybodys_and_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "harvester.prom"
    path.write_bytes(metrics_text(SUMMARY, None))
    path.chmod(0)
    with pytest.raises(DiskFailed, match="not known whose it is"):
        write_metrics(path, FAILED)


def test_a_report_with_kinds_of_later_versions_is_told_whole() -> None:
    later = summary_with(SUMMARY, failures_by_kind={"http": 1, "brand-new": 2})
    assert value(metrics_text(later, None), "failures", kind="brand-new") == 2


def test_everybody_may_read_the_file_whatever_the_umask(tmp_path: Path) -> None:
    path, before = tmp_path / "harvester.prom", os.umask(0o077)
    try:
        write_metrics(path, SUMMARY)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
