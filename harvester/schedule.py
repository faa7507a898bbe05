"""Ready files for whoever starts harvester every night: systemd, cron, Kubernetes, GitHub Actions.

Pure: a plan goes in, file names and texts come out. All of them start the same `harvester nightly --config FILE`; what
differs is who keeps the password, who sees to it that one night does not overtake the next, and who is told.

Two exit codes besides 0 are an ordinary night, and nobody is woken for them: 3 (every DOI is accounted for, some
failed: the failures file is for the morning) and 4 (the night's budget or time is used up: with more DOIs than the
budget allows that is every night). 143 is what `systemctl stop` and a shutdown make of it. All else is a failure.

Nothing secret can come into a file: the plan holds no secret, only the name of the file that has it.
"""

import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import time
from pathlib import Path, PurePosixPath

import orjson

from harvester.errors import Misconfigured
from harvester.settings import Settings

STATE = PurePosixPath("/var/lib/harvester")
"""What systemd's `StateDirectory=harvester` is; the daily budget is kept here."""

WATCHDOG = "5min"
"""Longer than anything that may hold the event loop, such as a slow disk's sync."""

STOP_SECONDS = 90
"""Answers under way have ten seconds, then they are committed; the rest is for a slow disk."""

START_SECONDS = 1800
"""Until READY=1: cutting back the output and enrolling millions of DOIs comes before it."""

ORDINARY = (0, 3, 4)
"""Exit codes of an ordinary night."""

NO_USE_TRYING_AGAIN = (2, 12, 65, 66, 70, 78)
"""Exit codes that a person has to do something about."""

GITHUB_MINUTES = 360
"""A job of GitHub's own runners is killed after this ("Usage limits" in GitHub's documentation)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be scheduled.

    Args:
        settings: of the config file alone, since the environment of today is not that of the night.
        config: path of the config file; as typed for GitHub, absolute for all others.
        config_text: its text.
        program: absolute path of `harvester` where it will run.
        at: when, in UTC.
        version: of harvester.
        image: container image, for Kubernetes.
        needs: further folders that the program needs to read, such as that of the interpreter.
    """

    settings: Settings
    config: Path
    config_text: str
    program: Path
    at: time
    version: str
    image: str
    needs: tuple[Path, ...] = ()


def files(kind: str, plan: Plan) -> dict[str, str]:
    """The files of one kind, by name.

    Args:
        kind: one of `KINDS`.
        plan: what is to be scheduled.

    Raises:
        Misconfigured: the config does not do for an unattended harvest of that kind; the message says what to change.
    """
    _refuse_unattended(plan.settings)
    return KINDS[kind](plan)


# What the config has to be like


def _places(settings: Settings, *, written: bool) -> Iterator[tuple[str, str]]:
    """Each path in the config that is written to, or only read, with the name of its setting."""
    if written:
        yield "[output] path", settings.output.path or ""
        single = [("output", "failures"), ("ledger", "path"), ("metrics", "textfile")]
    else:
        yield from (("[input] files", each) for each in settings.input.files)
        single = [("operas", "password_file")]
    for section, name in single:
        if path := getattr(getattr(settings, section), name):
            yield f"[{section}] {name}", str(path)


def _all_places(settings: Settings) -> list[tuple[str, str]]:
    return [*_places(settings, written=True), *_places(settings, written=False)]


def _refuse_unattended(settings: Settings) -> None:
    if not settings.output.path or settings.output.path == "-":
        raise Misconfigured("a scheduled harvest needs a file to write to: set path in [output] of the configuration.")
    if not settings.input.files:
        raise Misconfigured("a scheduled harvest needs lists to read: set files in [input] of the configuration.")
    if "-" in settings.input.files:
        raise Misconfigured('[input] files has "-", standard input, to which nobody will write at night. Name a file.')
    for name, text in _all_places(settings):
        if not text.isprintable():
            raise Misconfigured(f"{name} = {text!r} has a character that cannot stand in a schedule. Rename it.")


