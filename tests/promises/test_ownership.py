"""What harvester did not make is never emptied, replaced, deleted, or followed as a link.

The experiment. Each path that a command may write is taken by something that is not ours: a file of somebody else, a
link to one, a link that leads nowhere, a folder, a pipe, a device, a second name of the list. Then the command runs. It
may refuse, in words, or do its work; afterwards everything that was there is as it was, byte by byte.

The same is asked of paths that are taken while a run is under way, and of the files of nights that are pruned. What a
glob matches is in `tests/lists/test_own_files.py`, the last moment before a rename in `tests/core/test_ownership.py`.
"""

import asyncio
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harvester.cli.demo import _unused
from harvester.cli.schedule import schedule
from harvester.core.errors import StopRun, Usage
from harvester.core.model import Stage
from harvester.harvest.job import HarvestJob, Mode
from harvester.harvest.registration import register
from harvester.harvest.run import run
from harvester.monitoring.prometheus import write_metrics
from harvester.records.lines import failure_line
from harvester.reports.summary import as_json
from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.requestlog import RequestLog
from harvester.sandbox.run import run_in_thread
from harvester.sandbox.server import Sandbox
from harvester.schedule import SCHEDULE, files
from harvester.storage.paths import Paths, job_paths
from tests.harvest.test_run import settings_for
from tests.jobs import harvest_job, registration_job
from tests.nightly.test_nightly import Nights
from tests.records.test_schema import outside
from tests.reports.test_summary import SUMMARY
from tests.schedule.test_schedule import AWKWARD, IN_REPOSITORY, ORDINARY, plan
from tests.support import a_failure
from tests.tool import Tool, dois

THEIRS = b"10.5555/theirs\nthe only copy of a thesis\n"

Put = Callable[[Path], None]


# What may lie there; each is put at a path, and needs a folder `elsewhere` beside the folder of the job.


def a_file(path: Path) -> None:
    path.write_bytes(THEIRS)


def a_link_to_a_file(path: Path) -> None:
    path.symlink_to(path.parent.parent / "elsewhere" / "theirs.jsonl")


def a_link_to_an_empty_file(path: Path) -> None:
    path.symlink_to(path.parent.parent / "elsewhere" / "empty.jsonl")


def a_link_that_leads_nowhere(path: Path) -> None:
    path.symlink_to(path.parent.parent / "elsewhere" / "nowhere.jsonl")


def a_link_in_a_circle(path: Path) -> None:
    path.symlink_to(path.name)


def a_folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_bytes(THEIRS)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # a null device of our own; never try the real one
    except PermissionError:
        pytest.skip("only root can make a device")


def a_second_name_of_the_list(path: Path) -> None:
    path.hardlink_to(path.parent / "dois.txt")


