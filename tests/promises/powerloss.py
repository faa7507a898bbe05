"""What may be on a disk after the power fails, computed from a recording of what a program did to it.

Theory. A write goes into the system's memory and reaches the disk when the system likes; only a sync makes sure of it.
So after a power loss the disk holds what was synced, and *some* of what was not. This module turns the recording of a
run into such disks, *images*, in three steps:

1. `Recorder` reads what `strace` wrote down and keeps what changes the run's folder: a list of operations.
2. `Disk` takes these one by one and knows at each point which of them are durable and which are only pending.
3. `images` stops at every point, lets the power fail, and draws what becomes of the pending operations (`Fate`).

What the power may do, by the rules of POSIX and of journalling file systems:

- Files are independent of each other. A sync of one says nothing of any other, nor of the folder it is in.
- A pending write survives whole, not at all, or torn: cut at a sector, cut anywhere, or with some sectors missing.
  Later writes of a file may survive without the earlier ones. What is missing reads as before, or as zeros.
- A file may have grown by what was pending even if the bytes did not arrive.
- The folder's entries (made, renamed, removed) survive in order: the first few of those that are pending. A new file
  whose content was synced may therefore be gone if the folder was not; this is harder than ext4 or XFS, where the sync
  of a new file brings its entry along. SQLite itself syncs the folder once for each journal that it makes; what is
  made or renamed after that, such as the output, depends on the store's own syncs of the folder.

What is not modelled: disks that lie about a sync, synced sectors that rot, and writes through `mmap`, of which SQLite's
`-shm` has some; it is rebuilt at the first opening after a power loss anyway.

Run as a program, `python -m tests.promises.powerloss BATCH APPENDS MUTANT run ...`, it is the `harvester` command with
small batches, to be recorded: it dies after so many appends to the output (0: never), and may have a safety
measure taken out (`MUTANTS`; `-`: none).
"""

import os
import re
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from random import Random
from typing import Any, Protocol

from harvester.cli import main
from harvester.core import files
from harvester.harvest import pipeline
from harvester.storage import output_file as jsonl
from harvester.storage import store

SECTOR = 512
"""Bytes that a disk writes at once: the smallest size in use, which tears the most."""

FOLDER = 0
"""The folder itself where the number of a file is asked for."""


