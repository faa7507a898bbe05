"""The manifest for Kubernetes: a CronJob with its configuration and its volume."""

import math
from collections.abc import Mapping

from harvester.schedule.plan import (
    NO_RETRY_EXIT_CODES,
    ORDINARY_EXIT_CODES,
    STATE_FOLDER,
    STOP_SECONDS,
    SchedulePlan,
    config_folders,
    header_comment,
    require_absolute_paths,
)
from harvester.schedule.yaml import yaml_lines

CONFIG_MOUNT = "/run/harvester/config"
SECRET_MOUNT = "/run/harvester/secret"  # noqa: S105 - a folder, not a secret

_CONTAINER_SCRIPT = """\
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
"""Starts harvester and makes 0 of its ordinary exit codes, because to a Job every other code is a failure.

The trap is set first: a signal may come before harvester has started. A signal ends `wait` early, so the loop waits
again until harvester itself has ended.
"""


def kubernetes_files(plan: SchedulePlan) -> dict[str, str]:
    """A manifest, by file name."""
    require_absolute_paths(plan)
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
    head = header_comment("harvester.yaml", "the cluster, Kubernetes 1.29 or newer:", steps, plan)
    notes = """\
# The volume is laid out as the configuration says: /srv/lists there is srv/lists in the volume; put your lists there.
# It has to be a block device (ReadWriteOnce), not NFS, EFS or the like: the ledger refuses network file systems.
# The configuration stands here as it was when this file was made; make it anew after a change."""
    texts = ["\n".join(yaml_lines(each)) for each in resources(plan)]
    return {"harvester.yaml": "\n".join([head, notes, "---", "\n---\n".join(texts)]) + "\n"}


def resources(plan: SchedulePlan) -> list[dict[str, object]]:
    """The ConfigMap, the volume claim and the CronJob, as data."""
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


def _job(plan: SchedulePlan, labels: Mapping[str, str]) -> dict[str, object]:
    no_retry: dict[str, object] = {
        "action": "FailJob",
        "onExitCodes": {"containerName": "harvester", "operator": "In", "values": list(NO_RETRY_EXIT_CODES)},
    }
    evicted: dict[str, object] = {
        "action": "Ignore",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }
    return {
        # A harvest ends by itself after [nightly] time_limit. This deadline ends one that hangs.
        "activeDeadlineSeconds": math.ceil(plan.settings.nightly.time_limit) + 1800,
        "backoffLimit": 2,
        "podFailurePolicy": {"rules": [no_retry, evicted]},
        "ttlSecondsAfterFinished": 7 * 86_400,
        "template": {"metadata": {"labels": dict(labels)}, "spec": _pod(plan)},
    }


def _pod(plan: SchedulePlan) -> dict[str, object]:
    volumes, mounts = _volumes(plan)
    environment = [{"name": "XDG_STATE_HOME", "value": str(STATE_FOLDER.parent)}]
    if plan.settings.operas.enabled:
        password = {"name": "HARVESTER_OPERAS__PASSWORD_FILE", "value": f"{SECRET_MOUNT}/operas-password"}
        environment.append(password)
    paperbuzz = plan.settings.paperbuzz
    memory_mib = 256 + math.ceil(2 * paperbuzz.max_body * paperbuzz.concurrency / 2**20)
    container = {
        "name": "harvester",
        "image": plan.image,
        "command": ["/bin/sh", "-c", _CONTAINER_SCRIPT.format(ordinary="|".join(map(str, ORDINARY_EXIT_CODES)))],
        "args": ["harvester", "nightly", "--config", f"{CONFIG_MOUNT}/harvester.toml"],
        "env": environment,
        # Ordinary records are small. The limit allows for the case that all answers under way have the greatest size.
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": f"{memory_mib}Mi"}},
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


def _volumes(plan: SchedulePlan) -> tuple[list[object], list[object]]:
    """The volumes of the pod, and where the container mounts them."""
    written = config_folders(plan.settings, written=True)
    read = [
        each
        for each in config_folders(plan.settings, written=False)
        if not any(each.is_relative_to(own) for own in written)
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
