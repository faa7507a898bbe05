"""What starts the nightly harvest: files that the real tools accept, for configs that can run unattended."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from harvester.cli.schedule import schedule as command
from harvester.config.credentials import CREDENTIAL_NAME, PASSWORD_VARIABLE
from harvester.config.load import load, variable_of
from harvester.config.parsers import as_output, as_path, as_path_texts
from harvester.config.settings import KEYS, PARSERS
from harvester.core.errors import Misconfigured
from harvester.schedule import SchedulePlan, files, github
from harvester.schedule.github import workflow
from harvester.schedule.kubernetes import resources
from harvester.schedule.plan import all_config_paths
from harvester.schedule.yaml import yaml_lines

TRUE = shutil.which("true") or "/usr/bin/true"
ANALYZE = shutil.which("systemd-analyze") or ""
with_systemd = pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is not here")

ORDINARY = """
[paperbuzz]
email = "you@press.example"
[operas]
enabled = true
[input]
files = ["/srv/lists/*.csv"]
[output]
path = "/var/lib/harvester/{date}.jsonl.zst"
[ledger]
path = "/var/lib/harvester/harvest.ledger"
"""

AWKWARD = """
[paperbuzz]
email = "you@press.example"
[operas]
enabled = true
password_file = "/etc/harvester/pass word%n"
[input]
files = ["/srv/my lists/*/a.csv", "/srv/my lists/b.csv"]
[output]
path = "/srv/100% out/$HOME;#:b/ü/{date}.jsonl"
[ledger]
path = "/srv/100% out/ledger"
"""

IN_REPOSITORY = """
[operas]
enabled = true
[input]
files = ["lists/*.csv"]
[output]
path = "out/{date}.jsonl.zst"
[ledger]
path = "out/harvest.ledger"
"""

KINDS = ("systemd", "cron", "kubernetes", "github-actions")


def plan(folder: Path, text: str = ORDINARY, *, config: str = "/etc/harvester/harvester.toml") -> SchedulePlan:
    path = folder / "harvester.toml"
    path.write_text(text, encoding="utf-8")
    return SchedulePlan(
        settings=load(path, {}, {}).settings,
        config=Path(config),
        config_text=text,
        program=Path(TRUE),
        at=time(2, 17),
        version="1.2.3",
        image="images.press.example/harvester:1",
    )


def refused(kind: str, made: SchedulePlan) -> str:
    with pytest.raises(Misconfigured) as caught:
        files(kind, made)
    return str(caught.value)


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def test_every_setting_with_a_path_is_checked_and_mounted() -> None:
    keys = {key for key in KEYS if PARSERS[key] in (as_path, as_path_texts, as_output)}
    named = {name for name, _ in all_config_paths(load(None, {}, dict.fromkeys(keys, "/srv/a.jsonl")).settings)}
    assert named == {"[{}] {}".format(*key.split(".")) for key in keys}


# systemd


def analyzed(*arguments: str, debug: bool = False) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ({"SYSTEMD_LOG_LEVEL": "debug"} if debug else {})
    given = [ANALYZE, "--no-pager", *arguments]
    return subprocess.run(given, capture_output=True, text=True, check=False, timeout=60, env=environment)


def written(folder: Path, made: SchedulePlan) -> list[str]:
    for name, text in files("systemd", made).items():
        (folder / name).write_text(text, encoding="utf-8")
    return [str(folder / name) for name in ("harvester.service", "harvester.timer")]


@with_systemd
@pytest.mark.parametrize("text", [ORDINARY, AWKWARD, ORDINARY.replace("enabled = true", "")])
def test_systemd_finds_nothing_to_say_of_the_units(tmp_path: Path, text: str) -> None:
    found = analyzed("verify", "--man=no", *written(tmp_path, plan(tmp_path, text)))
    said = found.stdout + found.stderr
    if "Failed to create" in said or "Failed to initialize manager" in said:
        pytest.skip("systemd-analyze verify cannot work here")
    assert (found.returncode, said) == (0, "")


@with_systemd
def test_the_service_is_hardened_by_systemds_own_measure(tmp_path: Path) -> None:
    """Its score was 1.1 of 10 with systemd 252, where less is better; 20 is 2.0."""
    service, _ = written(tmp_path, plan(tmp_path))
    found = analyzed("security", "--offline=yes", "--threshold=20", service)
    if "unrecognized option" in found.stderr:
        pytest.skip("this systemd-analyze is too old")
    assert found.returncode == 0, found.stdout.splitlines()[-1]


@with_systemd
def test_systemd_reads_the_paths_that_were_meant(tmp_path: Path) -> None:
    made = replace(plan(tmp_path, AWKWARD, config="/etc/h %n $HOME;t.toml"), program=Path(TRUE))
    found = analyzed("verify", "--man=no", *written(tmp_path, made), debug=True)
    said = found.stdout + found.stderr
    if "-> Unit harvester.service" not in said:
        pytest.skip("this systemd-analyze does not show what it read")
    assert "ReadWritePaths: -/srv/100% out\n" in said
    assert "RequiresMountsFor: /srv/my lists " in said
    assert f'Command Line: {TRUE} nightly --config "/etc/h %n \\$\\$HOME;t.toml"' in said


def test_what_is_inside_of_a_writable_folder_is_not_named_again(tmp_path: Path) -> None:
    service = files("systemd", plan(tmp_path, AWKWARD))["harvester.service"]
    assert 'ReadWritePaths="-/srv/100%% out"\n' in service
    assert "ReadWritePaths" not in files("systemd", plan(tmp_path))["harvester.service"]


def test_the_password_reaches_the_service_as_a_credential(tmp_path: Path) -> None:
    service = files("systemd", plan(tmp_path))["harvester.service"]
    assert f"\nLoadCredential={CREDENTIAL_NAME}:/etc/harvester/operas-password\n" in service
    assert "PASSWORD_FILE" not in service


def test_a_password_file_of_the_config_becomes_the_credential_and_only_that_is_read(tmp_path: Path) -> None:
    service = files("systemd", plan(tmp_path, AWKWARD))["harvester.service"]
    assert f"\nLoadCredential={CREDENTIAL_NAME}:/etc/harvester/pass word%%n\n" in service
    assert f"\nEnvironment={variable_of('operas.password_file')}=%d/{CREDENTIAL_NAME}\n" in service


def test_without_registration_a_missing_password_file_is_no_obstacle(tmp_path: Path) -> None:
    text = changed(ORDINARY, "enabled = true", "enabled = false")
    assert "\nLoadCredential" not in files("systemd", plan(tmp_path, text))["harvester.service"]


def test_a_night_that_was_missed_is_made_up_for_and_not_all_presses_start_at_once(tmp_path: Path) -> None:
    timer = files("systemd", replace(plan(tmp_path), at=time(23, 5)))["harvester.timer"]
    for line in (
        "OnCalendar=*-*-* 23:05:00 UTC",
        "Persistent=true",
        "RandomizedDelaySec=30min",
        "FixedRandomDelay=true",
    ):
        assert f"\n{line}\n" in timer


def test_an_ordinary_night_is_a_success_and_a_stop_as_well(tmp_path: Path) -> None:
    service = files("systemd", plan(tmp_path))["harvester.service"]
    assert "\nSuccessExitStatus=3 4 143\n" in service
    assert "\nType=notify\n" in service
    assert "\nWatchdogSec=" in service


@pytest.mark.parametrize("folder", ["/home/you", "/root", "/run/user/1000", "/var/tmp"])  # noqa: S108
def test_what_the_service_could_not_see_is_refused(tmp_path: Path, folder: str) -> None:
    ordinary = plan(tmp_path)
    assert "/opt" in refused("systemd", replace(ordinary, program=Path(folder, "harvester")))
    assert "/etc/harvester" in refused("systemd", replace(ordinary, config=Path(folder, "a.toml")))
    assert "Python" in refused("systemd", replace(ordinary, needs=(Path(folder, "python"),)))
    assert "/var/lib/harvester" in refused("systemd", plan(tmp_path, changed(ORDINARY, "/srv/lists", folder)))


@pytest.mark.parametrize("name", ['a"b', "a'b", "a\\\\b", "a\\nb", "a\\u001bb"])
def test_what_a_unit_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    text = changed(ORDINARY, '"/srv/lists/*.csv"', '"/srv/lists/' + name.replace('"', '\\"') + '.csv"')
    assert "Rename it" in refused("systemd", plan(tmp_path, text))


# What the config has to be like


@pytest.mark.parametrize("kind", ["systemd", "cron", "kubernetes"])
@pytest.mark.parametrize(
    ("old", "new"), [('"/srv/lists/*.csv"', '"lists/*.csv"'), ("/var/lib/harvester/{date}", "{date}")]
)
def test_relative_paths_are_refused_with_the_setting_named(tmp_path: Path, kind: str, old: str, new: str) -> None:
    assert "relative" in refused(kind, plan(tmp_path, changed(ORDINARY, old, new)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("old", "new", "about"),
    [
        ("path =", "# path =", "[output]"),
        ("/var/lib/harvester/{date}.jsonl.zst", "-", "[output]"),
        ("files =", "# files =", "[input]"),
        ('"/srv/lists/*.csv"', '"-"', "standard input"),
    ],
)
def test_what_nobody_would_attend_to_is_refused(tmp_path: Path, kind: str, old: str, new: str, about: str) -> None:
    assert about in refused(kind, plan(tmp_path, changed(ORDINARY, old, new)))


@pytest.mark.parametrize("path", ["/harvest.jsonl", "/srv/../etc/harvest.jsonl", "/tmp/harvest.jsonl"])  # noqa: S108
def test_places_that_are_too_wide_or_do_not_last_are_refused(tmp_path: Path, path: str) -> None:
    refused("kubernetes", plan(tmp_path, changed(ORDINARY, "/var/lib/harvester/{date}.jsonl.zst", path)))


@pytest.mark.parametrize("kind", ["cron", "kubernetes", "github-actions"])
def test_no_password_is_in_any_file_or_on_the_terminal(tmp_path: Path, kind: str) -> None:
    github = kind == "github-actions"
    canary = "canary-Passw0rd"
    (tmp_path / "secret").write_text(canary, encoding="utf-8")
    text = IN_REPOSITORY if github else f"{ORDINARY}[log]\nlevel = 'info'\n"
    if not github:
        text = changed(text, "enabled = true", "enabled = true\npassword_file = '/etc/harvester/operas-password'")
    (tmp_path / "harvester.toml").write_text(text, encoding="utf-8")
    given = [sys.executable, "-m", "harvester", "schedule", kind, "--write", "made", "--program", TRUE]
    run = subprocess.run(
        [*given, "--config", "harvester.toml"],
        cwd=tmp_path,
        env=os.environ | {PASSWORD_VARIABLE: canary, "HARVESTER_PAPERBUZZ__RATE": "1", "CREDENTIALS_DIRECTORY": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "not in force at night: HARVESTER_PAPERBUZZ__RATE\n" in run.stderr
    everything = [each.read_text(encoding="utf-8") for each in (tmp_path / "made").iterdir()]
    assert everything
    assert not any(canary in text for text in [*everything, run.stdout, run.stderr])


# cron


def crontab_line(made: SchedulePlan) -> str:
    (text,) = files("cron", made).values()
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", "MAILTO="))]
    assert len(lines) == 1
    return lines[0]


def command_of(line: str) -> str:
    """What cron hands to the shell: the sixth field, up to a `%` without a backslash (crontab(5))."""
    command = line.split(" ", 5)[5]
    assert not re.search(r"(?<!\\)%", command)
    return command.replace("\\%", "%")


def test_the_crontab_line_has_five_fields_and_a_command(tmp_path: Path) -> None:
    line = crontab_line(replace(plan(tmp_path, ORDINARY.replace("enabled = true", "")), at=time(23, 5)))
    assert line.startswith("5 23 * * * ")
    assert len(line) < 998  # cron's MAX_COMMAND


@pytest.mark.parametrize(("code", "mailed"), [(0, False), (3, False), (4, False), (11, True), (78, True), (143, True)])
def test_cron_mails_only_what_a_person_should_see(tmp_path: Path, code: int, mailed: bool) -> None:
    program = tmp_path / "100% mine" / "harvester"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$1|$2|$3"\necho trouble >&2\nexit {code}\n', encoding="utf-8")
    program.chmod(0o755)
    made = plan(tmp_path, ORDINARY.replace("enabled = true", ""), config="/etc/it's 5% $HOME.toml")
    command = command_of(crontab_line(replace(made, program=program)))
    run = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    said = f"nightly|--config|/etc/it's 5% $HOME.toml\ntrouble\nharvester nightly ended with {code}\n"
    assert (run.stdout, run.stderr) == (said if mailed else "", "")


def test_cron_needs_a_password_file_for_registration(tmp_path: Path) -> None:
    assert "password_file" in refused("cron", plan(tmp_path))


# Kubernetes


def cronjob(made: SchedulePlan) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(resources(made)[2]))
    assert found["kind"] == "CronJob"
    return found


def test_one_night_never_overtakes_the_next_in_the_cluster(tmp_path: Path) -> None:
    spec = cronjob(plan(tmp_path))["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert (spec["schedule"], spec["timeZone"]) == ("17 2 * * *", "Etc/UTC")
    assert spec["startingDeadlineSeconds"] > 100  # less stops a CronJob for good after 100 missed starts
    job = spec["jobTemplate"]["spec"]
    assert job["activeDeadlineSeconds"] > plan(tmp_path).settings.nightly.time_limit
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # podFailurePolicy wants it


def test_the_pod_may_do_nothing_it_need_not(tmp_path: Path) -> None:
    pod = cronjob(plan(tmp_path))["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod["automountServiceAccountToken"]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
    }


def test_every_mount_has_its_volume_and_every_folder_of_the_config_its_mount(tmp_path: Path) -> None:
    pod = cronjob(plan(tmp_path, AWKWARD))["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
    assert len(mounts) == len(container["volumeMounts"])
    assert {each["name"] for each in mounts.values()} == {each["name"] for each in pod["volumes"]}
    assert mounts["/srv/my lists"]["readOnly"]
    assert not mounts["/srv/100% out"].get("readOnly")
    assert not mounts["/var/lib/harvester"].get("readOnly")
    environment = {each["name"]: each["value"] for each in container["env"]}
    secret = environment[variable_of("operas.password_file")]
    assert str(Path(secret).parent) in mounts
    assert Path(secret).name == CREDENTIAL_NAME


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (3, 0), (4, 0), (12, 12), (69, 69)])
def test_the_container_makes_an_ordinary_night_a_success(tmp_path: Path, code: int, ends: int) -> None:
    script = container_script(plan(tmp_path))
    run = subprocess.run(["/bin/sh", "-c", script, "/bin/sh", "-c", f"exit {code}"], check=False)
    assert run.returncode == ends


@pytest.mark.parametrize(("code", "ends"), [(4, 0), (143, 143)])
def test_the_container_hands_a_stop_on_and_waits_for_the_end(tmp_path: Path, code: int, ends: int) -> None:
    wait = "for i in $(seq 200); do sleep 0.05; done"
    nightly = f"trap 'sleep 0.3; echo committed; exit {code}' TERM; echo ready; {wait}"
    given = ["/bin/sh", "-c", container_script(plan(tmp_path)), "/bin/sh", "-c", nightly]
    with subprocess.Popen(given, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.terminate()
        assert running.stdout.read() == "committed\n"
    assert running.returncode == ends


def container_script(made: SchedulePlan) -> str:
    pod = cronjob(made)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    shell, option, script = pod["containers"][0]["command"]
    assert (shell, option) == ("/bin/sh", "-c")
    assert "$(" not in script  # Kubernetes would put a variable there
    return str(script)


# GitHub Actions


def test_the_workflow_runs_one_at_a_time_and_shows_secrets_to_one_step(tmp_path: Path) -> None:
    made = plan(tmp_path, IN_REPOSITORY, config="harvester.toml")
    flow: Any = workflow(made, [PASSWORD_VARIABLE])
    assert flow["concurrency"] == {"group": "harvester", "cancel-in-progress": False}
    assert flow["permissions"] == {"contents": "read"}
    job = flow["jobs"]["nightly"]
    assert job["timeout-minutes"] <= github.GITHUB_MINUTES
    assert "env" not in flow
    assert "env" not in job
    (step,) = [each for each in job["steps"] if "env" in each]
    assert step["env"][PASSWORD_VARIABLE] == "${{ secrets." + PASSWORD_VARIABLE + " }}"
    assert step["env"][variable_of("nightly.time_limit")] == "330 min"
    (text,) = files("github-actions", made).values()
    assert all(word in text for word in (PASSWORD_VARIABLE, variable_of("paperbuzz.email"), "60 days", "6 hours"))


def test_a_night_that_fits_into_a_job_keeps_its_own_limit(tmp_path: Path) -> None:
    made = plan(tmp_path, IN_REPOSITORY + "[nightly]\ntime_limit = '2 h'\n", config="harvester.toml")
    flow: Any = workflow(made, [])
    assert flow["jobs"]["nightly"]["timeout-minutes"] == 150
    assert variable_of("nightly.time_limit") not in str(flow)


@pytest.mark.parametrize(
    ("old", "new"),
    [("out/", "/srv/out/"), ("out/", "../out/"), ("out/", ""), ("lists/", "/srv/lists/")],
)
def test_a_repository_holds_all_of_it(tmp_path: Path, old: str, new: str) -> None:
    refused("github-actions", plan(tmp_path, changed(IN_REPOSITORY, old, new), config="harvester.toml"))


# YAML


def test_yaml_is_spelled_so_that_nothing_is_guessed() -> None:
    tree = {
        "on": {"a/b": ["yes", {"c": 1, "d": []}, ["e"]]},
        "text": "one\n\n two\n",
        "odd": " x\n",
        "none": None,
        "no": {},
    }
    assert "\n".join(yaml_lines(tree)) == (
        '"on":\n  a/b:\n    - "yes"\n    - c: 1\n      d: []\n    - - "e"\n'
        'text: |\n  one\n\n   two\nodd: " x\\n"\nnone: null\n"no": {}'
    )


HOSTILE: Sequence[str] = (
    "",
    "a\r\nb\n",
    "a\tb\n",
    "\x7f\x85\u2028\ufeff",
    "x\n\n",
    "\n",
    "- a: b\n# c\n",
    "😀",
    "a\n",
    " a\nb\n",
)


@pytest.mark.skipif(find_spec("yaml") is None, reason="PyYAML is not here")
def test_a_yaml_reader_reads_what_was_written(tmp_path: Path) -> None:
    reader: Any = import_module("yaml")
    for text in HOSTILE:
        for tree in ({"a": text}, [text, [text]], {"a": {"b": [{"c": text, "d": text}]}}):
            assert reader.safe_load("\n".join(yaml_lines(tree)) + "\n") == tree
    made = plan(tmp_path, AWKWARD)
    (text,) = files("kubernetes", made).values()
    assert list(reader.safe_load_all(text)) == resources(made)


# The command


def harvester(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HARVESTER_")}
    given = [sys.executable, "-m", "harvester", "schedule", *arguments]
    return subprocess.run(given, cwd=folder, env=kept, capture_output=True, text=True, check=False)


def test_stdout_has_the_files_with_what_to_do_with_them(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(ORDINARY, encoding="utf-8")
    run = harvester(tmp_path, "kubernetes", "--config", "a.toml", "--at", "3:41", "--image", "r.example/h:2")
    assert (run.returncode, run.stderr) == (0, "")
    assert "# Goes to" in run.stdout
    assert "kubectl apply" in run.stdout
    assert '"41 3 * * *"' in run.stdout
    assert "r.example/h:2" in run.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["cron", "--config", "missing.toml"], 78),
        (["cron", "--config", "a.toml", "--at", "25:00"], 2),
        (["cron"], 2),
        (["kubernetes", "--config", "a.toml", "--write", "a.toml"], 2),
        (["kubernetes", "--config", "a.toml", "--write", "a.toml/made"], 74),
        (["cron", "--config", "a.toml", "--program", "bin/harvester"], 78),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, arguments: list[str], code: int) -> None:
    (tmp_path / "a.toml").write_text(ORDINARY, encoding="utf-8")
    run = harvester(tmp_path, *arguments)
    assert run.returncode == code
    assert run.stderr
    assert not run.stdout


def test_a_configuration_that_vanishes_meanwhile_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "a.toml"
    config.write_text(ORDINARY, encoding="utf-8")
    monkeypatch.setattr("harvester.cli.schedule.require_email", lambda _: config.unlink())
    with pytest.raises(Misconfigured, match=r"a\.toml cannot be read"):
        command.main(["kubernetes", "--config", str(config)], standalone_mode=False)


def test_a_config_map_has_the_text_without_what_editors_on_windows_add(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbf" + ORDINARY.replace("\n", "\r\n").encode())
    (tmp_path / "b.toml").write_text(ORDINARY, encoding="utf-8")
    one, two = (harvester(tmp_path, "kubernetes", "--config", f"{name}.toml").stdout for name in "ab")
    assert one.replace("a.toml", "b.toml") == two


def test_what_the_night_would_refuse_is_told_when_it_is_scheduled(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(changed(ORDINARY, "{date}", "harvest"), encoding="utf-8")
    run = harvester(tmp_path, "cron", "--config", "a.toml")
    assert run.returncode == 78
    assert "{date}" in run.stderr


def test_the_folder_of_the_metrics_stays_that_of_the_collector(tmp_path: Path) -> None:
    textfile = '[metrics]\ntextfile = "/var/lib/prometheus/node-exporter/harvester.prom"\n'
    text = files("systemd", plan(tmp_path, ORDINARY + textfile))["harvester.service"]
    assert "install -d -g harvester -m 0775 /var/lib/prometheus/node-exporter" in text
