"""The hardened systemd service and its timer."""

import re
import shlex
from pathlib import Path, PurePosixPath

from harvester.config.settings import Settings
from harvester.core.errors import Misconfigured
from harvester.schedule.plan import (
    ORDINARY_EXIT_CODES,
    START_SECONDS,
    STATE_FOLDER,
    STOP_SECONDS,
    WATCHDOG,
    SchedulePlan,
    all_config_paths,
    config_folders,
    folder_of,
    header_comment,
    require_absolute_paths,
)


def systemd_files(plan: SchedulePlan) -> dict[str, str]:
    """A service and its timer, by file name."""
    require_absolute_paths(plan)
    hidden = [PurePosixPath(each) for each in ("/home", "/root", "/run/user", "/tmp", "/var/tmp")]  # noqa: S108
    own = [("the configuration", str(plan.config)), ("the program", str(plan.program))]
    own += [("the Python installation", str(each)) for each in plan.needs]
    for name, text in [*own, *all_config_paths(plan.settings)]:
        # systemd itself reads the password file, and it sees all folders.
        if any(PurePosixPath(text).is_relative_to(each) for each in hidden) and name != "[operas] password_file":
            raise Misconfigured(
                f"{name}, {text}, is in a home or temporary folder, and the service is kept out of those. "
                f"Programs belong in /opt, configurations in /etc/harvester, data in {STATE_FOLDER} or /srv."
            )
        if re.search(r"[\"'\\]", text) or not text.isprintable():
            raise Misconfigured(f"{name}, {text!r}: a unit cannot hold quotes and backslashes in a path. Rename it.")
    return {"harvester.service": _service(plan), "harvester.timer": _timer(plan)}


def _unit_path(path: object) -> str:
    """Escape a path for a unit file, where `%` begins a specifier (systemd.unit(5))."""
    return str(path).replace("%", "%%")


def _unit_word(text: str) -> str:
    """Quote a word if necessary. Without quotes blanks would split it, and `;` at its beginning would be a comment."""
    plain = re.fullmatch(r"[A-Za-z0-9_./%=+@:,-]+", text)
    return text if plain else f'"{text}"'


def _unit_argument(path: object) -> str:
    """Escape a word of a command line, where `$` begins a variable (systemd.service(5))."""
    return _unit_word(_unit_path(path).replace("$", "$$"))


def _service(plan: SchedulePlan) -> str:
    writable = config_folders(plan.settings, written=True)
    elsewhere = [each for each in writable if each != STATE_FOLDER]
    listed = " ".join(_unit_word(f"-{_unit_path(each)}") for each in elsewhere)
    mounts = " ".join(
        _unit_word(_unit_path(each)) for each in [*writable, *config_folders(plan.settings, written=False)]
    )
    steps = [
        "useradd --system --user-group --home-dir /var/lib/harvester --shell /usr/sbin/nologin harvester",
        *(_install_command(each, plan.settings) for each in elsewhere),
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
        head=header_comment(
            "harvester.service", "/etc/systemd/system/, beside harvester.timer. Then, as root:", steps, plan
        ),
        mounts=mounts,
        program=_unit_word(_unit_path(plan.program)),
        config=_unit_argument(plan.config),
        ordinary=" ".join(map(str, (*ORDINARY_EXIT_CODES[1:], 143))),
        start_seconds=START_SECONDS,
        stop_seconds=STOP_SECONDS,
        watchdog=WATCHDOG,
        credential=_credential_lines(plan),
        writable=f"\n# The folders that the configuration names.\nReadWritePaths={listed}" if listed else "",
    )


def _install_command(folder: PurePosixPath, settings: Settings) -> str:
    """The command that makes a folder. It is ours, except that of the metrics, which belongs to their collector."""
    metrics = settings.metrics.textfile
    shared = metrics is not None and folder_of(str(metrics)) == folder
    who = "-g harvester -m 0775" if shared else "-o harvester -g harvester -m 0750"
    return f"install -d {who} {shlex.quote(str(folder))}"


def _password_file(plan: SchedulePlan) -> Path:
    return plan.settings.operas.password_file or plan.config.parent / "operas-password"


def _credential_lines(plan: SchedulePlan) -> str:
    """The password as a credential: systemd reads its file as root and gives the service a copy that is on no disk."""
    line = f"LoadCredential=operas-password:{_unit_path(_password_file(plan))}"
    if not plan.settings.operas.enabled:
        return f"# Registration is off ([operas] enabled); with it, this line gives it the password:\n# {line}"
    if plan.settings.operas.password_file:
        # The setting would win over the credential, and the service may not read the file that it names. So it gets
        # the path of the copy.
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


def _timer(plan: SchedulePlan) -> str:
    head = header_comment(
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
