"""The nightly harvest: which works, an output each night, what changed, and its report."""

import asyncio
import io
import json
import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from harvester.config.credentials import Secret
from harvester.config.load import load
from harvester.config.settings import Settings
from harvester.core.clock import ClockWatch
from harvester.core.errors import CredentialsRefused, InputUnusable, Interrupted, Misconfigured
from harvester.core.model import Work
from harvester.core.stop import Stop
from harvester.core.tally import Tally
from harvester.harvest.job import Context, Mode
from harvester.monitoring.prometheus import last_success
from harvester.nightly.files import output_of
from harvester.nightly.job import intervals, nightly_job
from harvester.nightly.notify import _Systemd, nightly_and_notify
from harvester.nightly.plan import plan
from harvester.nightly.retry import is_of_nights, retry
from harvester.nightly.revisit import Reason
from harvester.nightly.run import nightly
from harvester.nightly.visits import Visits
from harvester.politeness import quota
from harvester.reports.summary import Summary, broken_identities, from_json
from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.run import run_in_thread
from harvester.sandbox.server import Sandbox
from harvester.storage.lock import lock
from harvester.storage.outbox import enqueue
from harvester.storage.paths import job_paths
from harvester.verify.gather import gather
from tests.jobs import harvest_job
from tests.opened import OpenedLedger, OpenedStore
from tests.oracle import violations as broken
from tests.tool import Tool, dois, records, spoil

FIRST = datetime(2026, 3, 27, 2, 17, tzinfo=UTC)


@dataclass
class NightClock:
    """Wall time as a test sets it; who wakes first passes it for all, save the time limit while others work."""

    wall: datetime = FIRST
    passed: float = 0.0
    wakes: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return self.wall + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        wake = self.passed + seconds
        self.wakes.append(wake)
        try:
            while self.passed < wake:
                await asyncio.sleep(0.001)
                if wake == min(self.wakes) and (seconds < 5 * 3600 or len(self.wakes) > 1):
                    self.passed = max(self.passed, wake)
        finally:
            self.wakes.remove(wake)


@dataclass
class Nights:
    """Nights in a folder, one after the other.

    Args:
        folder: everything is in it.
        sandbox: what is asked.
        budget: requests a day.
        more: further settings.
    """

    folder: Path
    sandbox: Sandbox
    budget: int = 1000
    more: dict[str, object] = field(default_factory=dict)
    clock: NightClock = field(default_factory=NightClock)
    warnings: list[str] = field(default_factory=list)

    def listed(self, names: list[str]) -> None:
        (self.folder / "dois.txt").write_text("\n".join(names) + "\n")

    @property
    def settings(self) -> Settings:
        given: dict[str, object] = {
            "paperbuzz.base_url": self.sandbox.paperbuzz_url,
            "paperbuzz.email": "demo@example.org",
            "paperbuzz.rate": 5000.0,
            "paperbuzz.daily_budget": self.budget,
            "input.files": (str(self.folder / "dois.txt"),),
            "output.path": str(self.folder / "{date}.jsonl"),
            "ledger.path": self.folder / "nights.ledger",
        }
        return load(None, {}, given | self.more).settings

    @property
    def context(self) -> Context:
        return Context(
            clock=self.clock,
            random=Random(1),
            stop=Stop(),
            tally=Tally(),
            warn=self.warnings.append,
            stdin=io.BytesIO(),
            stdout=sys.stdout.buffer,
            state=self.folder / "state",
        )

    async def night(self, context: Context | None = None) -> Summary:
        """Tonight, and the next morning a day has passed on both sides."""
        summary = await nightly(nightly_job(self.settings), context or self.context)
        assert broken_identities(summary) == []
        self.clock.wall += timedelta(days=1, minutes=5)
        self.sandbox.advance(1)
        return summary

    def output(self, summary: Summary) -> list[dict[str, Any]]:
        return list(records(Path(summary.files["output"])))

    def asked(self) -> list[str]:
        return [entry.doi for entry in self.sandbox.log.of("paperbuzz")]


@pytest.fixture
def nights(tmp_path: Path) -> Iterator[Nights]:
    with run_in_thread(SandboxOptions(size_scale=0.1)) as sandbox:
        yield Nights(tmp_path, sandbox)


async def test_the_first_night_harvests_everything_the_budget_allows(nights: Nights) -> None:
    nights.listed(dois(30))
    summary = await nights.night()
    assert (summary.exit.code, summary.figures.results, summary.figures.resting) == (0, 30, 0)
    assert Path(summary.files["output"]).name == "2026-03-27.jsonl"
    assert sorted(record["doi"] for record in nights.output(summary)) == dois(30)