# What a program does to a folder. Files are numbered, since their names change.


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes were written into a file."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """A file was cut, or made longer by zeros."""

    file: int
    length: int


@dataclass(frozen=True, slots=True)
class Enter:
    """A new file got its name."""

    name: str
    file: int


@dataclass(frozen=True, slots=True)
class Rename:
    """A file got another name, in place of whatever had it before."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Remove:
    """A file lost its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Sync:
    """A file, or the `FOLDER`, was synced, and the system said that it is done."""

    file: int


Change = Write | Truncate
Move = Enter | Rename | Remove
Operation = Change | Move | Sync


# 1. From a trace to operations


RECORDED = (
    "openat,close,lseek,write,pwrite64,ftruncate,fsync,fdatasync,?rename,renameat,renameat2,?unlink,unlinkat,"
    "writev,pwritev,pwritev2,truncate,fallocate,copy_file_range,sendfile,?link,linkat,?open,?creat,dup,?dup2,dup3"
)
"""The calls to be traced; those of the second line are not understood, and refused where they touch the folder."""

STRACE = ("strace", "-f", "--seccomp-bpf", "-xx", "-s", "16777216", "-e", f"trace={RECORDED}", "-o")
"""How to record, before the path of the trace: all threads, all bytes, in hexadecimal."""

_CALL = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")
_BEGUN = re.compile(r"(?P<thread>\d+) +(?P<call>\w+\(.*) <unfinished \.\.\.>")
_ENDED = re.compile(r"(?P<thread>\d+) +<\.\.\. \w+ resumed>(?P<rest>.*)")


class Recorder:
    """Reads the traces of processes that worked in one folder, one after the other.

    Args:
        folder: empty at the beginning, and without folders in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, int] = {}
        self._numbers = count(FOLDER + 1)
        self._open: dict[str, int] = {}
        self._position: dict[str, int] = {}

    def read(self, trace: Path) -> list[Operation]:
        """What a process did to the folder, in order."""
        self._open.clear()
        with trace.open(encoding="ascii") as lines:
            return [operation for call in _whole(lines) for operation in self._operations(call)]

    def _operations(self, call: re.Match[str]) -> Iterator[Operation]:
        name, result = call["name"], int(call["result"])
        arguments = call["arguments"].split(", ")
        if result < 0:
            return
        if name == "openat":
            yield from self._opened(_text(arguments[1]), arguments[2], call["result"])
        elif name.startswith(("rename", "unlink")):
            yield from self._moved(_paths(arguments))
        elif arguments[0] in self._open:
            yield from self._used(name, arguments, self._open[arguments[0]], result)
        elif not arguments[0].isdigit() and any(map(self._name, _paths(arguments))):
            raise NotImplementedError(f"{name} is not in the model")

    def _opened(self, path: str, flags: str, descriptor: str) -> Iterator[Operation]:
        self._open.pop(descriptor, None)
        self._position[descriptor] = 0
        name = self._name(path) or ""
        if self._folder / path == self._folder:
            self._open[descriptor] = FOLDER
        elif name in self._names:
            self._open[descriptor] = self._names[name]
            if "O_TRUNC" in flags:
                yield Truncate(self._names[name], 0)
        elif name:
            self._open[descriptor] = self._names[name] = next(self._numbers)
            yield Enter(name, self._names[name])

    def _used(self, name: str, arguments: list[str], file: int, result: int) -> Iterator[Operation]:
        """A call with the descriptor of a file in the folder."""
        descriptor = arguments[0]
        if name == "close":
            del self._open[descriptor]
        elif name == "lseek":
            self._position[descriptor] = result
        elif name == "write":
            yield Write(file, self._position[descriptor], _bytes(arguments[1])[:result])
            self._position[descriptor] += result
        elif name == "pwrite64":
            yield Write(file, int(arguments[3]), _bytes(arguments[1])[:result])
        elif name == "ftruncate":
            yield Truncate(file, int(arguments[1]))
        elif name in {"fsync", "fdatasync"}:
            yield Sync(file)
        else:
            raise NotImplementedError(f"{name} is not in the model")

    def _moved(self, paths: list[str]) -> Iterator[Operation]:
        names = [name for path in paths if (name := self._name(path))]
        if len(names) == 2:
            self._names[names[1]] = self._names.pop(names[0])
            yield Rename(*names)
        elif names:
            del self._names[names[0]]
            yield Remove(*names)

    def _name(self, path: str) -> str | None:
        """The name of a file in the folder; None for any other."""
        whole = self._folder / path
        return whole.name if whole.parent == self._folder else None


def _whole(lines: Iterator[str]) -> Iterator[re.Match[str]]:
    """Calls in the order in which they ended; one that another thread interrupted stands on two lines.

    A `close` counts from its beginning: the number of the descriptor may be given away again before it ends.
    """
    begun: dict[str, str] = {}
    for line in lines:
        if match := _BEGUN.match(line):
            begun[match["thread"]] = match["call"]
            line = f"{match['thread']} {match['call']}) = 0" if match["call"].startswith("close(") else ""
        elif match := _ENDED.match(line):
            call = begun.pop(match["thread"])
            line = "" if call.startswith("close(") else f"{match['thread']} {call}{match['rest']}"
        if match := _CALL.match(line):
            yield match


def _paths(arguments: list[str]) -> list[str]:
    return [_text(argument) for argument in arguments if argument.startswith('"')]


def _bytes(quoted: str) -> bytes:
    return bytes.fromhex(quoted.removeprefix('"').removesuffix('"').replace("\\x", ""))


def _text(quoted: str) -> str:
    return os.fsdecode(_bytes(quoted))


# 2. A disk, of which a part is durable


class Fate(Protocol):
    """What becomes of pending operations when the power fails."""

    def moves(self, pending: int) -> int:
        """How many of the pending moves survive."""
        ...

    def remains(self, change: Change) -> Sequence[Change]:
        """What survives of a pending change."""
        ...

    def length(self, reached: int, full: int) -> int:
        """How long a file is, of which so much was reached by what survives, and `full` by all that was pending."""
        ...


