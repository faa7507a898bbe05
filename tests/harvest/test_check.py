"""`harvester check` says beforehand how a run would end: one place decides for both."""

import os
from pathlib import Path
from typing import Any

import pytest

from harvester.config.load import load
from harvester.config.settings import Settings
from harvester.core.errors import Misconfigured, StopRun
from harvester.harvest.check import Finding, Setup, check
from harvester.harvest.from_settings import list_options, paths, upstream
from harvester.harvest.run import run
from harvester.sandbox.server import Sandbox
from tests.jobs import an_account, harvest_job
from tests.records.test_schema import outside

PASSWORD = "sandbox"


async def checked(settings: Settings, folder: Path) -> int:
    """The exit code of `harvester check --offline`: that of the first problem."""
    setup = Setup(
        upstream=upstream(settings),
        account=(lambda: an_account(settings, PASSWORD)) if settings.operas.enabled else None,
        inputs=settings.input.files,
        options=list_options(settings),
        paths=lambda: paths(settings),
        textfile=None,
    )
    found = [finding async for finding in check(setup, outside(folder), offline=True)]
    return next((finding.problem.exit_code for finding in found if finding.problem), 0)


async def ended(settings: Settings, folder: Path) -> int:
    """The exit code of `harvester run` with the same settings."""
    password = PASSWORD if settings.operas.enabled else None
    try:
        await run(harvest_job(settings, settings.input.files, paths(settings), password), outside(folder))
    except StopRun as problem:
        return problem.exit_code
    return 0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"output.path": "missing/out.jsonl"}, 78),
        ({"output.path": "closed/out.jsonl"}, 74),
        ({"output.path": "out.jsonl", "ledger.path": "closed/out.ledger"}, 74),
        ({"output.path": "dois.jsonl"}, 2),
        ({"output.path": "-", "operas.enabled": True}, 2),
        ({"output.path": "out.jsonl", "input.files": ["nowhere.txt"]}, 66),
        ({"output.path": "out.jsonl", "input.files": ["none.txt"]}, 65),
        ({"output.path": "out.jsonl", "input.files": ["*.pdf"]}, 65),
    ],
)
async def test_check_ends_as_a_run_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "closed").mkdir()
    (tmp_path / "none.txt").write_text("no DOI\n")
    (tmp_path / "list.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / "dois.jsonl").write_text('{"doi": "10.5555/ok-1"}\n')
    really = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed" and really(path, mode))
    given = {"paperbuzz.email": "you@press.example", "input.files": ["dois.jsonl"], **changes}
    settings = load(None, {}, given).settings
    assert (await checked(settings, tmp_path), await ended(settings, tmp_path)) == (code, code)


async def asked(settings: Settings, folder: Path) -> Finding:
    """What `harvester check` finds when it asks for a record."""
    setup = Setup(upstream(settings), None, (), list_options(settings), None, None)
    found = [finding async for finding in check(setup, outside(folder), offline=False)]
    return next(finding for finding in found if finding.what == "Paperbuzz")


async def test_a_base_url_without_its_version_is_found_and_the_right_one_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    """The root of the server has the same status object, so that only a DOI tells."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    root = sandbox.paperbuzz_url.removesuffix("v0/")
    given = {"paperbuzz.email": "you@press.example", "paperbuzz.base_url": root}
    finding = await asked(load(None, {}, given).settings, tmp_path)
    assert isinstance(finding.problem, Misconfigured)
    assert f"They are at {sandbox.paperbuzz_url}" in finding.message
    well = await asked(load(None, {}, given | {"paperbuzz.base_url": sandbox.paperbuzz_url}).settings, tmp_path)
    assert well.problem is None
