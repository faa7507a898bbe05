"""Workbooks (.xlsx, .xlsm, .xlsb, .xls, .ods): one sheet becomes the lines of a table.

The workbook is opened in a process of its own, `child`, which says why. Here it is started, and what it says
is put into words.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from harvester.core.errors import InputUnusable
from harvester.core.text.sanitize import printable
from harvester.lists.workbooks import child as program

MAX_WORKBOOK_BYTES = 64 * 1024 * 1024

_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"

_NEEDED = frozenset({"PATH", "HOME", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"})

_PROBLEMS = {
    "password": "is protected by a password. Save it without one, or as CSV",
    "memory": "takes too much memory to open as a workbook. Save the sheet as CSV",
    "empty": "is a workbook without a sheet",
}


def is_workbook(head: bytes) -> bool:
    """Whether a file begins as workbooks do. ZIP archives and old Word documents do too."""
    return head.startswith((_ZIP, _OLE))


def workbook_lines(name: str, blocks: Iterable[bytes], sheet: str | None, warn: Callable[[str], None]) -> Iterator[str]:
    """The rows of one sheet as lines, with tabs between the cells; line n is row n of the sheet.

    Args:
        name: of the file, for messages.
        blocks: of the file.
        sheet: its name; None for the first one with DOIs.
        warn: takes a sentence for the user about which sheet is read and which are not.

    Raises:
        InputUnusable: it is no workbook, is too large, is protected, or has no such sheet.
    """
    shown = printable(name)
    data = bytearray()
    for block in blocks:
        data += block
        if len(data) > MAX_WORKBOOK_BYTES:
            raise InputUnusable(
                f"{shown} is a workbook of more than {MAX_WORKBOOK_BYTES >> 20} MiB. Save the sheet as CSV."
            )
    command = [sys.executable, "-P", str(Path(program.__file__)), *([sheet] if sheet is not None else [])]
    child = subprocess.Popen(  # noqa: S603 - our own program
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=_environment(),
    )
    try:
        yield from _told(child, bytes(data), shown, sheet, warn)
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def _environment() -> dict[str, str]:
    """What Python needs to find its libraries, and nothing else: secrets are not for a process that reads any file."""
    return {name: value for name, value in os.environ.items() if name in _NEEDED}


def _told(
    child: "subprocess.Popen[bytes]", data: bytes, shown: str, sheet: str | None, warn: Callable[[str], None]
) -> Iterator[str]:
    assert child.stdin is not None and child.stdout is not None  # noqa: S101, PT018 - both are pipes
    try:
        child.stdin.write(data)
        child.stdin.close()
    except BrokenPipeError:  # it died, which shows below
        pass
    first = child.stdout.readline()
    about: dict[str, Any] = json.loads(first) if first.endswith(b"\n") else {"problem": "memory"}
    if "problem" in about:
        raise InputUnusable(f"{shown} {_in_words(about, data, sheet)}.")
    _tell_sheets(about, shown, sheet, warn)
    for line in child.stdout:
        yield line.decode("utf-8", "replace").rstrip("\n")
    if child.wait() != 0:
        raise InputUnusable(f"{shown} {_PROBLEMS['memory']}.")


def _in_words(about: dict[str, Any], data: bytes, sheet: str | None) -> str:
    if about["problem"] == "sheet":
        names = ", ".join(printable(name, 40) for name in about["sheets"])
        return f"has no sheet {printable(sheet or '', 40)}. Its sheets are {names}. Name one of them with --sheet"
    if about["problem"] in _PROBLEMS:
        return _PROBLEMS[about["problem"]]
    what = "a ZIP archive or a document" if data.startswith(_ZIP) else "an old Office document"
    detail = printable(about.get("detail", ""), 100)
    return f"is {what}, and no workbook that can be read ({detail}). Unpack it, or save the list as CSV"


def _tell_sheets(about: dict[str, Any], shown: str, sheet: str | None, warn: Callable[[str], None]) -> None:
    others = [name for name in about["sheets"] if name != about["sheet"]]
    if sheet is not None or not others:
        return
    more = [printable(name, 40) for name in about["with_dois"] if name != about["sheet"]]
    also = f"; of these, {', '.join(more)} hold{'s' * (len(more) == 1)} something like DOIs too" if more else ""
    left = ", ".join(printable(name, 40) for name in others[:10]) + (", …" if len(others) > 10 else "")
    warn(f"{shown}: sheet {printable(about['sheet'], 40)} is read, and not {left}{also}. --sheet names another")