async def test_more_dois_than_the_budget_are_covered_night_after_night(nights: Nights) -> None:
    """Half of a budget of 19 (a twentieth of 20 is kept for retries) goes to those never harvested."""
    nights.budget = 20
    nights.listed(dois(35))
    summaries = [await nights.night() for _ in range(3)]
    assert [summary.figures.results for summary in summaries] == [19, 19, 19]
    assert [summary.figures.resting for summary in summaries] == [16, 16, 16]
    assert {record["doi"] for summary in summaries for record in nights.output(summary)} == set(dois(35))
    assert len(nights.asked()) == 57


async def test_nothing_is_asked_twice_within_a_day(nights: Nights) -> None:
    nights.more["output.path"] = str(nights.folder / "{run_id}.jsonl")
    nights.listed(dois(10))
    await nights.night()
    nights.clock.wall -= timedelta(hours=12)
    summary = await nights.night()
    assert (summary.figures.results, summary.figures.resting) == (0, 10)
    assert len(nights.asked()) == 10


async def test_a_second_start_on_the_same_night_asks_nothing(nights: Nights) -> None:
    nights.listed(dois(10))
    await nights.night()
    nights.clock.wall = FIRST + timedelta(hours=1)
    summary = await nights.night()
    assert summary.exit.code == 0
    assert "nothing was asked" in summary.exit.reason
    assert len(nights.asked()) == 10


async def test_records_say_what_changed_and_what_came(nights: Nights) -> None:
    nights.listed(dois(60))
    first = await nights.night()
    assert {(record["changed"], record["added"]) for record in nights.output(first)} == {(None, None)}
    nights.sandbox.advance(30)
    second = nights.output(await nights.night())
    assert any(record["changed"] for record in second)
    assert not all(record["changed"] for record in second)
    for record in second:
        assert record["changed"] or record["added"] == {}


async def test_only_what_changed_is_written_if_so_wished(nights: Nights) -> None:
    nights.listed(dois(60))
    await nights.night()
    nights.sandbox.advance(30)
    nights.more["output.only_changed"] = True
    summary = await nights.night()
    written = nights.output(summary)
    assert summary.figures.results == 60
    assert 0 < len(written) < 60
    assert all(record["changed"] for record in written)
    with gather(Path(summary.files["output"]), ledger=nights.folder / "nights.ledger", deep=True) as evidence:
        assert broken(evidence) == []


async def test_nights_are_verified_by_their_ledger_wherever_their_outputs_are(nights: Nights) -> None:
    (nights.folder / "elsewhere").mkdir()
    nights.more["output.path"] = str(nights.folder / "elsewhere" / "{date}.jsonl")
    nights.listed(dois(3))
    await nights.night()
    with gather(nights.folder / "nights.ledger", deep=True) as evidence:
        assert broken(evidence) == []


async def test_the_counts_of_a_doi_are_kept_from_night_to_night(nights: Nights) -> None:
    nights.listed(dois(40))
    for _ in range(3):
        await nights.night()
        nights.sandbox.advance(20)
    with closing(OpenedLedger(nights.folder / "nights.ledger", read_only=True)) as ledger:
        grown = [Visits(ledger.database).counts_over_time(doi) for doi in dois(40)]
    assert any(len(history) > 1 for history in grown)
    for history in grown:
        assert [at for at, _ in history] == sorted(at for at, _ in history)


async def test_a_list_may_change_from_night_to_night(nights: Nights) -> None:
    nights.listed(dois(10))
    await nights.night()
    nights.listed([*dois(10)[5:], *dois(3, "10.1234")])
    summary = await nights.night()
    assert summary.figures.works == 8
    assert {record["doi"] for record in nights.output(summary)} == {*dois(10)[5:], *dois(3, "10.1234")}


async def test_a_night_that_was_not_finished_is_finished_first(nights: Nights) -> None:
    nights.listed(dois(40))
    nights.budget = 15
    context = nights.context
    nights.sandbox.latency_seconds = 0.05
    running = asyncio.create_task(nights.night(context))
    while len(nights.asked()) < 6:  # noqa: ASYNC110 - the sandbox's log is no event
        await asyncio.sleep(0.01)
    context.stop.request()
    stopped = await running
    nights.sandbox.latency_seconds = 0
    assert stopped.figures.pending
    await nights.night()
    names = {path.name for path in nights.folder.glob("*.jsonl") if "failures" not in path.name}
    assert names == {"2026-03-27.jsonl", "2026-03-28.jsonl"}
    for name in names:
        harvested = [record["doi"] for record in records(nights.folder / name)]
        assert len(harvested) == len(set(harvested))
    assert len(list(records(nights.folder / "2026-03-27.jsonl"))) == 14