STRANGE = [
    a_file,
    a_link_to_a_file,
    a_link_to_an_empty_file,
    a_link_that_leads_nowhere,
    a_link_in_a_circle,
    a_folder,
    a_pipe,
    a_device,
    a_second_name_of_the_list,
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a list; beside it, the files of somebody else to which links lead."""
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "job"
    elsewhere.mkdir()
    folder.mkdir()
    (folder / "dois.txt").write_text("10.5555/ok-1\nnot a doi\n")
    (elsewhere / "theirs.jsonl").write_bytes(THEIRS)
    (elsewhere / "empty.jsonl").write_bytes(b"")
    return folder


def contents(folder: Path) -> dict[Path, tuple[int, int, object]]:
    """All that is in a folder and beside it: what each is (type and inode), and what is in it; not the daily budget."""
    found = {path: path.lstat() for path in folder.parent.rglob("*") if path != folder and path.name != "state"}
    return {
        path: (is_.st_mode, is_.st_ino, path.read_bytes() if stat.S_ISREG(is_.st_mode) else None)
        for path, is_ in found.items()
        if path.parent.name != "state"
    }


def assert_untouched(before: dict[Path, tuple[int, int, object]], folder: Path) -> None:
    """All that was there is as it was, and no link was followed to make a file."""
    after = contents(folder)
    assert {path: after.get(path) for path in before} == before
    assert not (folder.parent / "elsewhere" / "nowhere.jsonl").exists()


RUN = (
    *("out.jsonl", "out.jsonl.partial", "out.failures.jsonl", "out.summary.json", "named.txt"),
    *("out.failures.jsonl.new", "out.summary.json.new"),
    *("out.ledger", "out.ledger.lock", "out.ledger-wal", "out.ledger-shm", "out.ledger-journal"),
)
"""What `harvester run` may write; `named.txt` is given with --failures."""

DOCUMENTED = {("out.jsonl", a_link_that_leads_nowhere)}
"""A link of the user's own to an output in another folder is followed."""


@pytest.mark.parametrize("put", STRANGE)
@pytest.mark.parametrize("name", RUN)
async def test_a_run_leaves_what_lies_in_its_way(name: str, put: Put, folder: Path, sandbox: Sandbox) -> None:
    if (name, put) in DOCUMENTED:
        pytest.skip("this is followed")
    put(folder / name)
    before = contents(folder)
    failures = folder / name if name == "named.txt" else None
    code = await ended(lambda: a_job(folder, sandbox, failures=failures))
    assert_untouched(before, folder)
    assert code == (0 if name.endswith(".new") and put is not a_second_name_of_the_list else code)
    assert code in (0, 2, 74, 78)


def a_job(folder: Path, sandbox: Sandbox, failures: Path | None = None, mode: Mode = Mode.RESUME) -> HarvestJob:
    paths = job_paths(str(folder / "out.jsonl"), failures=failures)
    return harvest_job(settings_for(sandbox), [folder / "dois.txt"], paths, mode=mode)


async def ended(job: Callable[[], HarvestJob]) -> int:
    """The code that a run ends with; any other error than one for people fails the test."""
    try:
        made = job()
        summary = await run(made, outside(made.paths.ledger.parent if made.paths.ledger else Path()))
    except StopRun as problem:
        return problem.exit_code
    return summary.exit.code


@pytest.mark.parametrize("put", [a_file, a_link_to_an_empty_file, a_link_that_leads_nowhere, a_folder, a_pipe])
@pytest.mark.parametrize("name", ["out.failures.jsonl", "out.summary.json", "out.jsonl"])
async def test_what_comes_while_a_run_is_under_way_is_left_as_well(
    name: str, put: Put, folder: Path, sandbox: Sandbox
) -> None:
    """The answers wait until the path is taken."""
    before: dict[Path, tuple[int, int, object]] = {}
    sandbox.latency_seconds = 0.1
    running = asyncio.create_task(ended(lambda: a_job(folder, sandbox)))
    while not len(sandbox.log):  # noqa: ASYNC110 - the sandbox's log is no event
        await asyncio.sleep(0.005)
    put(folder / name)
    before = {
        path: found for path, found in contents(folder).items() if not path.name.startswith("out.") or path.name == name
    }
    code = await running
    assert_untouched(before, folder)
    assert code in (70, 74)


async def test_once_the_way_is_free_the_same_command_goes_on(folder: Path, sandbox: Sandbox) -> None:
    a_file(folder / "out.summary.json")
    assert await ended(lambda: a_job(folder, sandbox)) == 2
    assert not sandbox.log.total
    (folder / "out.summary.json").unlink()
    assert await ended(lambda: a_job(folder, sandbox)) == 0
    assert await ended(lambda: a_job(folder, sandbox)) == 0


async def test_files_of_an_earlier_run_are_known_without_its_ledger_as_after_an_upgrade_or_a_restore(
    folder: Path, sandbox: Sandbox
) -> None:
    (folder / "out.failures.jsonl").write_bytes(failure_line(a_failure("10.5555/old", stage=Stage.FETCH)))
    (folder / "out.summary.json").write_bytes(as_json(SUMMARY))
    (folder / "out.summary.json.new").write_bytes(as_json(SUMMARY))
    assert await ended(lambda: a_job(folder, sandbox)) == 0
    assert b"not a doi" in (folder / "out.failures.jsonl").read_bytes()
    assert not (folder / "out.summary.json.new").exists()


@pytest.mark.parametrize("put", STRANGE)
async def test_a_refetch_takes_a_free_name_for_the_old_output(put: Put, folder: Path, sandbox: Sandbox) -> None:
    assert await ended(lambda: a_job(folder, sandbox)) == 0
    put(folder / "out.jsonl.1")
    before = {
        path: found for path, found in contents(folder).items() if path.name == "out.jsonl.1" or path.parent != folder
    }
    assert await ended(lambda: a_job(folder, sandbox, mode=Mode.REFETCH)) == 0
    assert_untouched(before, folder)
    assert (folder / "out.jsonl.2").exists()


@pytest.mark.parametrize("put", STRANGE)
@pytest.mark.parametrize("name", ["r.ledger.lock", "r.failures.jsonl", "r.summary.json"])
async def test_a_registration_leaves_what_lies_in_its_way(name: str, put: Put, folder: Path, sandbox: Sandbox) -> None:
    put(folder / name)
    before = contents(folder)
    paths = Paths(None, folder / "r.ledger", folder / "r.failures.jsonl", folder / "r.summary.json")
    job = registration_job(settings_for(sandbox), [folder / "dois.txt"], paths, "sandbox")
    with pytest.raises(Usage):
        await register(job, outside(folder))
    assert_untouched(before, folder)
    assert not sandbox.log.total


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")
@pytest.mark.parametrize("name", ["out.jsonl", "out.ledger"])
async def test_a_link_that_somebody_else_made_is_not_followed(name: str, folder: Path, sandbox: Sandbox) -> None:
    target = folder.parent / "elsewhere" / "new.jsonl"
    (folder / name).symlink_to(target)
    os.chown(folder / name, 12345, 12345, follow_symlinks=False)
    assert await ended(lambda: a_job(folder, sandbox)) == 2
    assert not target.exists()


async def test_a_link_of_ones_own_to_an_output_is_that_output(folder: Path, sandbox: Sandbox) -> None:
    target = folder.parent / "elsewhere" / "new.jsonl"
    (folder / "out.jsonl").symlink_to(target)
    assert await ended(lambda: a_job(folder, sandbox)) == 0
    assert (target.exists(), (folder / "out.jsonl").is_symlink()) == (True, True)


# Nights

NIGHT = "2026-03-27"


@pytest.fixture
def nights(folder: Path) -> Iterator[Nights]:
    with run_in_thread(SandboxOptions(size_scale=0.1)) as sandbox:
        made = Nights(folder, sandbox)
        made.listed(dois(3))
        yield made


@pytest.mark.parametrize("put", STRANGE)
@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.partial", ".failures.jsonl", ".summary.json", ".report.txt"])
async def test_a_night_leaves_what_lies_in_its_way(ending: str, put: Put, nights: Nights) -> None:
    name = f"{NIGHT}{ending}"
    if (ending, put) == (".jsonl", a_link_that_leads_nowhere):
        pytest.skip("this is followed")
    put(nights.folder / name)
    before = contents(nights.folder)
    with pytest.raises(StopRun) as told:
        await nights.night()
    assert told.value.exit_code in (2, 70, 74)
    assert_untouched(before, nights.folder)
    assert not nights.asked()


async def test_a_night_does_not_write_over_the_files_of_another_ledgers_night(nights: Nights) -> None:
    await nights.night()
    other = Nights(nights.folder, nights.sandbox)
    other.more = {"output.path": str(nights.folder / "{date}.jsonl.zst"), "ledger.path": nights.folder / "o.ledger"}
    before = contents(nights.folder)
    with pytest.raises(Usage, match=r"knows nothing of that night"):
        await other.night()
    assert_untouched({path: found for path, found in before.items() if path.name.startswith(NIGHT)}, nights.folder)


@pytest.mark.parametrize("put", [a_file, a_link_to_a_file, a_folder, a_pipe])
@pytest.mark.parametrize("ending", [".jsonl", ".failures.jsonl", ".summary.json", ".report.txt"])
async def test_what_took_the_place_of_an_old_nights_file_is_not_pruned(ending: str, put: Put, nights: Nights) -> None:
    nights.more["nightly.keep_nights"] = 1
    await nights.night()
    (nights.folder / f"{NIGHT}{ending}").unlink()
    put(nights.folder / f"{NIGHT}{ending}")
    before = {path: found for path, found in contents(nights.folder).items() if path.name == f"{NIGHT}{ending}"}
    await nights.night()
    assert_untouched(before, nights.folder)
    left = {path.name for path in nights.folder.iterdir() if path.name.startswith(NIGHT)}
    assert left == {f"{NIGHT}{ending}"}


async def test_nights_whose_lists_and_outputs_share_a_folder_read_the_lists_alone(nights: Nights) -> None:
    nights.more["input.files"] = (f"{nights.folder}/*",)
    read = [(await nights.night()) for _ in range(3)]
    assert [summary.lines for summary in read] == [3, 3, 3]
    assert all("they are not read" in warning for warning in nights.warnings), nights.warnings


async def test_an_output_of_an_earlier_night_that_is_named_as_a_list_is_refused(nights: Nights) -> None:
    await nights.night()
    nights.more["input.files"] = (str(nights.folder / f"{NIGHT}.jsonl"),)
    with pytest.raises(Usage, match="this job writes"):
        await nights.night()


# Other commands


@pytest.mark.parametrize("put", STRANGE)
def test_metrics_leave_what_lies_in_their_way(put: Put, folder: Path) -> None:
    put(folder / "h.prom")
    before = contents(folder)
    with pytest.raises(StopRun):
        write_metrics(folder / "h.prom", SUMMARY)
    assert_untouched(before, folder)


@pytest.mark.parametrize("put", [a_file, a_link_to_a_file, a_link_that_leads_nowhere, a_second_name_of_the_list])
def test_the_log_of_the_sandbox_is_not_put_behind_somebody_elses_text(put: Put, folder: Path) -> None:
    put(folder / "s.log")
    before = contents(folder)
    with pytest.raises(Usage):
        RequestLog(folder / "s.log")
    assert_untouched(before, folder)


def test_schedule_replaces_its_own_files_alone_and_none_of_two_if_one_is_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {"h.service": "# h.service, made by harvester 1.0 (harvester schedule).\n", "h.timer": "# the same\n"}
    monkeypatch.setattr("harvester.cli.schedule.files", lambda *_: made)
    monkeypatch.setattr("harvester.cli.schedule._plan", lambda *_: None)
    (folder / "c.toml").write_text("")
    arguments = ["systemd", "--config", str(folder / "c.toml"), "--write", str(folder)]
    (folder / "h.timer").write_bytes(THEIRS)
    before = contents(folder)
    with pytest.raises(Usage, match=r"h\.timer is there already"):
        schedule.main(arguments, standalone_mode=False)
    assert contents(folder) == before
    (folder / "h.timer").unlink()
    schedule.main(arguments, standalone_mode=False)
    assert "h.timer written" in capsys.readouterr().err
    (folder / "h.timer").unlink()
    schedule.main(arguments, standalone_mode=False)
    assert "h.service replaced" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["systemd", "cron", "kubernetes", "github-actions"])