@dataclass
class Disk:
    """A folder, as far as it is durable, and what is pending."""

    contents: dict[int, bytes] = field(default_factory=lambda: defaultdict(bytes))
    names: dict[str, int] = field(default_factory=dict)
    changes: dict[int, list[Change]] = field(default_factory=lambda: defaultdict(list))
    moves: list[Move] = field(default_factory=list)

    def do(self, operation: Operation) -> None:
        """Take the next operation."""
        if isinstance(operation, Write | Truncate):
            self.changes[operation.file].append(operation)
        elif isinstance(operation, Enter | Rename | Remove):
            self.moves.append(operation)
        elif operation.file == FOLDER:
            self.names = _moved(self.names, self.moves)
            self.moves.clear()
        else:
            changes = self.changes.pop(operation.file, [])
            self.contents[operation.file] = _changed(self.contents[operation.file], changes)

    def without_power(self, fate: Fate) -> dict[str, bytes]:
        """The files as they are found when the power is back."""
        names = _moved(self.names, self.moves[: fate.moves(len(self.moves))])
        return {name: self._found(file, fate) for name, file in sorted(names.items())}

    def _found(self, file: int, fate: Fate) -> bytes:
        durable, changes = self.contents[file], self.changes[file]
        found = _changed(durable, [part for change in changes for part in fate.remains(change)])
        full = len(_changed(durable, changes))
        return found.ljust(fate.length(len(found), full), b"\0")


def _moved(names: dict[str, int], moves: Sequence[Move]) -> dict[str, int]:
    names = dict(names)
    for move in moves:
        if isinstance(move, Enter):
            names[move.name] = move.file
        elif isinstance(move, Rename):
            names[move.new] = names.pop(move.old)
        else:
            del names[move.name]
    return names


def _changed(content: bytes, changes: Sequence[Change]) -> bytes:
    if not changes:
        return content
    fresh = bytearray(content)
    for change in changes:
        if isinstance(change, Truncate):
            del fresh[change.length :]
            fresh.extend(bytes(change.length - len(fresh)))
        else:
            fresh.extend(bytes(max(0, change.offset - len(fresh))))
            fresh[change.offset : change.offset + len(change.data)] = change.data
    return bytes(fresh)


# 3. The power fails


class Nothing:
    """Only what was synced survives."""

    def moves(self, pending: int) -> int:  # noqa: ARG002 - the signature is Fate's
        return 0

    def remains(self, change: Change) -> Sequence[Change]:  # noqa: ARG002
        return []

    def length(self, reached: int, full: int) -> int:  # noqa: ARG002
        return reached


class Everything:
    """All survives, synced or not: what a kill of the process leaves behind."""

    def moves(self, pending: int) -> int:
        return pending

    def remains(self, change: Change) -> Sequence[Change]:
        return [change]

    def length(self, reached: int, full: int) -> int:  # noqa: ARG002
        return reached


