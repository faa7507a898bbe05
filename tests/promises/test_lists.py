"""Promises G7 and G14 for hostile lists: a stop is heard whatever a list does, and memory stays within 64 MiB.

Memory is that of a whole process, above that of one with a small list. The lists are compressed, as an attacker would
send them. Larger: `HARVESTER_LIST_MIB=1000 pytest tests/promises/test_lists.py`.
"""

import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import zstandard

from harvester.sandbox.options import SandboxOptions
from harvester.sandbox.run import run_in_thread
from tests.promises.test_flat import PEAK
from tests.tool import Tool

MIB = 1024 * 1024
LIST_MIB = int(os.environ.get("HARVESTER_LIST_MIB", "80"))
"""Size of a hostile list, unpacked."""

MOST_ABOVE = 64 * MIB
UNIT = 1 if sys.platform == "darwin" else 1024
"""What the system counts the peak of a process in, in bytes."""

HEARD = 2.0
"""Seconds from a signal to the end of the process. It takes a tenth of that on a machine that does nothing else."""


@pytest.fixture(scope="module")
def harvester(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tool]:
    with run_in_thread(SandboxOptions()) as sandbox, closing(Tool(tmp_path_factory.mktemp("lists"), sandbox)) as tool:
        (tool.folder / "calm.csv").write_text("doi,url\n10.5555/ok-1,https://a.example/\n")
        yield tool


# A stop


@contextmanager
def silent(fifo: Path) -> Iterator[None]:
    """Somebody has opened a FIFO and writes nothing."""
    end = os.open(fifo, os.O_RDWR)
    try:
        yield
    finally:
        os.close(end)


def seconds_to_end(harvester: Tool, *command: str) -> float:
    """How long it takes from the first signal to the end of a process that reads a list without end."""
    process = harvester.start(*command)
    time.sleep(1.5)  # nothing tells from outside that a process waits for its list
    assert process.poll() is None, process.communicate()
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    return time.monotonic() - begun