async def test_the_nights_learn_what_became_of_failures_that_were_asked_by_hand(nights: Nights) -> None:
    nights.more |= {"nightly.min_interval": 86_400.0}
    spoil(nights.sandbox, "10.5555/ok-1", "10.5555/ok-2")
    nights.listed(["10.5555/ok-1", "10.5555/ok-2"])
    night = await nights.night()
    spoil(nights.sandbox)
    paths = job_paths(night.files["output"], ledger=nights.folder / "nights.ledger")
    nights.clock.wall -= timedelta(hours=20)
    job = harvest_job(nights.settings, [], paths, mode=Mode.ONLY_FAILED)
    assert is_of_nights(nights.folder / "nights.ledger")
    by_hand = await retry(job, intervals(nights.settings), nights.context, only_changed=False)
    assert (by_hand.exit.code, by_hand.figures.results) == (0, 2)
    asked = len(nights.asked())
    nights.clock.wall += timedelta(hours=20)
    await nights.night()
    assert len(nights.asked()) == asked


async def test_failures_are_asked_again_on_another_night(nights: Nights) -> None:
    nights.listed(["10.5555/500-1", *dois(5)])
    first = await nights.night()
    assert first.figures.failures == 1
    second = await nights.night()
    assert second.figures.failures == 1
    third = await nights.night()
    assert (third.figures.failures, third.figures.resting) == (0, 1)


async def test_each_night_has_a_report_and_old_nights_are_deleted(nights: Nights) -> None:
    nights.more["nightly.keep_nights"] = 2
    nights.listed(["no doi", "10.5555/500-1", *dois(5)])
    for _ in range(4):
        await nights.night()
    pages = sorted(path.name for path in nights.folder.glob("*.report.txt"))
    assert pages == ["2026-03-29.report.txt", "2026-03-30.report.txt"]
    assert sorted(path.name for path in nights.folder.glob("2026-*.jsonl") if "fail" not in path.name) == [
        "2026-03-29.jsonl",
        "2026-03-30.jsonl",
    ]
    assert "last night" in (nights.folder / pages[-1]).read_text()


async def test_what_a_night_leaves_holds_the_promises(nights: Nights) -> None:
    nights.listed(["no doi", "10.5555/500-1", *dois(20)])
    for _ in range(2):
        summary = await nights.night()
        with gather(Path(summary.files["output"]), ledger=nights.folder / "nights.ledger", deep=True) as evidence:
            assert broken(evidence) == []


async def test_the_plan_is_what_the_night_then_asks_and_changes_nothing(nights: Nights) -> None:
    nights.budget = 20
    nights.listed(dois(50))
    await nights.night()
    before = (nights.folder / "nights.ledger").read_bytes()
    plans = [await plan(nightly_job(nights.settings), nights.context, dois(50)[0]) for _ in range(2)]
    assert plans[0] == plans[1]
    assert (nights.folder / "nights.ledger").read_bytes() == before
    assert plans[0].selection.count(Reason.NEW) == 10
    assert plans[0].covered == 19
    asked = len(nights.asked())
    await nights.night()
    with (
        closing(OpenedLedger(nights.folder / "nights.ledger", read_only=True)) as ledger,
        ledger.database.reading() as db,
    ):
        names = dict(db.execute("SELECT id, doi FROM work").fetchall())
    assert {names[pick.key] for pick in plans[0].selection.picks} == set(nights.asked()[asked:])


@pytest.mark.parametrize(
    "template", ["out.jsonl", "{day}.jsonl", "{date}-{x}.jsonl", "/nights/{date}/out-{date}.jsonl"]
)
def test_a_template_without_a_date_or_with_other_places_is_refused(template: str) -> None:
    with pytest.raises(Misconfigured, match="date"):
        output_of(template, FIRST)


@pytest.mark.parametrize(
    ("key", "value"),
    [("input.files", ("-",)), ("output.failures", Path("failures.jsonl"))],
)
async def test_what_does_not_do_for_nights_is_refused_beforehand(nights: Nights, key: str, value: object) -> None:
    nights.more[key] = value
    with pytest.raises(Misconfigured, match=key.partition(".")[2]):
        await nightly(nightly_job(nights.settings), nights.context)


