"""The rate that several runs share: in every window of every length, whatever happens to the processes.

The adversary lets processes look, write, be stopped in between for any time, and die at any point; machines are started
anew. It works on the real file and its real lock, with a clock of its own. What it cannot do to the real bucket it does
to a number of spoilt ones.
"""

import fcntl
import math
import os
import random
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from harvester.core.errors import DiskFailed, Misconfigured
from harvester.core.limits import ServiceLimits
from harvester.politeness import state
from harvester.politeness.book import book_of
from harvester.politeness.bucket import HELD, LocalBucket, cost_ns, depth_ns
from harvester.politeness.rate_file import RECORD, RateFile, bucket_of
from harvester.sandbox.limits import rate_violations

RATE = 10.0
COST = cost_ns(RATE)

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it


class Machine:
    """A machine: its uptime, the true time, and which start it is.

    Attributes:
        now: true time in nanoseconds.
    """

    def __init__(self) -> None:
        self.now = 10**12
        self.uptime = 10**11
        self.boot = 1

    def wait(self, ns: int) -> None:
        self.now += ns
        self.uptime += ns

    def restart(self, ns: int) -> None:
        self.now += ns
        self.uptime = 0
        self.boot += 1

    def bucket(self, path: Path, burst: float, kind: type[RateFile] = RateFile, rate: float = RATE) -> RateFile:
        opened = kind(
            path, rate, burst, uptime_ns=lambda: self.uptime, wall_ns=lambda: self.now, boot=bytes([self.boot] * 16)
        )
        return opened.__enter__()


class Process:
    """A process that asks: between two of its steps it may be stopped for any time."""

    def __init__(self, bucket: RateFile) -> None:
        self.bucket = bucket
        self.looked = self.wrote = False


class Adversary(RuleBasedStateMachine):
    """Several processes, and everything that can happen to them."""

    kind: type[RateFile] = RateFile

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self._path = Path(self._folder.name) / "rate.bin"
        self._machine = Machine()
        self._starts: list[int] = []
        self._processes: list[Process] = []

    def teardown(self) -> None:
        for process in self._processes:
            process.bucket.__exit__(None, None, None)
        self._folder.cleanup()

    @initialize(burst=st.sampled_from([1.0, 1.5, 3.0]), count=st.integers(1, 3))
    def begin(self, burst: float, count: int) -> None:
        self._burst = burst
        self._processes = [self._process() for _ in range(count)]

    def _process(self) -> Process:
        return Process(self._machine.bucket(self._path, self._burst, self.kind))

    def _one(self, who: int) -> Process:
        return self._processes[who % len(self._processes)]

    @rule(who=st.integers(0, 2))
    def look(self, who: int) -> None:
        process = self._one(who)
        if not process.looked:
            process.looked = process.bucket.take() == 0

    @rule(who=st.integers(0, 2))
    def write(self, who: int) -> None:
        process = self._one(who)
        if process.looked and not process.wrote:
            process.wrote = True
            self._starts.append(self._machine.now)
            times = [(start - self._starts[0]) / 1e9 for start in self._starts]
            assert not rate_violations(times, RATE, self._burst)

    @rule(who=st.integers(0, 2))
    def settle(self, who: int) -> None:
        process = self._one(who)
        if process.looked:
            process.bucket.sent()
            process.looked = process.wrote = False

    @rule(who=st.integers(0, 2), times=st.sampled_from([1, 4]))
    def send(self, who: int, times: int) -> None:
        """As it goes mostly: as soon as it may be."""
        process = self._one(who)
        for _ in range(times):
            if not process.looked and (wait := process.bucket.take()) != HELD:
                self._machine.wait(math.ceil(wait * 1e9))
                process.looked = not wait or process.bucket.take() == 0
                self.write(who)
                self.settle(who)

    @rule(who=st.integers(0, 2))
    def die(self, who: int) -> None:
        self._one(who).bucket.__exit__(None, None, None)
        self._processes[who % len(self._processes)] = self._process()

    @rule(share=st.sampled_from([0.001, 0.1, 0.5, 0.9, 1.0, 1.1, 3.0, 30.0]))
    def wait(self, share: float) -> None:
        self._machine.wait(round(share * COST))

    @rule(share=st.sampled_from([0.0, 0.1, 1.0, 30.0]))
    def start_the_machine_anew(self, share: float) -> None:
        for process in self._processes:
            process.bucket.__exit__(None, None, None)
        self._machine.restart(round(share * COST))
        self._processes = [self._process() for _ in self._processes]

    @precondition(lambda self: self._processes and not any(process.looked for process in self._processes))
    @rule()
    def nobody_is_kept_waiting_for_long(self) -> None:
        """Each request that was lost with its process costs no more than one that was sent."""
        ahead = self._processes[0].bucket.ahead()
        assert ahead <= (self._burst + 1) * COST / 1e9


