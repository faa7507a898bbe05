"""A Kubernetes CronJob with what belongs to it."""

import math
from collections.abc import Mapping

from harvester.schedule.plan import (
    NO_USE_TRYING_AGAIN,
    ORDINARY,
    STATE,
    STOP_SECONDS,
    SchedulePlan,
    config_folders,
    file_head,
    refuse_relative,
)
from harvester.schedule.yaml import yaml

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


def kubernetes_files(plan: SchedulePlan) -> dict[str, str]:
    """A manifest, by name."""
    refuse_relative(plan)
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
    head = file_head("harvester.yaml", "the cluster, Kubernetes 1.29 or newer:", steps, plan)
    notes = """\
# The volume is laid out as the configuration says: /srv/lists there is srv/lists in the volume; put your lists there.
# It has to be a block device (ReadWriteOnce), not NFS, EFS or the like: the ledger refuses network file systems.
# The configuration stands here as it was when this file was made; make it anew after a change."""
    texts = ["\n".join(yaml(each)) for each in resources(plan)]
    return {"harvester.yaml": "\n".join([head, notes, "---", "\n---\n".join(texts)]) + "\n"}


def resources(plan: SchedulePlan) -> list[dict[str, object]]:
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


def _job(plan: SchedulePlan, labels: Mapping[str, str]) -> dict[str, object]:
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


def _pod(plan: SchedulePlan) -> dict[str, object]:
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


def _volumes(plan: SchedulePlan) -> tuple[list[object], list[object]]:
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