@pytest.mark.parametrize("missing", ["input.files", "output.path", "ledger.path"])
async def test_what_is_missing_in_the_configuration_is_named(nights: Nights, missing: str) -> None:
    settings = nights.settings
    section, _, name = missing.partition(".")
    empty: Any = () if name == "files" else None
    settings = replace(settings, **{section: replace(getattr(settings, section), **{name: empty})})
    with pytest.raises(Misconfigured, match=rf"\[{section}\] {name}"):
        await nightly(nightly_job(settings), nights.context)


def test_nights_plans_and_histories_from_the_command_line(tmp_path: Path) -> None:
    with run_in_thread(SandboxOptions(size_scale=0.1)) as sandbox:
        tool = Tool(tmp_path, sandbox, {"HARVESTER_PAPERBUZZ__DAILY_BUDGET": "100"})
        tool.write("dois.txt", [*dois(10), "10.5555/fault-wrong-doi"])
        config = tool.write(
            "night.toml",
            ['[input]\nfiles = ["dois.txt"]\n[output]\npath = "{date}-{run_id}.jsonl"\n[ledger]\npath = "n.ledger"'],
        )
        planned = tool("plan", "-c", config)
        assert "11 would be asked" in planned.stdout
        assert not list(sandbox.log)
        night = tool("nightly", "-c", config)
        assert night.returncode == 0, night.stderr
        assert "10 results" in night.stderr
        assert "1 work failed; a later night asks again." in night.stderr
        tomorrow = f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%dT%H:%M}"
        assert "0 would be asked" in tool("plan", "-c", config).stdout
        assert "11 would be asked" in tool("plan", "-c", config, "--at", tomorrow).stdout
        explained = tool("plan", dois(10)[0], "-c", config)
        assert "score" in explained.stdout
        assert tool("plan", "10.9999/unknown", "-c", config).returncode == 2
        grown = tool("history", dois(10)[1], "n.ledger")
        assert grown.returncode == 0
        assert all("counts" in json.loads(line) for line in grown.stdout.splitlines())
        assert tool("nightly").returncode == 78
        tool.close()


# Nights with trouble


def page(summary: Summary) -> str:
    return Path(summary.files["output"].removesuffix(".partial")).with_suffix(".report.txt").read_text()


async def stopped_after(nights: Nights, requests: int) -> Summary:
    """A night that somebody ends after some requests; the day stays the same."""
    context, before = nights.context, len(nights.asked())
    nights.sandbox.latency_seconds = 0.05
    running = asyncio.create_task(nightly(nightly_job(nights.settings), context))
    while len(nights.asked()) < before + requests:  # noqa: ASYNC110 - the sandbox's log is no event
        await asyncio.sleep(0.01)
    context.stop.request(Interrupted(15))
    nights.sandbox.latency_seconds = 0
    stopped = await running
    assert stopped.figures.pending
    return stopped


async def test_a_night_that_has_to_stop_leaves_a_page(nights: Nights) -> None:
    nights.more["paperbuzz.patience"] = 600.0
    nights.listed(dois(20))
    nights.sandbox.set_outage("paperbuzz")
    summary = await nights.night()
    assert summary.exit.code == 69
    text = page(summary)
    assert text.startswith("Not finished: 20 of 20 works are still to be asked")
    nights.sandbox.set_outage("paperbuzz", None)
    await nights.night()
    assert "All is well" in (nights.folder / "2026-03-27.report.txt").read_text()


async def test_a_stopped_night_that_goes_on_the_same_day_is_reported_once_and_whole(nights: Nights) -> None:
    nights.listed(dois(40))
    await nights.night()
    nights.sandbox.advance(30)
    await stopped_after(nights, 6)
    summary = await nights.night()
    assert (summary.exit.code, summary.figures.results) == (0, 40)
    assert summary.requests["paperbuzz"] > 0
    changed = sum(record["changed"] for record in nights.output(summary))
    assert changed > 1
    assert f"changed records{changed:>29}" in page(summary)


async def test_each_night_of_one_call_counts_its_own_requests(nights: Nights) -> None:
    nights.listed(dois(30))
    before = await stopped_after(nights, 6)
    nights.clock.wall += timedelta(days=1)
    nights.listed(dois(40))
    summary = await nights.night()
    finished = from_json((nights.folder / "2026-03-27.summary.json").read_bytes())
    assert finished.requests["paperbuzz"] == before.figures.pending
    assert summary.requests["paperbuzz"] == summary.figures.results == 10 + before.figures.results


