"""What systemd is told, over a real socket; and that nothing of it can end a harvest."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harvester.monitoring.systemd import notify, watchdog_seconds


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        yield listening


def test_lines_arrive_in_one_message(listener: socket.socket) -> None:
    assert notify({"NOTIFY_SOCKET": listener.getsockname()}, "READY=1", "STATUS=27 of 100 DOIs")
    assert listener.recv(4096) == b"READY=1\nSTATUS=27 of 100 DOIs"


def test_an_abstract_socket_is_reached() -> None:
    name = f"harvester-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(5)
        assert notify({"NOTIFY_SOCKET": f"@{name}"}, "WATCHDOG=1")
        assert listener_text(listening) == "WATCHDOG=1"


def listener_text(listening: socket.socket) -> str:
    return listening.recv(4096).decode()


def test_a_status_cannot_smuggle_in_a_line(listener: socket.socket) -> None:
    notify({"NOTIFY_SOCKET": listener.getsockname()}, "STATUS=bad title\nMAINPID=1\x1b[2J")
    assert listener_text(listener) == "STATUS=bad title\\x0aMAINPID=1\\x1b[2J"


def test_a_lone_surrogate_and_a_long_status_are_sent_all_the_same(listener: socket.socket) -> None:
    assert notify({"NOTIFY_SOCKET": listener.getsockname()}, "STATUS=\udc80" + "x" * 100_000)
    assert len(listener_text(listener)) < 1000


@pytest.mark.parametrize(
    "name", ["", "relative/socket", "vsock:2:1234", "/nowhere/notify", "/" + "x" * 300, "@\0nul", "/with\0nul"]
)
def test_where_nobody_listens_nothing_happens(name: str) -> None:
    assert not notify({"NOTIFY_SOCKET": name}, "READY=1")


def test_outside_of_systemd_nothing_happens() -> None:
    assert not notify({}, "READY=1")
    assert watchdog_seconds({}) is None


def test_a_listener_that_never_reads_delays_no_message(listener: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": listener.getsockname()}
    assert any(not notify(environ, "STATUS=" + "x" * 500) for _ in range(10_000))
    begun = time.monotonic()
    assert not any(notify(environ, "STATUS=x") for _ in range(10))
    assert time.monotonic() - begun < 1.0


def test_the_watchdog_is_told_in_seconds() -> None:
    assert watchdog_seconds({"WATCHDOG_USEC": "300000000"}) == 300.0
    assert watchdog_seconds({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}) == 1.5


@pytest.mark.parametrize("text", ["", "0", "-1", "1e9", "many", "٣", "9" * 5000])
def test_a_watchdog_that_makes_no_sense_is_none(text: str) -> None:
    assert watchdog_seconds({"WATCHDOG_USEC": text}) is None


def test_the_watchdog_of_another_process_is_not_ours() -> None:
    assert watchdog_seconds({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}) is None
