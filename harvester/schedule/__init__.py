"""Files that start the nightly harvest: for systemd, cron, Kubernetes and GitHub Actions.

This room is pure: a plan goes in, file names and texts come out. It installs nothing.
"""

from harvester.schedule.plan import SCHEDULE, SchedulePlan
from harvester.schedule.targets import KINDS, files

__all__ = ["KINDS", "SCHEDULE", "SchedulePlan", "files"]