ADVERSARY = settings(max_examples=150, stateful_step_count=40, deadline=None)
if examples := os.environ.get("HARVESTER_RATE_EXAMPLES"):
    ADVERSARY = settings(ADVERSARY, max_examples=int(examples))

TestRate = Adversary.TestCase
TestRate.settings = ADVERSARY


class NoLock(RateFile):
    """Nobody is kept out."""

    def _lock(self) -> bool:
        return True


class LockForTheLook(RateFile):
    """The lock is given back before the write."""

    def take(self) -> float:
        wait = super().take()
        if not wait:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        return wait


class CountedAtTheLook(RateFile):
    """The request counts from when it was looked for, not from when it was written."""

    def take(self) -> float:
        wait = super().take()
        self._looked_at = self._uptime_ns()
        return wait

    def sent(self) -> None:
        now, self._uptime_ns = self._uptime_ns, lambda: self._looked_at
        super().sent()
        self._uptime_ns = now


class DeadForgotten(RateFile):
    """What a process sent before it died is not counted."""

    def _write(self, now: int, *, under_way: int) -> None:  # noqa: ARG002 - that is the fault
        super()._write(now, under_way=0)


class DeadCountedAtTheLook(RateFile):
    """It is counted, but from when it was looked for."""

    def _read(self, record: bytes, now: int) -> int:
        if len(record) == RECORD.size:
            *head, empty_at, under_way, pid = RECORD.unpack(record)
            record = RECORD.pack(*head, max(int(head[2]), empty_at) + under_way, 0, pid)
        return super()._read(record, now)