def test_the_files_of_schedule_are_known_by_their_first_line(kind: str, tmp_path: Path) -> None:
    text = {"cron": AWKWARD, "github-actions": IN_REPOSITORY}.get(kind, ORDINARY)
    made = plan(tmp_path, text, config="harvester.toml" if text is IN_REPOSITORY else "/etc/harvester.toml")
    assert all(SCHEDULE.is_ours(text.encode()) for text in files(kind, made).values())


def test_the_demo_replaces_nothing(harvester: Tool) -> None:
    for name in ("dois.csv", "harvest.jsonl", "harvest.ledger", "harvest.notes.md"):
        (harvester.folder / name).write_bytes(THEIRS)
    (harvester.folder / "harvest.d").mkdir()
    refused = harvester("demo", "--folder", ".", "--quiet")
    assert refused.returncode == 2
    assert "dois.csv is there already, and the demo replaces nothing" in refused.stderr
    kept = {path.name: path.read_bytes() for path in harvester.folder.glob("*.*") if path.is_file()}
    assert kept == dict.fromkeys(["dois.csv", "harvest.jsonl", "harvest.ledger", "harvest.notes.md"], THEIRS)


def test_a_second_demo_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _unused() == Path("demo-output")
    (tmp_path / "demo-output").mkdir()
    assert _unused() == Path("demo-output")
    (tmp_path / "demo-output" / "harvest.ledger-wal").write_bytes(THEIRS)
    (tmp_path / "demo-output-2").symlink_to("nowhere")
    assert _unused() == Path("demo-output-3")