async def test_a_night_is_finished_where_it_was_begun(nights: Nights) -> None:
    nights.listed(dois(30))
    await stopped_after(nights, 6)
    (nights.folder / "elsewhere").mkdir()
    nights.more["output.path"] = str(nights.folder / "elsewhere" / "{date}.jsonl.gz")
    nights.clock.wall += timedelta(days=1)
    await nights.night()
    assert len(list(records(nights.folder / "2026-03-27.jsonl"))) == 30
    assert [path.name for path in (nights.folder / "elsewhere").glob("*.gz")] == ["2026-03-28.jsonl.gz"]


async def test_operas_being_down_keeps_no_night_from_being_begun(nights: Nights) -> None:
    nights.more |= {"operas.enabled": True, "operas.base_url": nights.sandbox.operas_url, "paperbuzz.patience": 600.0}
    nights.listed(dois(30))
    before = await stopped_after(nights, 6)
    nights.sandbox.set_outage("operas")
    nights.clock.wall += timedelta(days=1)
    nights.listed(dois(40))
    summary = await nightly(nightly_job(nights.settings, Secret("sandbox")), nights.context)
    assert summary.exit.code == 69
    assert Path(summary.files["output"]).name == "2026-03-28.jsonl"
    assert summary.figures.results == 10 + before.figures.results