def _refuse_relative(plan: Plan) -> None:
    for name, text in _all_places(plan.settings):
        if not text.startswith("/"):
            raise Misconfigured(
                f"{name} = {text!r} is relative to the folder you are in, and a scheduled harvest starts in another. "
                "Give the whole path, beginning with /."
            )
    for name, text in _all_places(plan.settings):
        folder = _folder(text)
        if ".." in folder.parts or len(folder.parts) < 2:
            raise Misconfigured(f"{name} = {text!r}: put it into a folder of its own, named without `..`.")
        if folder.is_relative_to("/tmp") or folder.is_relative_to("/var/tmp"):  # noqa: S108 - refused, not used
            raise Misconfigured(f"{name} = {text!r}: temporary folders do not last. Choose one such as {STATE}.")


def _folder(text: str) -> PurePosixPath:
    """The folder of a file; of a glob, the one in which the search begins."""
    path = PurePosixPath(text)
    fixed = [part for part in path.parts if not re.search(r"[*?\[]", part)]
    return PurePosixPath(*fixed[: len(path.parts) - 1])


def _folders(settings: Settings, *, written: bool) -> list[PurePosixPath]:
    """The folders of these files, without those that are inside of another one."""
    found = {_folder(text) for name, text in _places(settings, written=written) if name != "[operas] password_file"}
    if written:
        found |= {STATE}
    return sorted(each for each in found if not any(each != other and each.is_relative_to(other) for other in found))


# systemd


def _systemd(plan: Plan) -> dict[str, str]:
    _refuse_relative(plan)
    hidden = [PurePosixPath(each) for each in ("/home", "/root", "/run/user", "/tmp", "/var/tmp")]  # noqa: S108
    own = [("the configuration", str(plan.config)), ("the program", str(plan.program))]
    own += [("the Python installation", str(each)) for each in plan.needs]
    for name, text in [*own, *_all_places(plan.settings)]:
        # The password file is read by systemd itself, which sees everything.
        if any(PurePosixPath(text).is_relative_to(each) for each in hidden) and name != "[operas] password_file":
            raise Misconfigured(
                f"{name}, {text}, is in a home or temporary folder, and the service is kept out of those. "
                f"Programs belong in /opt, configurations in /etc/harvester, data in {STATE} or /srv."
            )
        if re.search(r"[\"'\\]", text) or not text.isprintable():
            raise Misconfigured(f"{name}, {text!r}: a unit cannot hold quotes and backslashes in a path. Rename it.")
    return {"harvester.service": _service(plan), "harvester.timer": _timer(plan)}


def _unit_path(path: object) -> str:
    """A path as systemd wants it: `%` begins a specifier (systemd.unit(5))."""
    return str(path).replace("%", "%%")


def _unit_word(text: str) -> str:
    """One of several words; without quotes, blanks would part it, and a first `;` be a comment's."""
    plain = re.fullmatch(r"[A-Za-z0-9_./%=+@:,-]+", text)
    return text if plain else f'"{text}"'


def _unit_argument(path: object) -> str:
    """A word of a command line, where `$` begins a variable (systemd.service(5))."""
    return _unit_word(_unit_path(path).replace("$", "$$"))


def _service(plan: Plan) -> str:
    writable = _folders(plan.settings, written=True)
    elsewhere = [each for each in writable if each != STATE]
    listed = " ".join(_unit_word(f"-{_unit_path(each)}") for each in elsewhere)
    mounts = " ".join(_unit_word(_unit_path(each)) for each in [*writable, *_folders(plan.settings, written=False)])
    steps = [
        "useradd --system --user-group --home-dir /var/lib/harvester --shell /usr/sbin/nologin harvester",
        *(_made(each, plan.settings) for each in elsewhere),
        *(
            [f"install -m 0600 /dev/null {shlex.quote(str(_password_file(plan)))}   # and put the password into it"]
            * plan.settings.operas.enabled
        ),
        "systemctl daemon-reload",
        "systemctl enable --now harvester.timer",
        "systemctl start harvester         # the first harvest, now; it returns as soon as the harvest is under way",
        "journalctl -u harvester -f",
    ]
    return _SERVICE.format(
        head=_head("harvester.service", "/etc/systemd/system/, beside harvester.timer. Then, as root:", steps, plan),
        mounts=mounts,
        program=_unit_word(_unit_path(plan.program)),
        config=_unit_argument(plan.config),
        ordinary=" ".join(map(str, (*ORDINARY[1:], 143))),
        start_seconds=START_SECONDS,
        stop_seconds=STOP_SECONDS,
        watchdog=WATCHDOG,
        credential=_credential_lines(plan),
        writable=f"\n# The folders that the configuration names.\nReadWritePaths={listed}" if listed else "",
    )


