"""Ready files for whoever starts harvester every night: systemd, cron, Kubernetes, GitHub Actions.

Pure: a plan goes in, file names and texts come out. All of them start the same `harvester nightly --config FILE`; what
differs is who keeps the password, who sees to it that one night does not overtake the next, and who is told.

Two exit codes besides 0 are an ordinary night, and nobody is woken for them: 3 (every DOI is accounted for, some
failed: the failures file is for the morning) and 4 (the night's budget or time is used up: with more DOIs than the
budget allows that is every night). 143 is what `systemctl stop` and a shutdown make of it. All else is a failure.

Nothing secret can come into a file: the plan holds no secret, only the name of the file that has it.
"""

from harvester.schedule.cron import cron_files
from harvester.schedule.github import github_files
from harvester.schedule.kubernetes import kubernetes_files
from harvester.schedule.plan import SchedulePlan, refuse_unattended
from harvester.schedule.systemd import systemd_files


def files(kind: str, plan: SchedulePlan) -> dict[str, str]:
    """The files of one kind, by name.

    Args:
        kind: one of `KINDS`.
        plan: what is to be scheduled.

    Raises:
        Misconfigured: the config does not do for an unattended harvest of that kind; the message says what to change.
    """
    refuse_unattended(plan.settings)
    return KINDS[kind](plan)


KINDS = {"systemd": systemd_files, "cron": cron_files, "kubernetes": kubernetes_files, "github-actions": github_files}
