"""What commands show of the texts of others: nothing that a terminal obeys, and JSON of the same value."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from harvester.config.load import load
from harvester.config.show import show
from harvester.core.errors import Misconfigured
from tests.tool import Tool, dois

NASTY = "\x1b]0;x\x07\x9b31m\x7f\u202e\nfake"
"""A title for the window, a colour by C1, DEL, right to left, and another line."""


def obeyed(text: str) -> list[str]:
    return [char for char in text if not char.isprintable() and char != "\n"]


def spoil(ledger: Path, statement: str) -> None:
    with closing(sqlite3.connect(ledger)) as db:
        db.execute(statement, {"nasty": NASTY})
        db.commit()


@pytest.mark.parametrize(
    ("statement", "commands"),
    [
        ("UPDATE meta SET value = :nasty WHERE key = 'output'", ["status", "status --json", "verify", "run"]),
        ("UPDATE meta SET value = :nasty WHERE key = 'source'", ["run"]),
        ("UPDATE failure SET message = :nasty, input = :nasty, origin = :nasty, kind = :nasty", ["failures", "status"]),
        ("UPDATE work SET outcome = :nasty WHERE outcome IS NOT NULL", ["status", "verify", "verify --json"]),
    ],
)
def test_the_texts_of_a_ledger_are_shown_escaped(statement: str, commands: list[str], harvester: Tool) -> None:
    harvester.write("dois.txt", [*dois(2), "no doi"])
    assert harvester("run", "dois.txt", "-o", "out.jsonl", "--quiet").returncode == 0
    spoil(harvester.folder / "out.ledger", statement)
    for command in commands:
        name, *flags = command.split()
        rest = ["dois.txt", "-o", "out.jsonl"] if name == "run" else ["out.ledger", *flags]
        run = harvester(name, *rest)
        assert obeyed(run.stdout + run.stderr) == [], command
        assert not [line for line in (run.stdout + run.stderr).splitlines() if line.startswith("fake")], command
        if name == "failures":
            assert [json.loads(line)["kind"] for line in run.stdout.splitlines()] == [NASTY]
        if flags:
            assert json.loads(run.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", NASTY, "-o", "out.jsonl"),
        ("run", "dois.txt", "-o", f"{NASTY}/out.jsonl"),
        ("run", "dois.txt", "--log-level", NASTY),
        ("run", "dois.txt", "-o", "out.jsonl", "-c", NASTY),
        (NASTY,),
        ("status", NASTY),
        ("history", "10.5555/a", NASTY),
        ("check", "--offline", "--email", NASTY),
    ],
)
def test_what_was_typed_is_told_escaped(arguments: tuple[str, ...], harvester: Tool) -> None:
    harvester.write("dois.txt", dois(1))
    run = harvester(*arguments)
    assert run.returncode not in (0, 1)
    assert obeyed(run.stdout + run.stderr) == []


# Secrets


@pytest.mark.parametrize(
    "url", ["http://hc.example/5ecre7", "hc.example/5ecre7", "ftp://hc.example/5ecre7", "https://[5ecre7", "5ecre7"]
)
def test_a_refused_ping_address_is_shown_without_what_is_secret_in_it(url: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        load(None, {"HARVESTER_METRICS__PING_URL": url}, {})
    assert "5ecre7" not in str(caught.value)
    assert "metrics.ping_url" in str(caught.value)


def test_a_ping_address_is_masked_where_the_settings_are_shown() -> None:
    shown = show(load(None, {"HARVESTER_METRICS__PING_URL": "https://hc.example/5ecre7?k=5ecre7"}, {}))
    assert "5ecre7" not in shown
    assert '# ping_url = "https://hc.example/***"  # HARVESTER_METRICS__PING_URL' in shown.splitlines()


@pytest.mark.parametrize("url", ["https://a.example/?token=5ecre7", "https://5ecre7:5ecre7@a.example/"])
def test_a_refused_address_of_a_service_is_shown_without_its_query_and_account(url: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        load(None, {"HARVESTER_PAPERBUZZ__BASE_URL": url}, {})
    assert "5ecre7" not in str(caught.value)
    assert "a.example" in str(caught.value)
