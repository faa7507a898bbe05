"""The crontab."""

import re
import shlex

from harvester.config.settings import Settings
from harvester.core.errors import Misconfigured
from harvester.schedule.plan import ORDINARY_EXIT_CODES, SchedulePlan, header_comment, require_absolute_paths


def cron_files(plan: SchedulePlan) -> dict[str, str]:
    """A crontab, by file name."""
    require_absolute_paths(plan)
    _require_password_file(plan.settings)
    if not f"{plan.program}{plan.config}".isprintable():
        raise Misconfigured("the path of the program or of the configuration cannot stand in a crontab. Rename it.")
    program, config = shlex.quote(str(plan.program)), shlex.quote(str(plan.config))
    ordinary = "|".join(map(str, ORDINARY_EXIT_CODES))
    command = (
        f"log=$({program} nightly --config {config} 2>&1); code=$?; case $code in {ordinary}) ;; "
        """*) printf '%s\\n' "$log" "harvester nightly ended with $code" ;; esac"""
    )
    email = plan.settings.paperbuzz.email or ""
    mail = f"MAILTO={email}" if re.fullmatch(r"[A-Za-z0-9._+@-]+", email) else "# MAILTO=you@press.example"
    head = header_comment(
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


def _require_password_file(settings: Settings) -> None:
    if settings.operas.enabled and not settings.operas.password_file:
        raise Misconfigured(
            "registration is on, and cron has no place for a password: put it into a file that only the harvesting "
            "user can read, and name it with password_file in [operas]."
        )