LOOKS = (
    ("status", "out.jsonl"),
    ("failures", "out.jsonl"),
    ("verify", "out.jsonl"),
    ("history", "10.5555/ok-00001", "out.ledger"),
    ("run", "dois.txt", "-o", "out.jsonl", "--dry-run"),
    ("check", "--offline"),
)
"""Commands that look at a job and change nothing."""


def files_in(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir() if path.is_file()}


def test_commands_that_look_change_no_file(harvester: Tool) -> None:
    harvester.write("dois.txt", [*dois(3), "not a doi"])
    assert harvester("run", "dois.txt", "-o", "out.jsonl").returncode == 0
    before = files_in(harvester.folder)
    for command in LOOKS:
        looked = harvester(*command)
        assert looked.returncode == 0, looked.stderr
    assert files_in(harvester.folder) == before


@pytest.mark.parametrize("name", ["out.ledger-wal", "out.ledger-shm"])
def test_commands_that_look_refuse_what_sqlite_would_write_over(name: str, harvester: Tool) -> None:
    harvester.write("dois.txt", dois(3))
    assert harvester("run", "dois.txt", "-o", "out.jsonl").returncode == 0
    (harvester.folder / name).write_bytes(THEIRS)
    looked = harvester("status", "out.jsonl")
    assert (looked.returncode, (harvester.folder / name).read_bytes()) == (2, THEIRS)
    assert f"{name} is there already" in looked.stderr


