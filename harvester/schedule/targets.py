"""All kinds of files that start harvester every night: systemd, cron, Kubernetes, GitHub Actions.

All of them start the same `harvester nightly --config FILE`. They differ in who keeps the password, who prevents two
nights at the same time, and who is told of a failure.

Besides 0, two exit codes are those of an ordinary night, and nobody is woken for them: 3 (some DOIs failed; they are in
the failures file) and 4 (budget or time of the night is used up, which happens every night if there are more DOIs than
the budget allows). 143 is the exit code after `systemctl stop` and at a shutdown. Every other code is a failure.

No secret can get into a file: the plan holds none, only the name of the file with the password.
"""

from harvester.schedule.cron import cron_files
from harvester.schedule.github import github_files
from harvester.schedule.kubernetes import kubernetes_files
from harvester.schedule.plan import SchedulePlan, require_unattended
from harvester.schedule.systemd import systemd_files


def files(kind: str, plan: SchedulePlan) -> dict[str, str]:
    """The files of one kind, by file name.

    Args:
        kind: one of `KINDS`.
        plan: the scheduled harvest.

    Raises:
        Misconfigured: an unattended harvest of this kind cannot use the configuration; the message says what to change.
    """
    require_unattended(plan.settings)
    return KINDS[kind](plan)


KINDS = {"systemd": systemd_files, "cron": cron_files, "kubernetes": kubernetes_files, "github-actions": github_files}