def _made(folder: PurePosixPath, settings: Settings) -> str:
    """The command that makes a folder of ours; that of the metrics belongs to whoever collects them."""
    metrics = settings.metrics.textfile
    shared = metrics is not None and _folder(str(metrics)) == folder
    who = "-g harvester -m 0775" if shared else "-o harvester -g harvester -m 0750"
    return f"install -d {who} {shlex.quote(str(folder))}"


def _password_file(plan: Plan) -> Path:
    return plan.settings.operas.password_file or plan.config.parent / "operas-password"


def _credential_lines(plan: Plan) -> str:
    """The password as a credential: systemd reads the file as root, the service sees a copy that is never on a disk."""
    line = f"LoadCredential=operas-password:{_unit_path(_password_file(plan))}"
    if not plan.settings.operas.enabled:
        return f"# Registration is off ([operas] enabled); with it, this line gives it the password:\n# {line}"
    if plan.settings.operas.password_file:
        # The configuration names the original, which the service may not read, and would win over the credential.
        return f"{line}\nEnvironment=HARVESTER_OPERAS__PASSWORD_FILE=%d/operas-password"
    return line


_SERVICE = """\
{head}
[Unit]
Description=Harvest altmetrics from Paperbuzz
Wants=network-online.target
After=network-online.target
RequiresMountsFor={mounts}
# At most three starts in six hours.
StartLimitIntervalSec=6h
StartLimitBurst=3

[Service]
Type=notify
NotifyAccess=main
ExecStart={program} nightly --config {config}
User=harvester
Group=harvester
StateDirectory=harvester
StateDirectoryMode=0750
# The daily budget is remembered in /var/lib/harvester.
Environment=XDG_STATE_HOME=%S
{credential}

# 3: some DOIs failed, and are in the failures file. 4: budget or time of the night is used up; the next night goes on.
# 143: stopped by SIGTERM, resumable. Whoever wants to be told of failed DOIs takes the 3 away.
SuccessExitStatus={ordinary}
# A crash, a kill for want of memory, a hang: go on where it stopped. An exit code is never tried again before the next
# night: the harvest itself has waited out what could be waited out.
Restart=on-abnormal
RestartSec=5min
TimeoutStartSec={start_seconds}
TimeoutStopSec={stop_seconds}
WatchdogSec={watchdog}
KillMode=mixed
Nice=10

# Nothing but its own folders, the network, and what Python needs.{writable}
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateMounts=yes
DevicePolicy=closed
PrivateUsers=yes
PrivateIPC=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
TasksMax=64
UMask=0077
"""


def _timer(plan: Plan) -> str:
    head = _head(
        "harvester.timer", "/etc/systemd/system/, beside harvester.service, which says what to type.", [], plan
    )
    return f"""\
{head}
[Unit]
Description=Harvest altmetrics from Paperbuzz every night

[Timer]
OnCalendar=*-*-* {plan.at:%H:%M}:00 UTC
# A night that was slept through is made up for after the next start of the machine.
Persistent=true
# Not everybody at the same minute: each machine has its own, the same one every night.
RandomizedDelaySec=30min
FixedRandomDelay=true

[Install]
WantedBy=timers.target
"""


def _head(name: str, goes_to: str, steps: Sequence[str], plan: Plan) -> str:
    lines = [f"{name}, made by harvester {plan.version} (harvester schedule).", f"Goes to {goes_to}"]
    return "\n".join(f"# {line}" for line in [*lines, *(f"  {step}" for step in steps)])