@pytest.mark.parametrize("name", ["out.ledger.lock", "out.ledger-wal", "out.failures.jsonl", "out.summary.json"])
def test_check_says_what_a_run_would_refuse(name: str, harvester: Tool) -> None:
    (harvester.folder / name).write_bytes(THEIRS)
    harvester.extra |= {
        "HARVESTER_OUTPUT__PATH": "out.jsonl",
        "HARVESTER_INPUT__FILES": harvester.write("d.txt", dois(1)),
    }
    checked = harvester("check", "--offline")
    assert (checked.returncode, (harvester.folder / name).read_bytes()) == (2, THEIRS)
    assert f"{name} is there already" in checked.stdout + checked.stderr


def test_a_glob_over_the_job_itself_keeps_the_locks_of_its_ledger(harvester: Tool) -> None:
    """To close any descriptor of a database drops SQLite's locks on it: another program would then remove its log."""
    harvester.extra["HARVESTER_PAPERBUZZ__RATE"] = "50"
    harvester.write("dois.txt", dois(200))
    process = harvester.start("run", "*", "-o", "out.jsonl", "--quiet")
    ledger, partial = harvester.folder / "out.ledger", harvester.folder / "out.jsonl.partial"
    while not partial.exists() or not partial.stat().st_size:
        assert process.poll() is None
    if not Path("/proc/locks").exists():
        pytest.skip("this system does not tell its locks")
    locks = Path("/proc/locks").read_text()
    process.kill()
    assert f":{ledger.stat().st_ino} " in locks


def test_the_ledger_of_the_job_may_not_come_through_standard_input_either(harvester: Tool) -> None:
    harvester.write("dois.txt", dois(3))
    assert harvester("run", "dois.txt", "-o", "out.jsonl").returncode == 0
    with (harvester.folder / "out.ledger").open("rb") as ledger:
        process = harvester.start("run", "-", "-o", "b.jsonl", stdin=ledger, stderr=subprocess.PIPE)
        assert "is a database" in process.communicate()[1]
    assert process.returncode == 65