class Chance:
    """Anything in between. Some files are lucky and some are not, so that also the extremes of single files come up.

    Args:
        random: draws.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._luck: dict[int, float] = defaultdict(lambda: random.choice((0.0, 0.5, 1.0)))

    def moves(self, pending: int) -> int:
        return self._random.choice((0, pending, self._random.randint(0, pending)))

    def remains(self, change: Change) -> Sequence[Change]:
        if self._random.random() < self._luck[change.file]:
            return [change]
        if isinstance(change, Truncate):
            return []
        return self._random.choice((_lost, _lost, _cut_at_sector, _cut, _with_holes))(change, self._random)

    def length(self, reached: int, full: int) -> int:
        return max(reached, self._random.choice((reached, full, self._random.randint(0, full))))


def _lost(_write: Write, _random: Random) -> list[Write]:
    return []


def _cut(write: Write, random: Random) -> list[Write]:
    return [Write(write.file, write.offset, write.data[: random.randint(0, len(write.data))])]


def _cut_at_sector(write: Write, random: Random) -> list[Write]:
    sectors = _sectors(write)
    return sectors[: random.randint(0, len(sectors))]


def _with_holes(write: Write, random: Random) -> list[Write]:
    return [sector for sector in _sectors(write) if random.random() < 0.5]


def _sectors(write: Write) -> list[Write]:
    """The write in pieces that each lie in one sector of the file."""
    end = write.offset + len(write.data)
    cuts = [write.offset, *range(write.offset // SECTOR * SECTOR + SECTOR, end, SECTOR), end]
    return [
        Write(write.file, start, write.data[start - write.offset : stop - write.offset])
        for start, stop in pairwise(cuts)
    ]


@dataclass(frozen=True, slots=True)
class Image:
    """The folder after a power loss.

    Args:
        command: which of the recorded commands was cut off.
        point: how many operations were done by then, in all.
        fate: how the pending ones fared.
        files: by name.
    """

    command: int
    point: int
    fate: str
    files: dict[str, bytes]


def images(life: Sequence[Sequence[Operation]], drawn: int, seed: int) -> Iterator[Image]:
    """The power fails everywhere in the life of a folder: both extremes before each sync, and drawn ones everywhere.

    Args:
        life: the operations of commands that ran one after the other.
        drawn: how many images are drawn, spread over all points.
        seed: of the draws.
    """
    disk, random, points = Disk(), Random(seed), sum(map(len, life))
    point = 0
    for command, operations in enumerate(life):
        for operation in operations:
            if isinstance(operation, Sync):
                for fate in (Nothing(), Everything()):
                    yield Image(command, point, type(fate).__name__, disk.without_power(fate))
            disk.do(operation)
            point += 1
            for _ in range(point * drawn // points - (point - 1) * drawn // points):
                yield Image(command, point, "Chance", disk.without_power(Chance(random)))


# The program that is recorded


class _Unsynced(sqlite3.Connection):
    """A connection that leaves all syncing to the system."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        return super().execute(sql.replace("synchronous = FULL", "synchronous = OFF"), *parameters)


class _Later:
    """A sink that only says how long the output will be, and how it will be sealed."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self.lines = b""
        self.seal = sink.seal

    def append(self, lines: bytes) -> int:
        self.lines = lines
        self.seal = self._sink.seal.extended(memoryview(lines), lines.count(b"\n"))
        return int(self._sink.length + len(lines))


_commit = store.Store._commit


def _ledger_first(self: Any, finished: Any) -> object:
    sink, self._sink = self._sink, _Later(self._sink)
    answer: object = _commit(self, finished)
    later, self._sink = self._sink, sink
    sink.append(later.lines)
    return answer


MUTANTS: dict[str, tuple[object, str, Callable[..., Any]]] = {
    "no fdatasync": (files, "sync_data", lambda _descriptor: None),
    "ledger first": (store.Store, "_commit", _ledger_first),
    "no directory fsync": (files, "sync_directory", lambda _folder: None),
    "no sync of the ledger": (sqlite3, "connect", partial(sqlite3.connect, factory=_Unsynced)),
    "no truncation": (jsonl, "_cut_back", lambda _path, descriptor, _committed: os.lseek(descriptor, 0, os.SEEK_END)),
}
"""The safety measures of the store, each taken out: whose attribute is replaced by what."""


def _die_after(appends: int) -> None:
    """Make the process die as soon as the output was appended to so many times, before the ledger knows of the last."""
    append, left = jsonl.OutputFile.append, count(appends - 1, -1)

    def mortal(self: jsonl.OutputFile, lines: bytes) -> int:
        length = append(self, lines)
        if not next(left):
            os._exit(9)
        return length

    jsonl.OutputFile.append = mortal  # type: ignore[method-assign]


if __name__ == "__main__":
    batch, appends, mutant = sys.argv[1:4]
    del sys.argv[1:4]
    pipeline.COMMIT_EVERY = int(batch)
    if int(appends):
        _die_after(int(appends))
    if mutant in MUTANTS:
        setattr(*MUTANTS[mutant])
    main()
