"""The way back: a new ledger from what was harvested, exactly once from there, and nothing deleted."""

import gzip
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from harvester.core.errors import InputMissing, LockHeld, Misconfigured, PromiseBroken, Usage
from harvester.recovery import recover as module
from harvester.recovery.recover import Plan, planned
from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.server import Sandbox
from harvester.storage.database import Database
from harvester.storage.lock import lock
from harvester.storage.paths import paths_of
from harvester.storage.status import status
from harvester.verify.gather import gather
from tests.oracle import violations
from tests.tool import Tool, dois
from tests.verify.test_verify import PROBES, REFUSED, Desk

FAILED = "10.5555/fault-wrong-doi"
"""By its own fault, so that nobody is asked whether the service is down."""

LISTED = [*dois(20), FAILED, REFUSED]
LINES = [*LISTED, LISTED[0], "", "no doi"]

Damage = Callable[[Path], object]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Sandbox(SandboxOptions()) as sandbox:
        yield Desk(tmp_path, sandbox)


@pytest.fixture(params=["jsonl", "jsonl.gz", "jsonl.zst"])
async def packed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    async with Sandbox(SandboxOptions()) as sandbox:
        yield Desk(tmp_path, sandbox, request.param)


def recovered(path: Path, *, nightly: bool = False) -> Plan:
    """Plan a recovery and carry it out."""
    with planned(paths_of(path), nightly=nightly, exclusive=True) as recovery:
        recovery.carry_out()
        return recovery.plan


def shown(path: Path) -> Plan:
    """Only plan it."""
    with planned(paths_of(path), nightly=False, exclusive=False) as recovery:
        return recovery.plan


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def held(path: Path) -> None:
    with gather(path, deep=True) as evidence:
        assert violations(evidence) == []


def asked(desk: Desk) -> list[str]:
    return [entry.doi for entry in desk.sandbox.log.of("paperbuzz") if entry.doi]


def posts_of(desk: Desk) -> int:
    return sum(entry.method == "POST" for entry in desk.sandbox.log.of("operas"))


def overwritten(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:4096] + os.urandom(len(content) - 4096))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def no_database(path: Path) -> None:
    path.write_bytes(b"rot" * 4000)


