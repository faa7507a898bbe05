"""The kinds of files that harvester leaves behind, each known by its first bytes."""

import re
from typing import Final

import orjson

from harvester.core.ownership import FileKind
from harvester.records.lines import begins_with_failure, begins_with_result

SUMMARY_MEMBERS: Final = frozenset({"v", "lines", "works", "results", "failures", "pending", "exit"})
"""Members that the summary of any version has, and hardly any other file."""

_NIGHT = re.compile(rb"^Night of \d{4}-\d\d-\d\d, ", re.MULTILINE)

REPORT_HEAD_BYTES: Final = 4096
"""The second paragraph of a report, which names its night, begins before this."""


def _is_summary(head: bytes) -> bool:
    try:
        content = orjson.loads(head)
    except (orjson.JSONDecodeError, RecursionError):
        return False
    return isinstance(content, dict) and content.keys() >= SUMMARY_MEMBERS


def _is_report(head: bytes) -> bool:
    return _NIGHT.search(head[:REPORT_HEAD_BYTES]) is not None


RESULTS: Final = FileKind("an output", begins_with_result)
FAILURES: Final = FileKind("a failures file", begins_with_failure)
SUMMARY: Final = FileKind("a summary", _is_summary)
REPORT: Final = FileKind("the report of a night", _is_report)


def is_of_harvester(head: bytes) -> bool:
    """Whether a file was written by harvester.

    Args:
        head: the first bytes of the file, unpacked.
    """
    return any(kind.is_ours(head) for kind in (RESULTS, FAILURES, SUMMARY, REPORT))


# The files of a ledger. See "Database File Format" in SQLite's documentation.

DATABASE_MAGIC: Final = b"SQLite format 3\0"
LOG_MAGICS: Final = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
SHARED_MEMORY_MAGICS: Final = (b"\x18\xe2\x2d\x00", b"\x00\x2d\xe2\x18")
JOURNAL_MAGIC: Final = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"


def is_of_sqlite(head: bytes) -> bool:
    """Whether a file is a database, or one of the files that SQLite keeps beside it.

    Args:
        head: its first bytes, 16 or more.
    """
    return head.startswith((DATABASE_MAGIC, *LOG_MAGICS, *SHARED_MEMORY_MAGICS, JOURNAL_MAGIC))


def _may_be(head: bytes, *magics: bytes) -> bool:
    """Whether SQLite may have left these bytes: it writes zeros over a header that is used up, and a crash cuts it."""
    return any(head.startswith(magic) or magic.startswith(head) for magic in magics) or not any(head[: len(magics[0])])


LOG: Final = FileKind("SQLite's log of a ledger", lambda head: _may_be(head, *LOG_MAGICS))
SHARED_MEMORY: Final = FileKind("SQLite's memory of a ledger", lambda head: _may_be(head, *SHARED_MEMORY_MAGICS))
JOURNAL: Final = FileKind("SQLite's journal of a ledger", lambda head: _may_be(head, JOURNAL_MAGIC))
LOCK: Final = FileKind("the lock of a ledger", lambda head: not head.strip(b"0123456789\0"))
"""The number of a process. It is not synced, so that a power loss may make zeros of it."""

LOCK_ENDING: Final = ".lock"
