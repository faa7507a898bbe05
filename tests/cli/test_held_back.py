"""What a run that registers holds back, and how it says so."""

import json

from tests.tool import Tool


def test_a_work_with_an_empty_record_is_held_back_told_and_registered_by_register(harvester: Tool) -> None:
    harvester.write("list.txt", ["10.5555/ok-1", "10.5555/empty-1"])
    ran = harvester("run", "list.txt", "-o", "out.jsonl", "--register")
    assert ran.returncode == 0
    summary = harvester.summary("out")
    assert (summary["registered"], summary["held_back"], summary["results"]) == (1, 1, 2)
    assert "1 work is not registered: 1 with an empty record." in ran.stderr
    assert harvester("registered", "--quiet").stdout.count('"raw"') == 1
    assert harvester("register", "list.txt", "--quiet").returncode == 0
    assert harvester("registered", "--quiet").stdout.count('"raw"') == 2


def test_a_setting_registers_empty_records_as_well(harvester: Tool) -> None:
    harvester.write("list.txt", ["10.5555/ok-1", "10.5555/empty-1"])
    harvester.extra["HARVESTER_OPERAS__REGISTER_EMPTY"] = "true"
    assert harvester("run", "list.txt", "-o", "out.jsonl", "--register", "--quiet").returncode == 0
    summary = harvester.summary("out")
    assert (summary["registered"], summary["held_back"]) == (2, 0)


def test_urls_that_are_left_out_are_told_with_their_doi_and_line(harvester: Tool) -> None:
    harvester.write(
        "list.csv", ["doi,url", "10.5555/ok-1,https://www.scopus.com/1", "10.5555/ok-2,https://p.example/2"]
    )
    ran = harvester("run", "list.csv", "-o", "out.jsonl", "--register")
    assert ran.returncode == 0
    (told,) = map(json.loads, harvester("failures", "out.jsonl", "--kind", "url-left-out").stdout.splitlines())
    assert [told[name] for name in ("doi", "input", "origin", "kind", "stage")] == [
        "10.5555/ok-1",
        "https://www.scopus.com/1",
        "list.csv:2",
        "url-left-out",
        "register",
    ]
    assert harvester.summary("out")["urls_left_out"] == 1
    assert "1 URL is not registered; the DOIs are." in ran.stderr
    assert harvester.lines("out.failures.jsonl") == [], "no DOI failed"
    assert harvester("verify", "out.jsonl").returncode == 0
