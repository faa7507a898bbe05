"""Runs one command and writes down what it cost: `python -I -S launch.py REPORT COMMAND...`.

A process of its own, and as small as Python gets, since a process begins its life with the peak memory of the one that
started it: under a large parent every command would seem large. The floor of what can be measured is this one's own
size, about 10 MiB. SIGTERM to it kills the command with SIGKILL.

The report is one JSON object: `code` (negative for a signal), `started` and `ended` (seconds of the monotonic clock),
`user` and `system` (CPU seconds, those of children that were waited for included), `peak` (bytes; of the largest
process where there are several).
"""

import json
import os
import signal
import sys
import time
from pathlib import Path


def main(report: str, command: list[str]) -> None:
    """Run the command to its end."""
    started = time.monotonic()
    child = os.posix_spawnp(command[0], command, os.environ)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
    _, status, usage = os.wait4(child, 0)
    ended = time.monotonic()
    unit = 1 if sys.platform == "darwin" else 1024
    cost = {
        "code": os.waitstatus_to_exitcode(status),
        "started": started,
        "ended": ended,
        "user": usage.ru_utime,
        "system": usage.ru_stime,
        "peak": usage.ru_maxrss * unit,
    }
    Path(report).write_text(json.dumps(cost), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