def senseless(path: Path) -> None:
    """Sound as a database, but what it says makes no sense."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE meta SET value = 'x' WHERE key = 'found'")
        db.execute("UPDATE failure SET stage = 'x'")
        db.commit()


# The ledger is damaged


@pytest.mark.parametrize("damage", [overwritten, emptied, cut, no_database, senseless, Path.unlink])
async def test_without_its_ledger_nothing_that_was_harvested_is_asked_again(desk: Desk, damage: Damage) -> None:
    await desk.run(LINES)
    records, before = desk.output.read_bytes(), len(asked(desk))
    damage(desk.folder / "out.ledger")
    plan = recovered(desk.output)
    assert (plan.lines.records, plan.figures.failures, plan.figures.rejected) == (len(LISTED) - 1, 1, 1)
    assert desk.output.read_bytes() == records
    assert (await desk.run(LINES)).exit.code == 0
    assert asked(desk)[before:] == []
    held(desk.output)


async def test_a_run_that_was_stopped_goes_on_after_its_ledger_was_lost(packed: Desk) -> None:
    await packed.run(LINES, budget=9)
    partial = packed.output.with_name(f"{packed.output.name}.partial")
    done = shown(packed.output).figures.results
    overwritten(packed.folder / "out.ledger")
    before = len(asked(packed))
    assert recovered(partial).figures.results == done > 0
    assert (await packed.run(LINES)).exit.code == 0
    again = [doi for doi in asked(packed)[before:] if doi in dois(20)]
    assert 20 - done <= len(again) <= 20 - done + PROBES
    assert len(set(again)) <= 20 - done + 1
    held(packed.output)


async def test_what_was_registered_is_sent_to_operas_again_and_stays_as_it_is(desk: Desk) -> None:
    await desk.run(LINES)
    registered = set(desk.sandbox.operas.registered)
    overwritten(desk.folder / "out.ledger")
    assert recovered(desk.output).figures.rejected == 1
    assert (await desk.run(LINES)).figures.registered == len(registered)
    assert set(desk.sandbox.operas.registered) == registered
    held(desk.output)


async def test_a_torn_tail_is_left_out_and_its_work_asked_again(packed: Desk) -> None:
    await packed.run(LINES, budget=9)
    partial = packed.output.with_name(f"{packed.output.name}.partial")
    torn = partial.read_bytes()[:-9]
    partial.write_bytes(torn)
    (packed.folder / "out.ledger").unlink()
    plan = recovered(packed.output)
    assert plan.lines.damaged == 1
    assert (packed.folder / f"{packed.output.name}.1").read_bytes() == torn
    assert (await packed.run(LINES)).exit.code == 0
    held(packed.output)


async def test_a_ledger_that_can_be_read_may_be_made_anew_all_the_same(desk: Desk) -> None:
    """Where it says something of nights, say, that nobody can make sense of."""
    await desk.run(LINES)
    with planned(paths_of(desk.output), nightly=False, exclusive=True, anew=True) as recovery:
        recovery.carry_out()
    with closing(Database(desk.folder / "out.ledger", read_only=True)) as ledger:
        assert ledger.meta.source is None
    assert (await desk.run(LINES)).exit.code == 0
    held(desk.output)


# The output is damaged


async def test_of_a_damaged_output_the_good_records_stay_and_the_ledger_keeps_what_it_knows(desk: Desk) -> None:
    await desk.run(LINES)
    lines = desk.output.read_bytes().splitlines(keepends=True)
    torn = [*lines[:3], lines[3].replace(b'"elapsed_ms":', b'"elapsed_ms":-'), lines[4][:-9], *lines[5:], lines[0]]
    torn[6] = torn[6].replace(b'"paperbuzz":{', b'"paperbuzz":{"x":1,')
    desk.output.write_bytes(b"".join(torn))
    posts, before = posts_of(desk), len(asked(desk))
    plan = recovered(desk.output)
    assert plan.ledger_problem is None
    assert plan.lines.doubled == 1
    assert (plan.lines.damaged, plan.lost) == (2, 3)  # a line without its end swallows the next one
    assert (await desk.run(LINES)).exit.code == 0
    assert len(asked(desk)) - before == plan.lost
    assert posts_of(desk) == posts
    assert (desk.folder / "out.jsonl.1").read_bytes() == b"".join(torn)
    held(desk.output)


async def test_a_byte_that_rotted_in_a_packed_output_costs_what_follows_it(desk: Desk) -> None:
    desk.ending = "jsonl.gz"
    await desk.run(LINES)
    content = bytearray(desk.output.read_bytes())
    content[-20] ^= 1
    desk.output.write_bytes(content)
    recovered(desk.output)
    assert gzip.decompress(desk.output.read_bytes()).count(b"\n") < len(LISTED) - 1
    assert (await desk.run(LINES)).exit.code == 0
    held(desk.output)


# Nothing is deleted, and nothing done without having been shown


async def test_a_plan_changes_no_byte(desk: Desk) -> None:
    await desk.run(LINES)
    overwritten(desk.folder / "out.ledger")
    cut(desk.output)
    before = contents(desk.folder)
    shown(desk.output)
    assert contents(desk.folder) == before


async def test_every_old_file_stays_under_the_next_free_number(desk: Desk) -> None:
    await desk.run(LINES)
    (desk.folder / "out.ledger.1").write_bytes(b"mine")
    cut(desk.output)
    overwritten(desk.folder / "out.ledger")
    log = desk.folder / "out.ledger-wal"
    log.write_bytes(b"\x37\x7f\x06\x82log")
    before = contents(desk.folder)
    recovered(desk.output)
    after = contents(desk.folder)
    assert after["out.ledger.1"] == b"mine"
    assert after["out.ledger.2"] == before["out.ledger"]
    assert after["out.ledger.2-wal"] == b"\x37\x7f\x06\x82log"
    assert after["out.jsonl.1"] == before["out.jsonl"]
    assert "out.ledger-wal" not in after
    held(desk.output)


@pytest.mark.parametrize("step", ["write_atomically", "_replace", "_keep", "sync_directory"])
@pytest.mark.parametrize("late", [False, True])
async def test_a_recovery_that_was_cut_off_is_done_again(
    desk: Desk, step: str, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.run(LINES)
    good = desk.output.read_bytes()
    desk.output.write_bytes(good[:-9])
    overwritten(desk.folder / "out.ledger")
    damaged = contents(desk.folder)
    really = getattr(module, step)

    def cut_off(*arguments: object) -> None:
        if late:
            really(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, step, cut_off)
        with pytest.raises(KeyboardInterrupt):
            recovered(desk.output)
    recovered(desk.output)
    kept = contents(desk.folder).values()
    assert damaged["out.jsonl"] in kept
    assert damaged["out.ledger"] in kept
    assert (await desk.run(LINES)).exit.code == 0
    held(desk.output)


async def test_a_file_system_without_links_will_do(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.run(LINES)
    overwritten(desk.folder / "out.ledger")

    def link(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", link)
    recovered(desk.output)
    assert (desk.folder / "out.ledger.1").exists()
    assert status(desk.output).figures.results == len(LISTED) - 1


# What cannot be recovered


async def test_what_does_not_belong_together_is_refused(desk: Desk) -> None:
    await desk.run(LINES)
    with pytest.raises(InputMissing, match="nothing to recover from"):
        shown(desk.folder / "other.jsonl")
    with pytest.raises(Usage, match="name the output of a run"):
        shown(desk.folder / "out.ledger")
    (desk.folder / "other.jsonl").write_bytes(b"")
    with (
        pytest.raises(Misconfigured, match=r"belongs to the output out\.jsonl, not to other\.jsonl"),
        planned(paths_of(desk.folder / "other.jsonl", desk.folder / "out.ledger"), nightly=False, exclusive=False),
    ):
        pass
    (desk.folder / "out.jsonl.partial").write_bytes(b"")
    with pytest.raises(PromiseBroken, match=r"both .*out\.jsonl and out\.jsonl\.partial exist"):
        shown(desk.output)


async def test_somebody_elses_database_is_left_alone(desk: Desk) -> None:
    await desk.run(LINES)
    (desk.folder / "out.ledger").unlink()
    with closing(sqlite3.connect(desk.folder / "out.ledger")) as db:
        db.execute("CREATE TABLE theirs (x)")
    before = contents(desk.folder)
    with pytest.raises(Misconfigured, match="is a database, but not a ledger of harvester"):
        recovered(desk.output)
    assert {name: content for name, content in contents(desk.folder).items() if name in before} == before


async def test_no_run_can_begin_meanwhile(desk: Desk) -> None:
    await desk.run(LINES)
    ledger = desk.folder / "out.ledger"
    for exclusive in (False, True):
        with (
            planned(paths_of(desk.output), nightly=False, exclusive=exclusive),
            pytest.raises(LockHeld),
            lock(ledger),
        ):
            pass
        with lock(ledger), pytest.raises(LockHeld), planned(paths_of(desk.output), nightly=False, exclusive=exclusive):
            pass


# Nights


@pytest.mark.parametrize(("finished", "is_open"), [(True, False), (False, True)])
async def test_the_ledger_of_nights_knows_whether_its_last_night_is_over(
    desk: Desk, finished: bool, is_open: bool
) -> None:
    await desk.run(LINES, budget=0 if finished else 9)
    overwritten(desk.folder / "out.ledger")
    plan = recovered(desk.output, nightly=True)
    assert plan.is_nightly
    with closing(Database(desk.folder / "out.ledger", read_only=True)) as ledger:
        assert (ledger.meta.night, ledger.meta.night_path) == (is_open, str(desk.output))
        assert ledger.meta.outputs == (None if is_open else f'["{desk.output}"]')


# As a person uses it


def test_a_person_sees_the_plan_first_and_then_has_it_done(harvester: Tool) -> None:
    listed = [*dois(5), FAILED, REFUSED]
    command = ["run", harvester.write("dois.txt", listed), "-o", "out.jsonl", "--quiet"]
    assert harvester(*command).returncode == 0
    overwritten(harvester.folder / "out.ledger")
    failed = harvester(*command)
    assert failed.returncode == 74
    assert "`harvester recover OUTPUT`" in failed.stderr
    plan = harvester("recover", "out.jsonl")
    assert plan.returncode == 0
    assert "6 good records" in plan.stdout
    assert "What was registered" in plan.stdout or "what was registered" in plan.stdout
    assert plan.stdout.endswith("Nothing was changed. The same command with --yes does it.\n")
    assert harvester(*command).returncode == 74
    done = harvester("recover", "out.jsonl", "--yes")
    assert done.stdout.splitlines()[-1] == "Done. The command that harvested it reads the list and goes on from here."
    assert harvester(*command).returncode == 0
    assert harvester("verify", "out.jsonl", "--deep").returncode == 0
