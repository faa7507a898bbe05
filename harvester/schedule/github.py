"""The workflow for GitHub Actions."""

import math
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

from harvester.core.errors import Misconfigured
from harvester.schedule.plan import (
    ORDINARY_EXIT_CODES,
    SchedulePlan,
    all_config_paths,
    config_paths,
    folder_of,
    header_comment,
)
from harvester.schedule.yaml import yaml_lines

GITHUB_MINUTES = 360
"""GitHub's own runners kill a job after this time ("Usage limits" in GitHub's documentation)."""

SPARE_MINUTES = 30
"""Of a job, beside the harvest itself: to install, to restore and save the cache, to upload."""


def github_files(plan: SchedulePlan) -> dict[str, str]:
    """A workflow, by file name."""
    for name, text in config_paths(plan.settings, written=True):
        if not folder_of(text).parts:
            raise Misconfigured(
                f"{name} = {text!r}: put it into a folder of its own, which is kept from night to night."
            )
    for name, text in [("the configuration", str(plan.config)), *all_config_paths(plan.settings)]:
        if text.startswith("/") or ".." in PurePosixPath(text).parts:
            raise Misconfigured(
                f"{name}, {text!r}: on GitHub all paths are relative to the repository's root. Call this there, with "
                "a configuration whose paths begin with neither / nor `..`."
            )
    if plan.settings.operas.password_file:
        raise Misconfigured(
            "[operas] password_file: a password never lies in a repository. Leave the setting out; GitHub's secret "
            "HARVESTER_OPERAS__PASSWORD takes its place."
        )
    secrets = ["HARVESTER_OPERAS__PASSWORD"] * plan.settings.operas.enabled
    secrets += ["HARVESTER_PAPERBUZZ__EMAIL"] * (plan.settings.paperbuzz.email is None)
    head = header_comment(
        "harvester.yml",
        ".github/workflows/ of a repository, a private one if the lists are. Then:",
        [
            "pip wheel --no-deps -w wheels .      # in harvester's sources; commit wheels/ with it",
            *(f"gh secret set {name}" for name in secrets),
            "git add … && git commit && git push && gh workflow run harvester.yml",
        ],
        plan,
    )
    notes = """\
# The limits of this way: a job ends after 6 hours; starts may be late, or left out when GitHub is busy; schedules of
# public repositories end after 60 days without a commit; a cache that is not used for 7 days is deleted, and with it
# the ledger: the harvest then begins anew, and artifacts of 90 days are what is left. For an only copy take systemd.
# Actions are named by version; pin them to commits if your rules say so."""
    return {"harvester.yml": "\n".join([head, notes, *yaml_lines(workflow(plan, secrets))]) + "\n"}


def workflow(plan: SchedulePlan, secrets: Sequence[str]) -> dict[str, object]:
    """The workflow as data. Only the step that harvests has the secrets in its environment."""
    written = [str(each) for each in {folder_of(text): None for _, text in config_paths(plan.settings, written=True)}]
    cached = "\n".join([".harvester-state", *written])
    limit = plan.settings.nightly.time_limit
    longest = (GITHUB_MINUTES - SPARE_MINUTES) * 60.0
    environment = {"XDG_STATE_HOME": "${{ github.workspace }}/.harvester-state"}
    environment |= {name: f"${{{{ secrets.{name} }}}}" for name in secrets}
    if limit > longest:
        environment["HARVESTER_NIGHTLY__TIME_LIMIT"] = f"{longest / 60:g} min"
    script = f"""\
code=0
harvester nightly --config {shlex.quote(str(plan.config))} || code=$?
case $code in {"|".join(map(str, ORDINARY_EXIT_CODES))}) exit 0 ;; *) exit $code ;; esac
"""
    key = "harvester-${{ github.run_id }}-${{ github.run_attempt }}"
    steps: list[object] = [
        {"uses": "actions/checkout@v4", "with": {"persist-credentials": False}},
        {"uses": "actions/setup-python@v5", "with": {"python-version": "3.13"}},
        {"run": "pip install wheels/paperbuzz_harvester-*.whl"},
        {"uses": "actions/cache/restore@v4", "with": {"path": cached, "key": key, "restore-keys": "harvester-"}},
        {"name": "Harvest", "env": environment, "run": script},
        {"uses": "actions/cache/save@v4", "if": "always()", "with": {"path": cached, "key": key}},
        {
            "uses": "actions/upload-artifact@v4",
            "if": "always()",
            "with": {
                "name": key,
                "path": "\n".join(written),
                "retention-days": 90,
                "include-hidden-files": False,
            },
        },
    ]
    return {
        "name": "harvester",
        "on": {"schedule": [{"cron": f"{plan.at.minute} {plan.at.hour} * * *"}], "workflow_dispatch": {}},
        "permissions": {"contents": "read"},
        "concurrency": {"group": "harvester", "cancel-in-progress": False},
        "jobs": {
            "nightly": {
                "runs-on": "ubuntu-latest",
                "timeout-minutes": min(GITHUB_MINUTES, math.ceil(limit / 60) + SPARE_MINUTES),
                "steps": steps,
            }
        },
    }