class ClockOfTheProcess(RateFile):
    """Each process counts from its own start."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        now, since = self._uptime_ns, self._uptime_ns()
        self._uptime_ns = lambda: now() - since


class NewWithTheMachine(RateFile):
    """Nothing is known of what was before a start of the machine."""

    def _read(self, record: bytes, now: int) -> int:
        boot = record[8:24]
        return super()._read(record, now) if boot == self._boot else now


class NotShared(RateFile):
    """Each process has a rate of its own."""

    def _read(self, record: bytes, now: int) -> int:  # noqa: ARG002 - that is the fault
        return max(now, self._empty_at)


class OneTooMany(RateFile):
    """The burst is one larger than it says."""

    def __init__(self, path: Path, rate: float, burst: float, **options: Any) -> None:
        super().__init__(path, rate, burst + 1, **options)


MUTANTS = [
    *(NoLock, LockForTheLook, CountedAtTheLook, DeadForgotten, DeadCountedAtTheLook),
    *(ClockOfTheProcess, NewWithTheMachine, NotShared, OneTooMany),
]


def played(kind: type[RateFile], seed: int) -> None:
    """One life of the adversary by chance: quicker than Hypothesis, and without its search for the shortest."""
    chance = random.Random(seed)
    adversary: Adversary = type("Spoilt", (Adversary,), {"kind": kind})()
    moves = {
        Adversary.look: 3,
        Adversary.write: 3,
        Adversary.settle: 2,
        Adversary.send: 4,
        Adversary.die: 1,
        Adversary.wait: 3,
        Adversary.start_the_machine_anew: 0.5,
    }
    try:
        adversary.begin(chance.choice([1.0, 1.5, 3.0]), chance.randint(1, 3))
        for _ in range(30):
            (move,) = chance.choices(list(moves), list(moves.values()))
            if move is Adversary.wait:
                adversary.wait(chance.choice([0.001, 0.1, 0.5, 0.9, 3.0, 30.0]))
            elif move is Adversary.start_the_machine_anew:
                adversary.start_the_machine_anew(chance.choice([0.0, 0.1, 1.0]))
            elif move is Adversary.send:
                adversary.send(chance.randrange(3), chance.choice([1, 4]))
            else:
                move(adversary, chance.randrange(3))
    finally:
        adversary.teardown()


LIVES = 2000


def test_the_adversary_finds_nothing_in_the_real_one() -> None:
    for seed in range(LIVES):
        played(RateFile, seed)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_adversary_notices_what_is_left_out(mutant: type[RateFile]) -> None:
    def survives(seed: int) -> bool:
        try:
            played(mutant, seed)
        except AssertionError:
            return False
        return True

    assert not all(survives(seed) for seed in range(LIVES))


# What it costs, and who goes first.


def send(bucket: RateFile) -> None:
    assert bucket.take() == 0
    bucket.sent()


def test_runs_with_different_rates_share_the_time(tmp_path: Path) -> None:
    machine = Machine()
    slow, quick = [machine.bucket(tmp_path / "rate.bin", 1, rate=rate) for rate in (1.0, 10.0)]
    send(slow)
    assert quick.take() == pytest.approx(1.0)
    machine.wait(10**9)
    send(quick)
    assert slow.take() == quick.take() == pytest.approx(0.1)


def test_who_is_about_to_send_is_told(tmp_path: Path) -> None:
    machine = Machine()
    one, other = [machine.bucket(tmp_path / "rate.bin", 1) for _ in range(2)]
    assert one.take() == 0
    assert one.take() == other.take() == other.ahead() == HELD
    assert other.holder() == f"process {os.getpid()}"
    one.sent()
    assert other.take() == pytest.approx(0.1)
    assert other.holder() == "another process"


def test_to_look_ahead_takes_nothing(tmp_path: Path) -> None:
    bucket = Machine().bucket(tmp_path / "rate.bin", 1)
    assert bucket.ahead() == bucket.ahead() == 0
    send(bucket)
    assert bucket.ahead() == pytest.approx(0.1)


@pytest.mark.parametrize(("rate", "burst"), [(1e-300, 1), (1e-320, 1), (1e300, 1e300), (0.001, 1e300)])
def test_no_setting_is_too_extreme_for_the_file(tmp_path: Path, rate: float, burst: float) -> None:
    bucket = Machine().bucket(tmp_path / "rate.bin", burst, rate=rate)
    send(bucket)
    assert bucket.ahead() >= 0


def test_one_process_alone_has_the_same_bucket() -> None:
    now = 100.0
    bucket = LocalBucket(10, 2, lambda: now)
    assert bucket.take() == 0
    assert bucket.take() == bucket.ahead() == HELD
    bucket.sent()
    assert bucket.take() == 0
    bucket.sent()
    assert bucket.take() == pytest.approx(0.1)
    assert (cost_ns(10), depth_ns(10, 2)) == (10**8, 10**8)
    assert bucket.holder() == "this run"


# The file.


def test_a_file_that_was_deleted_is_made_again_so_that_all_meet_in_it(tmp_path: Path) -> None:
    machine, path = Machine(), tmp_path / "state" / "rate.bin"
    one = machine.bucket(path, 1)
    send(one)
    path.unlink()
    path.parent.rmdir()
    machine.wait(2 * 10**8)
    send(one)
    assert machine.bucket(path, 1).take() == pytest.approx(0.1)


def test_a_file_in_which_something_else_stands_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "rate.bin"
    path.write_bytes(b"this is no record" * 10)
    send(Machine().bucket(path, 1))
    assert RECORD.size <= path.stat().st_size


def test_only_its_user_may_read_it(tmp_path: Path) -> None:
    Machine().bucket(tmp_path / "rate.bin", 1)
    assert (tmp_path / "rate.bin").stat().st_mode & 0o777 == 0o600


def a_link(path: Path) -> None:
    (path.parent / "victim").write_bytes(b"mine")
    path.symlink_to(path.parent / "victim")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("put", [a_link, a_pipe, a_folder])
def test_what_is_not_its_file_is_neither_followed_nor_used(tmp_path: Path, put: Callable[[Path], None]) -> None:
    path = tmp_path / "rate.bin"
    put(path)
    with pytest.raises(DiskFailed, match=r"rate\.bin, in which all runs share the rate, cannot be used") as caught:
        Machine().bucket(path, 1)
    assert "XDG_STATE_HOME" in str(caught.value)
    assert not (tmp_path / "victim").exists() or (tmp_path / "victim").read_bytes() == b"mine"


def test_a_file_that_fails_stops_everything_before_the_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Machine().bucket(tmp_path / "rate.bin", 1)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(DiskFailed, match="No space left on device"):
            bucket.take()
    send(bucket)


def test_a_request_that_cannot_be_written_down_after_it_was_sent_counts_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine()
    one, other = [machine.bucket(tmp_path / "rate.bin", 1) for _ in range(2)]
    assert one.take() == 0
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        one.sent()
    assert one.ahead() == other.ahead() == pytest.approx(0.1)


def test_a_record_is_one_short_write() -> None:
    """One call, within one sector: the kernel never leaves half of it."""
    assert RECORD.size == struct.calcsize("<8s16sqqqqq") <= 512


# Where it lies.

LIMITS = ServiceLimits("https://api.example/v0/", rate=10, daily_budget=5)
SAME = ServiceLimits("https://API.example:443//v0/./", rate=10, daily_budget=5)


def test_all_spellings_of_an_address_share_the_rate(tmp_path: Path) -> None:
    with bucket_of(LIMITS, tmp_path) as one, bucket_of(SAME, tmp_path) as other:
        assert one.take() == 0
        assert other.take() == HELD


@pytest.mark.parametrize(
    "error", [RuntimeError("Could not determine home directory."), KeyError("uid not found: 54321")]
)
def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def unknown(_: str) -> Path:
        raise error

    monkeypatch.setattr(state, "user_state_path", unknown)
    for opened in (bucket_of, book_of):
        with pytest.raises(Misconfigured, match="XDG_STATE_HOME"):
            opened(LIMITS, None)


def test_a_home_that_is_another_in_each_folder_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "user_state_path", lambda _: Path("~/.local/state/harvester"))
    with pytest.raises(Misconfigured, match="XDG_STATE_HOME"):
        bucket_of(LIMITS, None)