COMMANDS = {
    "run": ("run", "-o", "out.jsonl"),
    "dry run": ("run", "-o", "out.jsonl", "--dry-run"),
    "register": ("register", "--ledger", "registration.ledger"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_list_that_nobody_writes_does_not_keep_a_stop_from_being_heard(harvester: Tool, command: str) -> None:
    fifo = harvester.folder / f"{command.replace(' ', '-')}.txt"
    os.mkfifo(fifo)
    assert seconds_to_end(harvester, *COMMANDS[command], str(fifo)) < HEARD  # nobody has opened it
    with silent(fifo):
        assert seconds_to_end(harvester, *COMMANDS[command], str(fifo)) < HEARD


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no device without an end")
@pytest.mark.parametrize("form", ["txt", "jsonl", "csv"])
def test_a_line_without_end_does_not_either(harvester: Tool, form: str) -> None:
    assert seconds_to_end(harvester, *COMMANDS["run"], "/dev/zero", "--format", form) < HEARD


def test_lines_that_are_hard_to_read_do_not_either(harvester: Tool) -> None:
    brackets = "(" * 3_980 + "10.1234/" + "é" * 10 + "\xad" + ")" * 3_980
    urls = "x" + "10.," * 40_000 + "http://a," * 40_000 + " x"
    hard = harvester.folder / "hard.txt"
    with hard.open("w") as file:
        for _ in range(300):
            file.write(f"{brackets}\n" * 20 + f"{urls}\nx10.{',' * 100_000}://\n")
    assert seconds_to_end(harvester, *COMMANDS["run"], str(hard)) < HEARD


# Memory


def peak(harvester: Tool, name: str) -> int:
    """The most memory of a process that reads a list, in bytes."""
    tool = [sys.executable, "-m", "harvester", "run", name, "-o", "out.jsonl", "--dry-run"]
    command = [sys.executable, "-c", PEAK, *tool]
    environment = harvester.environment
    done = subprocess.run(command, cwd=harvester.folder, env=environment, capture_output=True, check=True, timeout=110)
    ended, most = map(int, done.stdout.split())
    assert ended == 0
    return most * UNIT


def rows_with_long_urls() -> Iterator[bytes]:
    yield b"doi,url\n10.5555/ok-1,https://a.example/\n"
    for number in range(LIST_MIB):
        yield b"10.5555/ok-%d,https://a.example/%s\n" % (number, b"a" * (MIB - 1000))


def rows_with_many_urls() -> Iterator[bytes]:
    yield b"doi,url\n"
    urls = b";".join(b"https://a.example/%d" % url for url in range(4_000))
    for number in range(5 * LIST_MIB // 2):
        yield b'10.5555/ok-%d,"%s"\n' % (number, urls)


def long_lines_of_json() -> Iterator[bytes]:
    for number in range(LIST_MIB // 24):
        yield b'{"title":"%s","doi":"10.5555/ok-%d"}\n' % ("💩".encode() * (6 * MIB), number)


def lines_of_many_arrays() -> Iterator[bytes]:
    for number in range(LIST_MIB // 24):
        yield b'{"x":[%s[]],"doi":"10.5555/ok-%d"}\n' % (b"[]," * (8 * MIB), number)


def a_document_of_large_entries() -> Iterator[bytes]:
    yield b'["10.5555/ok-1"'
    for _ in range(LIST_MIB // 10):
        yield b',{"doi":"10.5555/ok-2","x":[%s[]]},["%s"]' % (b"[]," * (2 * MIB), "💩".encode() * MIB)
    yield b"]"


def a_document_of_small_entries() -> Iterator[bytes]:
    yield b'{"items":['
    for _ in range(5 * LIST_MIB):
        yield b"[%s[]]," % (b"[]," * 7_000)
    yield b'"10.5555/ok-1"]}'


def entries_of_short_lines() -> Iterator[bytes]:
    for number in range(LIST_MIB // 40):
        yield b"TY  - JOUR\nDO  - 10.5555/ok-%d\nAB  - x\n%s\nER  - \n" % (number, b"\n".join([b"yy"] * MIB))


def entries_of_bibtex() -> Iterator[bytes]:
    for number in range(LIST_MIB // 40):
        yield b"@article{k,\n doi={10.5555/ok-%d},\n note={%s%s}}\n" % (number, "💩".encode(), b"\nyy" * MIB)


def a_line_without_end() -> Iterator[bytes]:
    yield b"10.5555/ok-1\n"
    for _ in range(LIST_MIB):
        yield b"0" * MIB


LISTS: dict[str, tuple[str, Callable[[], Iterator[bytes]]]] = {
    "rows with long URLs": ("csv", rows_with_long_urls),
    "rows with many URLs": ("csv", rows_with_many_urls),
    "long lines of JSON": ("jsonl", long_lines_of_json),
    "lines of many arrays": ("jsonl", lines_of_many_arrays),
    "a document of large entries": ("json", a_document_of_large_entries),
    "a document of small entries": ("json", a_document_of_small_entries),
    "entries of short lines": ("ris", entries_of_short_lines),
    "entries of BibTeX": ("bib", entries_of_bibtex),
    "a line without end": ("txt", a_line_without_end),
}


@pytest.fixture(scope="module")
def calm(harvester: Tool) -> int:
    return peak(harvester, "calm.csv")


@pytest.mark.parametrize("name", LISTS)
def test_the_memory_of_a_list_is_bounded_whatever_is_in_it(harvester: Tool, calm: int, name: str) -> None:
    ending, made = LISTS[name]
    packed = f"{name.replace(' ', '-')}.{ending}.gz"
    with gzip.open(harvester.folder / packed, "wb", compresslevel=1) as file:
        file.writelines(made())
    above = peak(harvester, packed) - calm
    print(f"{name}: {above / MIB:.0f} MiB above a calm run")  # noqa: T201 - shown with -s
    assert above < MOST_ABOVE


def test_a_few_bytes_that_become_very_many_are_unpacked_in_pieces(harvester: Tool, calm: int) -> None:
    packer = zstandard.ZstdCompressor().compressobj()
    with (harvester.folder / "bomb.txt.zst").open("wb") as file:
        file.write(packer.compress(b"10.5555/ok-1\n"))
        for _ in range(5 * LIST_MIB):
            file.write(packer.compress(bytes(MIB)))
        file.write(packer.flush())
    assert peak(harvester, "bomb.txt.zst") - calm < MOST_ABOVE