# cron


def _cron(plan: Plan) -> dict[str, str]:
    _refuse_relative(plan)
    _refuse_without_password_file(plan.settings)
    if not f"{plan.program}{plan.config}".isprintable():
        raise Misconfigured("the path of the program or of the configuration cannot stand in a crontab. Rename it.")
    program, config = shlex.quote(str(plan.program)), shlex.quote(str(plan.config))
    ordinary = "|".join(map(str, ORDINARY))
    command = (
        f"log=$({program} nightly --config {config} 2>&1); code=$?; case $code in {ordinary}) ;; "
        """*) printf '%s\\n' "$log" "harvester nightly ended with $code" ;; esac"""
    )
    email = plan.settings.paperbuzz.email or ""
    mail = f"MAILTO={email}" if re.fullmatch(r"[A-Za-z0-9._+@-]+", email) else "# MAILTO=you@press.example"
    head = _head(
        "harvester.crontab",
        "the crontab of the user who is to harvest. Then, as that user:",
        ["(crontab -l; cat harvester.crontab) | crontab -", "crontab -l"],
        plan,
    )
    return {
        "harvester.crontab": f"""\
{head}
# cron goes by the clock of the machine: this is UTC only where the machine's time zone is. It starts no second chance
# for a night in which the machine is off; the next night goes on from there. No random delay: pick your own minute.
# Should a night last until the next, the second start ends at once with 11 (the ledger is locked) and changes nothing.
# Mail comes only when a person should look: what a night says is thrown away after 0, 3 (some DOIs failed: they are in
# the failures file) and 4 (budget or time used up). It needs a mail system on this machine.
{mail}
{plan.at.minute} {plan.at.hour} * * * {command.replace("%", chr(92) + "%")}
"""
    }


def _refuse_without_password_file(settings: Settings) -> None:
    if settings.operas.enabled and not settings.operas.password_file:
        raise Misconfigured(
            "registration is on, and cron has no place for a password: put it into a file that only the harvesting "
            "user can read, and name it with password_file in [operas]."
        )


# Kubernetes

CONFIG_MOUNT = "/run/harvester/config"
SECRET_MOUNT = "/run/harvester/secret"  # noqa: S105 - where it is, not what it is

_CONTAINER = """\
trap 'stop=yes; [ -z "$pid" ] || kill -TERM $pid' TERM INT
"$0" "$@" &
pid=$!
[ -z "$stop" ] || kill -TERM $pid
while :; do
  wait $pid; code=$?
  kill -0 $pid 2>/dev/null || break
done
case $code in {ordinary}) exit 0 ;; *) exit $code ;; esac
"""
"""A Job knows success only as 0.

The trap comes first, for a signal may come before there is anything to hand it to. A signal ends `wait` early; the loop
then waits for the harvester's own end.
"""


def _kubernetes(plan: Plan) -> dict[str, str]:
    _refuse_relative(plan)
    registers = plan.settings.operas.enabled
    steps = [
        f"docker build -t {plan.image} .        # push it to where the cluster finds it; for example, in the sources:",
        "    FROM python:3.13-slim",
        "    COPY . /src",
        "    RUN pip install --no-cache-dir /src",
        *(["kubectl create secret generic harvester-operas --from-file=operas-password=FILE"] * registers),
        "kubectl apply -f harvester.yaml",
        "kubectl create job --from=cronjob/harvester harvester-first && kubectl logs -f job/harvester-first",
    ]
    head = _head("harvester.yaml", "the cluster, Kubernetes 1.29 or newer:", steps, plan)
    notes = """\
# The volume is laid out as the configuration says: /srv/lists there is srv/lists in the volume; put your lists there.
# It has to be a block device (ReadWriteOnce), not NFS, EFS or the like: the ledger refuses network file systems.
# The configuration stands here as it was when this file was made; make it anew after a change."""
    texts = ["\n".join(yaml(each)) for each in resources(plan)]
    return {"harvester.yaml": "\n".join([head, notes, "---", "\n---\n".join(texts)]) + "\n"}