async def test_each_of_two_nights_in_one_call_puts_its_results_into_the_outbox_once(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights.more |= {"operas.enabled": True, "operas.base_url": nights.sandbox.operas_url}
    nights.listed(dois(30))
    await stopped_after(nights, 6)
    nights.clock.wall += timedelta(days=1)
    nights.listed(dois(40))
    enqueued: list[int] = []

    def counting(db: sqlite3.Connection, works: Sequence[int]) -> int:
        enqueued.extend(works)
        return enqueue(db, works)

    monkeypatch.setattr("harvester.storage.outbox.enqueue", counting)
    await nightly(nightly_job(nights.settings, Secret("sandbox")), nights.context)
    assert len(list(nights.folder.glob("2026-*.jsonl"))) >= 2
    assert len(enqueued) == len(set(enqueued)) > 0
    assert len(nights.sandbox.operas.registered) == 40


@pytest.mark.parametrize("wanted", [True, False])
async def test_urls_of_the_record_are_registered_by_nights_as_well_on_request(nights: Nights, wanted: bool) -> None:
    nights.more |= {"operas.enabled": True, "operas.base_url": nights.sandbox.operas_url}
    nights.more["operas.urls_from_metadata"] = wanted
    nights.listed(dois(5))
    await nightly(nightly_job(nights.settings, Secret("sandbox")), nights.context)
    assert len(nights.sandbox.operas.registered) == 5
    assert all(bool(urls) is wanted for urls in nights.sandbox.operas.registered.values())


async def test_a_second_start_leaves_the_summary_of_the_night(nights: Nights) -> None:
    nights.listed(dois(10))
    await nightly(nightly_job(nights.settings), nights.context)
    summary = (nights.folder / "2026-03-27.summary.json").read_bytes()
    nights.clock.wall += timedelta(hours=1)
    await nightly(nightly_job(nights.settings), nights.context)
    assert (nights.folder / "2026-03-27.summary.json").read_bytes() == summary


async def test_the_page_tells_of_a_clock_that_was_set(nights: Nights) -> None:
    nights.listed(dois(5))
    watch = ClockWatch(nights.clock)
    nights.clock.wall += timedelta(hours=2)
    summary = await nightly(nightly_job(nights.settings), nights.context, watch=watch)
    assert "Look at this: the clock jumped ahead by 2 h." in page(summary)


async def test_a_night_chooses_no_more_than_its_rate_allows_in_its_time(nights: Nights) -> None:
    nights.more |= {"paperbuzz.rate": 1.0, "nightly.time_limit": 20.0}
    nights.listed(dois(30))
    assert (await plan(nightly_job(nights.settings), nights.context)).budget == 19


async def test_what_is_listed_no_more_is_left_out_of_an_open_night_and_rests(nights: Nights) -> None:
    nights.listed(dois(30))
    stopped = await stopped_after(nights, 6)
    nights.listed(dois(1, "10.1234"))
    summary = await nights.night()
    left_out = stopped.figures.pending
    assert f"{left_out} DOIs of the last reading are listed no more and were not asked yet; left out" in nights.warnings
    assert summary.figures.pending == 0
    nights.listed(dois(30))
    await nights.night()
    assert sorted(set(nights.asked()) & set(dois(30))) == dois(30)


async def test_the_records_of_two_services_are_not_mixed_and_the_advice_is_one_for_nights(nights: Nights) -> None:
    nights.listed(dois(5))
    await nights.night()
    nights.clock.wall += timedelta(days=30)
    nights.more["paperbuzz.base_url"] = "http://127.0.0.1:9/v0/"
    with pytest.raises(Misconfigured, match=r"\[ledger\] path, or put base_url back\.$") as refused:
        await nights.night()
    assert "--refetch" not in str(refused.value)
    del nights.more["paperbuzz.base_url"]
    assert (await nights.night()).figures.results == 5


async def test_a_ledger_of_a_batch_run_is_refused(nights: Nights) -> None:
    nights.listed(dois(5))
    async with OpenedStore(nights.folder / "nights.ledger", nights.folder / "batch.jsonl") as store:
        await store.enrol([Work(doi, (), "l:1") for doi in dois(5)])
    with pytest.raises(Misconfigured, match=r"belongs to batch\.jsonl"):
        await nights.night()


async def test_the_plan_finishes_an_open_night_first_as_the_night_does(nights: Nights) -> None:
    nights.budget = 40
    nights.listed(dois(50))
    stopped = await stopped_after(nights, 6)
    nights.clock.wall += timedelta(days=1, minutes=5)
    made = await plan(nightly_job(nights.settings), nights.context)
    before = len(nights.asked())
    await nights.night()
    assert made.unfinished == stopped.figures.pending
    assert len(nights.asked()) - before == stopped.figures.pending + len(made.selection.picks)


async def test_the_plan_knows_what_the_nights_have_learnt(nights: Nights) -> None:
    nights.budget = 30
    nights.listed(dois(60))
    for _ in range(5):
        await nights.night()
        nights.sandbox.advance(10)
    made = await plan(nightly_job(nights.settings), nights.context)
    await nightly(nightly_job(nights.settings), nights.context)
    with closing(OpenedLedger(nights.folder / "nights.ledger", read_only=True)) as ledger:
        assert json.loads(str(ledger.database.meta.night_expected)) == made.selection.expected


# Who is told


def test_a_night_for_machines_says_one_event_a_line_to_its_end(tmp_path: Path) -> None:
    with run_in_thread(SandboxOptions(size_scale=0.1)) as sandbox:
        tool = Tool(tmp_path, sandbox)
        tool.write("dois.txt", dois(3))
        written = ['[input]\nfiles = ["dois.txt"]\n[output]\npath = "{run_id}.jsonl"\n[ledger]\npath = "n.ledger"']
        command = ("nightly", "-c", tool.write("night.toml", written), "--log-format", "json")
        events = [json.loads(line) for line in tool(*command).stderr.splitlines()]
        assert (events[-1]["exit_code"], events[-1]["results"]) == (0, 3)
        (tmp_path / "dois.txt").unlink()
        (told,) = [json.loads(line) for line in tool(*command).stderr.splitlines()]
        assert (told["exit_code"], told["exit_name"], told["level"]) == (66, "input-missing", "error")
        tool.close()


async def test_systemd_hears_that_it_is_ready_when_the_lists_are_read(nights: Nights) -> None:
    said: list[str] = []
    nights.listed(["no doi at all"])
    with pytest.raises(InputUnusable):
        await nightly(nightly_job(nights.settings), nights.context, ready=lambda: said.append("ready"))
    assert said == []
    nights.listed(dois(3))
    await nightly(nightly_job(nights.settings), nights.context, ready=lambda: said.append("ready"))
    assert said == ["ready"]


async def test_who_waits_for_the_lock_is_ready(nights: Nights) -> None:
    nights.listed(dois(3))
    context, said = nights.context, list[str]()
    with lock(nights.folder / "nights.ledger"):
        running = asyncio.create_task(
            nightly(nightly_job(nights.settings), context, wait_lock=True, ready=lambda: said.append("ready"))
        )
        while not said:  # noqa: ASYNC110 - what is tested is that somebody says it
            await asyncio.sleep(0.01)
    assert (await running).figures.results == 3


async def test_metrics_that_cannot_be_written_do_not_change_how_a_night_ends(nights: Nights) -> None:
    nights.more["metrics.textfile"] = nights.folder / "missing" / "harvester.prom"
    nights.listed(dois(3))
    summary = await nightly_and_notify(nights.settings, lambda: None, nights.context, {})
    assert summary.exit.code == 0


async def test_metrics_of_a_night_that_could_not_begin_say_so_and_keep_the_last_success(nights: Nights) -> None:
    textfile = nights.folder / "harvester.prom"
    nights.more["metrics.textfile"] = textfile
    nights.listed(dois(3))
    await nightly_and_notify(nights.settings, lambda: None, nights.context, {})
    success = last_success(textfile.read_bytes())
    nights.listed(["no doi"])
    nights.clock.wall += timedelta(days=1)
    with pytest.raises(InputUnusable):
        await nightly_and_notify(nights.settings, lambda: None, nights.context, {})
    assert b"harvester_exit_code 65.0" in textfile.read_bytes()
    assert success is not None
    assert last_success(textfile.read_bytes()) == success


@pytest.mark.parametrize(("problem", "told"), [(CredentialsRefused("no"), 12), (ZeroDivisionError("oops"), 1)])
async def test_a_ping_tells_how_a_night_failed_and_of_a_mistake_of_ours(
    nights: Nights, monkeypatch: pytest.MonkeyPatch, problem: Exception, told: int
) -> None:
    signals: list[object] = []

    async def heard(_transport: object, _url: str, signal: object, _verdict: str = "") -> None:
        signals.append(signal)

    def password() -> Secret | None:
        raise problem

    monkeypatch.setattr("harvester.nightly.notify.ping", heard)
    nights.more["metrics.ping_url"] = "http://127.0.0.1:9/x"
    nights.listed(dois(3))
    with pytest.raises(type(problem)):
        await nightly_and_notify(nights.settings, password, nights.context, {})
    assert signals == ["start", told]


# What is told of a night is a courtesy

SPOILED = [
    *({"results": "many"}, {"outcomes": None}, {"requests": [1]}, {"failures_by_kind": {"http": "x"}}, {"lines": None}),
    *({"finished_at": 5}, {"started_at": "yesterday"}, {"started_at": "2026-03-27T03:00:00"}, {"exit": "x"}),
    *({"exit": {"code": "0", "name": 1, "reason": None}}, {"duration_seconds": "x"}, {"files": None}, {"bytes": True}),
    *({"budget_left": "all"}, {"retries": 1.5}, {"resting": []}),
]
"""What somebody may have made of a member of last night's summary."""


def _spoil(summary: Path, change: Any) -> None:
    """Change members of a summary, replace it by bytes, or by a FIFO (None)."""
    if isinstance(change, bytes):
        summary.write_bytes(change)
    elif change is None:
        summary.unlink()
        os.mkfifo(summary)
    else:
        summary.write_text(json.dumps(json.loads(summary.read_bytes()) | change))


@pytest.mark.parametrize("change", [*SPOILED, None, b"", b"[]", b"null", b"[" * 5000, b'{"v": 1, "lines": 1e999}'])
async def test_a_summary_of_last_night_that_is_none_ends_no_night(nights: Nights, change: Any) -> None:
    nights.listed(dois(3))
    _spoil(Path((await nights.night()).files["summary"]), change)
    tonight = await nights.night()
    assert tonight.exit.code == 0
    assert "last night" not in page(tonight).partition("RECORDS AND EVENTS")[0]


async def test_a_later_version_may_have_put_more_into_a_summary(nights: Nights) -> None:
    nights.listed(dois(3))
    _spoil(Path((await nights.night()).files["summary"]), {"v": 9, "mood": {"good": [1]}})
    assert "last night" in page(await nights.night()).partition("RECORDS AND EVENTS")[0]


@pytest.mark.parametrize(
    "fails", ["harvester.nightly.report.night_report", "harvester.nightly.report.write_atomically"]
)
async def test_a_page_that_cannot_be_made_keeps_no_night_from_its_end(
    nights: Nights, fails: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nights.listed(dois(3))
    with monkeypatch.context() as patch:
        patch.setattr(fails, _raising(TypeError("odd")))
        assert (await nights.night()).exit.code == 0
    assert "the report of the night failed" in caplog.text
    with closing(OpenedLedger(nights.folder / "nights.ledger", read_only=True)) as ledger:
        assert ledger.database.meta.night is False
    assert page(await nights.night())


def _raising(error: Exception) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("fails", ["ping", "write_metrics", "AiohttpTransport"])
async def test_whatever_telling_others_raises_a_night_ends_as_it_did(
    nights: Nights, fails: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nights.more |= {"metrics.ping_url": "http://127.0.0.1:9/x", "metrics.textfile": nights.folder / "h.prom"}
    nights.listed(dois(3))
    monkeypatch.setattr(f"harvester.nightly.notify.{fails}", _raising(ValueError("odd")))
    summary = await nightly_and_notify(nights.settings, lambda: None, nights.context, {})
    assert summary.exit.code == 0
    assert "ValueError: odd. The harvest is not affected." in caplog.text


async def test_ready_is_said_again_because_a_message_may_be_dropped(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, ...]] = []
    monkeypatch.setattr("harvester.nightly.notify.notify", lambda _, *lines: told.append(lines))
    context = nights.context
    systemd = _Systemd(context, {}, ClockWatch(nights.clock))
    for is_ready in (False, True):
        if is_ready:
            systemd.ready()
        beat = asyncio.create_task(systemd.beat())
        await asyncio.sleep(0)
        beat.cancel()
    assert told == [
        ("WATCHDOG=1", "STATUS=0 of 0 works"),
        ("READY=1",),
        ("READY=1", "WATCHDOG=1", "STATUS=0 of 0 works"),
    ]


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", "5", '"x"', '[["x", 1]]', '{"found": "x", "more": 1}', '[null, "é"]']
)
async def test_what_is_remembered_in_another_form_is_as_if_it_were_not_there(nights: Nights, text: str) -> None:
    nights.listed(dois(3))
    await nights.night()
    with closing(OpenedLedger(nights.folder / "nights.ledger")) as ledger:
        for name in ("nights", "paces", "outputs", "rates", "night_figures", "night_expected", "found"):
            setattr(ledger.database.meta, name, text)
        with ledger.database.transaction() as db:
            db.execute("UPDATE visit SET facts = :text, counts = :text", {"text": text})
    assert (await nights.night()).exit.code == 0
    assert (await nights.night()).exit.code == 0


# Sixty nights

BERLIN = ZoneInfo("Europe/Berlin")
"""Where the timer stands: clocks go forward on 26 March 2028 and back on 29 October; 2028 has a 29 February."""


def sixty_nights() -> list[datetime]:
    """At 02:17 by the clock on the wall: six weeks about a leap day and the spring, then three weeks in autumn."""
    starts = [(datetime(2028, 2, 16, 2, 17, tzinfo=BERLIN), 42), (datetime(2028, 10, 16, 2, 17, tzinfo=BERLIN), 21)]
    local = [first + timedelta(days=day) for first, days in starts for day in range(days)]
    missed = {20, 21, 33}
    return [night.astimezone(UTC) for number, night in enumerate(local) if number not in missed]


@pytest.mark.timeout(300)
async def test_sixty_nights_with_all_that_happens_in_them(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outages, stops, missed nights, a list that changes, both changes of the clock, a leap day."""
    nights.more |= {"nightly.min_interval": 86_400.0}
    monkeypatch.setattr(quota, "BLOCKS_A_DAY", 4)  # of so small a budget each request would wait for the disk
    nights.budget = 40
    nights.more |= {"paperbuzz.patience": 600.0, "nightly.keep_nights": 100}
    listed = dois(60)
    asked_at: dict[str, list[datetime]] = {}
    codes = []
    for number, start in enumerate(sixty_nights()):
        nights.clock.wall, nights.clock.passed = start, 0.0
        listed = [*listed[1:], f"10.5555/later-{number}"]
        nights.listed(listed)
        nights.sandbox.set_outage("paperbuzz", "503" if number in (10, 11, 30) else None)
        before = len(nights.asked())
        summary = await nightly(nightly_job(nights.settings), nights.context)
        assert broken_identities(summary) == []
        codes.append(summary.exit.code)
        asked = nights.asked()[before:]
        assert len(asked) <= nights.budget
        for doi in asked if summary.exit.code == 0 else ():
            asked_at.setdefault(doi, []).append(start)
    assert len(codes) == 60
    assert {codes[number] for number in (10, 11, 30)} == {69}
    assert set(codes) == {0, 4, 69}
    assert codes.count(69) == 3
    assert codes.count(4) <= 6  # a night that had to finish another one first, or that is only 23 hours after it
    for moments in asked_at.values():
        assert all(later - earlier >= timedelta(hours=23) for earlier, later in pairwise(sorted(set(moments))))
    with closing(OpenedLedger(nights.folder / "nights.ledger", read_only=True)) as ledger:
        never = [candidate for candidate in Visits(ledger.database).candidates() if candidate.asked is None]
    assert len(never) <= 1
    with gather(Path(summary.files["output"]), ledger=nights.folder / "nights.ledger", deep=True) as evidence:
        assert broken(evidence) == []
