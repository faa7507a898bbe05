"""Runs harvester and counts what its Python does: `python -m bench.counted REPORT ARGUMENTS...`.

The report is a JSON object: `calls` of Python functions, those of coroutines that go on included, `c_calls` of built-in
ones, and `garbage`, objects in cycles that only the garbage collector could free; in all threads. Slower than harvester
by itself, and for counting only.
"""

import gc
import json
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

from harvester.cli import main

COUNTED = {"call": "calls", "c_call": "c_calls"}


def counting(counts: Counter[str]) -> None:
    """Count from here on, in this thread and in those that are still to start."""

    def called(_frame: FrameType, event: str, _argument: object) -> None:
        counts[event] += 1

    def collected(phase: str, info: dict[str, int]) -> None:
        if phase == "stop":
            counts["garbage"] += info["collected"]

    gc.callbacks.append(collected)
    threading.setprofile(called)
    sys.setprofile(called)


if __name__ == "__main__":
    report = Path(sys.argv[1])
    del sys.argv[1]
    counts: Counter[str] = Counter()
    counting(counts)
    try:
        main()
    finally:
        sys.setprofile(None)
        gc.collect()
        told = {name: counts[event] for event, name in COUNTED.items()} | {"garbage": counts["garbage"]}
        report.write_text(json.dumps(told), encoding="utf-8")