def resources(plan: Plan) -> list[dict[str, object]]:
    """The ConfigMap, the volume and the CronJob."""
    labels = {"app.kubernetes.io/name": "harvester"}
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "harvester", "labels": labels},
            "data": {"harvester.toml": plan.config_text.removeprefix("\ufeff")},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "harvester", "labels": labels},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
        },
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "harvester", "labels": labels},
            "spec": {
                "schedule": f"{plan.at.minute} {plan.at.hour} * * *",
                "timeZone": "Etc/UTC",
                "concurrencyPolicy": "Forbid",
                "startingDeadlineSeconds": 4 * 3600,
                "successfulJobsHistoryLimit": 3,
                "failedJobsHistoryLimit": 7,
                "jobTemplate": {"metadata": {"labels": labels}, "spec": _job(plan, labels)},
            },
        },
    ]


def _job(plan: Plan, labels: Mapping[str, str]) -> dict[str, object]:
    never: dict[str, object] = {
        "action": "FailJob",
        "onExitCodes": {"containerName": "harvester", "operator": "In", "values": list(NO_USE_TRYING_AGAIN)},
    }
    moved: dict[str, object] = {
        "action": "Ignore",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }
    return {
        # The harvest ends itself after [nightly] time_limit; this ends one that does not.
        "activeDeadlineSeconds": math.ceil(plan.settings.nightly.time_limit) + 1800,
        "backoffLimit": 2,
        "podFailurePolicy": {"rules": [never, moved]},
        "ttlSecondsAfterFinished": 7 * 86_400,
        "template": {"metadata": {"labels": dict(labels)}, "spec": _pod(plan)},
    }


def _pod(plan: Plan) -> dict[str, object]:
    volumes, mounts = _volumes(plan)
    environment = [{"name": "XDG_STATE_HOME", "value": str(STATE.parent)}]
    if plan.settings.operas.enabled:
        password = {"name": "HARVESTER_OPERAS__PASSWORD_FILE", "value": f"{SECRET_MOUNT}/operas-password"}
        environment.append(password)
    asked = plan.settings.paperbuzz
    largest = 256 + math.ceil(2 * asked.max_body * asked.concurrency / 2**20)
    container = {
        "name": "harvester",
        "image": plan.image,
        "command": ["/bin/sh", "-c", _CONTAINER.format(ordinary="|".join(map(str, ORDINARY)))],
        "args": ["harvester", "nightly", "--config", f"{CONFIG_MOUNT}/harvester.toml"],
        "env": environment,
        # Ordinary records are small; the limit is for the case that all answers at a time are as large as allowed.
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": f"{largest}Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": mounts,
    }
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": STOP_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10_001,
            "runAsGroup": 10_001,
            "fsGroup": 10_001,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }


def _volumes(plan: Plan) -> tuple[list[object], list[object]]:
    written = _folders(plan.settings, written=True)
    read = [
        each for each in _folders(plan.settings, written=False) if not any(each.is_relative_to(own) for own in written)
    ]
    volumes: list[object] = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "harvester"}},
        {"name": "config", "configMap": {"name": "harvester"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    mounts: list[object] = [
        *({"name": "data", "mountPath": str(each), "subPath": str(each)[1:]} for each in written),
        *({"name": "data", "mountPath": str(each), "subPath": str(each)[1:], "readOnly": True} for each in read),
        {"name": "config", "mountPath": CONFIG_MOUNT, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - of the container alone
    ]
    if plan.settings.operas.enabled:
        volumes.append({"name": "operas", "secret": {"secretName": "harvester-operas", "defaultMode": 0o440}})
        mounts.append({"name": "operas", "mountPath": SECRET_MOUNT, "readOnly": True})
    return volumes, mounts


# GitHub Actions


def _github(plan: Plan) -> dict[str, str]:
    for name, text in _places(plan.settings, written=True):
        if not _folder(text).parts:
            raise Misconfigured(
                f"{name} = {text!r}: put it into a folder of its own, which is kept from night to night."
            )
    for name, text in [("the configuration", str(plan.config)), *_all_places(plan.settings)]:
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
    head = _head(
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
    return {"harvester.yml": "\n".join([head, notes, *yaml(workflow(plan, secrets))]) + "\n"}


def workflow(plan: Plan, secrets: Sequence[str]) -> dict[str, object]:
    """The workflow; each of the secrets is in the environment of one step and of no other."""
    kept = [str(each) for each in {_folder(text): None for _, text in _places(plan.settings, written=True)}]
    lasting = "\n".join([".harvester-state", *kept])
    limit = plan.settings.nightly.time_limit
    longest = (GITHUB_MINUTES - 30) * 60.0
    environment = {"XDG_STATE_HOME": "${{ github.workspace }}/.harvester-state"}
    environment |= {name: f"${{{{ secrets.{name} }}}}" for name in secrets}
    if limit > longest:
        environment["HARVESTER_NIGHTLY__TIME_LIMIT"] = f"{longest / 60:g} min"
    script = f"""\
code=0
harvester nightly --config {shlex.quote(str(plan.config))} || code=$?
case $code in {"|".join(map(str, ORDINARY))}) exit 0 ;; *) exit $code ;; esac
"""
    key = "harvester-${{ github.run_id }}-${{ github.run_attempt }}"
    steps: list[object] = [
        {"uses": "actions/checkout@v4", "with": {"persist-credentials": False}},
        {"uses": "actions/setup-python@v5", "with": {"python-version": "3.13"}},
        {"run": "pip install wheels/paperbuzz_harvester-*.whl"},
        {"uses": "actions/cache/restore@v4", "with": {"path": lasting, "key": key, "restore-keys": "harvester-"}},
        {"name": "Harvest", "env": environment, "run": script},
        {"uses": "actions/cache/save@v4", "if": "always()", "with": {"path": lasting, "key": key}},
        {
            "uses": "actions/upload-artifact@v4",
            "if": "always()",
            "with": {
                "name": key,
                "path": "\n".join(kept),
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
                "timeout-minutes": min(GITHUB_MINUTES, math.ceil(limit / 60) + 30),
                "steps": steps,
            }
        },
    }


KINDS = {"systemd": _systemd, "cron": _cron, "kubernetes": _kubernetes, "github-actions": _github}


# YAML: mappings, lists, and scalars spelled as in JSON, which is YAML as well


def yaml(value: object) -> list[str]:
    """Lines of YAML for a tree of mappings with text keys, lists and scalars."""
    if isinstance(value, Mapping) and value:
        return [line for key, each in value.items() for line in _entry(f"{_yaml_key(key)}:", each)]
    if isinstance(value, list) and value:
        return [line for each in value for line in _item(yaml(each))]
    if isinstance(value, str):
        return _yaml_text(value)
    return [orjson.dumps(value).decode()]


def _entry(key: str, value: object) -> list[str]:
    lines = yaml(value)
    if isinstance(value, Mapping | list) and value:
        return [key, *_indented(lines)]
    return [f"{key} {lines[0]}", *_indented(lines[1:])]


def _item(lines: Sequence[str]) -> list[str]:
    return [f"- {lines[0]}", *_indented(lines[1:])]


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" if line else line for line in lines]


def _yaml_key(key: str) -> str:
    """`on` would be a truth value to readers of YAML 1.1."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9._/-]*", key) and key not in ("on", "off", "yes", "no", "y", "n")
    return key if plain else _quoted(key)


def _yaml_text(text: str) -> list[str]:
    """Several lines as a literal block where it gives back exactly this text; all else in JSON's quotes."""
    *lines, last = text.split("\n")
    block = lines and not last and lines[-1] and lines[0] and not lines[0].startswith(" ")
    if block and all(line.isprintable() for line in lines):
        return ["|", *lines]
    return [_quoted(text)]


def _quoted(text: str) -> str:
    quoted = orjson.dumps(text.encode(errors="replace").decode()).decode()
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in quoted)
