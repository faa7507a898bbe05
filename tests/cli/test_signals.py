"""Signals: the first asks for a stop, the second ends the process, whatever it is doing."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from harvester.cli.signals import SIGNALS, heard_signals

STUCK = """
import os, sys, threading
from harvester.cli.signals import heard_signals
held = threading.Lock()
held.acquire()
with heard_signals(lambda number: print("first", number, flush=True)):
    print("ready", flush=True)
    held.acquire()
"""
"""The main thread waits for a lock that nobody will give back."""


def test_the_second_signal_ends_a_process_whose_main_thread_is_stuck() -> None:
    for first, second in ((signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)):
        with subprocess.Popen(
            [sys.executable, "-c", STUCK],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(first)
            assert process.stdout.readline() == f"first {first:d}\n"
            process.send_signal(second)
            assert process.wait(10) == 128 + second


def test_afterwards_signals_do_what_they_did_before() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    heard: list[int] = []
    arrived = threading.Event()

    def hear(number: int) -> None:
        heard.append(number)
        arrived.set()

    with heard_signals(hear):
        os.kill(os.getpid(), signal.SIGTERM)
        assert arrived.wait(5)
    assert heard == [signal.SIGTERM]
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1
