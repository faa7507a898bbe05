"""Turn a sheet of a workbook into lines of text: a program of its own, started by `sheet`.

A workbook comes from outside, and one of a few KiB can ask for any amount of memory. So it is opened in a process
whose memory and time are limited; if that dies, only this file is lost. It takes the workbook on stdin and the name of
a sheet (or nothing) as argument. It writes one line of JSON that says what is there, then the rows, with tabs between
the cells: line n is row n of the sheet. It imports nothing of harvester, so that it starts quickly.
"""

import json
import re
import resource
import sys
from collections.abc import Iterable, Iterator
from io import BytesIO

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, PasswordError

MAX_MEMORY_BYTES = 768 * 1024 * 1024
"""Of address space, which is more than what is used."""

MAX_SECONDS = 120
"""Of the processor."""

ROWS_LOOKED_AT = 500
"""How many rows of a sheet are looked at for DOIs."""

MAX_CELL_CHARS = 128 * 1024

_DOI = re.compile(r"10\.[0-9]{4,9}/")
_BREAKS = str.maketrans(dict.fromkeys("\t\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029", " "))


def main() -> None:
    """Read stdin, write stdout; what went wrong is the `problem` of the first line."""
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # others do not keep to it
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    try:
        _write(sys.stdin.buffer.read(), sys.argv[1] if len(sys.argv) > 1 else None)
    except PasswordError:
        _tell({"problem": "password"})
    except MemoryError:
        _tell({"problem": "memory"})
    except (CalamineError, ValueError, OSError) as error:
        _tell({"problem": "unreadable", "detail": str(error)[:200]})


def _write(data: bytes, wanted: str | None) -> None:
    workbook = CalamineWorkbook.from_filelike(BytesIO(data))
    names = workbook.sheet_names
    if wanted is not None and wanted not in names:
        _tell({"problem": "sheet", "sheets": names[:50]})
        return
    if not names:
        _tell({"problem": "empty"})
        return
    candidates = names if wanted is None else [wanted]
    with_dois = [name for name in candidates if _has_dois(workbook.get_sheet_by_name(name))]
    chosen = (with_dois or candidates)[0]
    _tell({"sheet": chosen, "sheets": names[:50], "with_dois": with_dois[:50]})
    out = sys.stdout
    empty = 0
    for line in _lines(workbook.get_sheet_by_name(chosen)):
        if line:
            out.write("\n" * empty + line + "\n")
        empty = 0 if line else empty + 1  # empty rows at the end are formatted, and hold nothing
    out.flush()


def _tell(what: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _has_dois(sheet: CalamineSheet) -> bool:
    rows = sheet.to_python(nrows=ROWS_LOOKED_AT)
    return any(isinstance(cell, str) and _DOI.search(cell) for row in rows for cell in row)


def _lines(sheet: CalamineSheet) -> Iterator[str]:
    if sheet.start is None:
        return
    yield from [""] * sheet.start[0]
    for row in _rows(sheet):
        yield "\t".join(map(_text, row)).rstrip("\t")


def _rows(sheet: CalamineSheet) -> Iterable[list[object]]:
    return sheet.to_python(skip_empty_area=True)  # type: ignore[return-value]


def _text(cell: object) -> str:
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    text = str(cell)[:MAX_CELL_CHARS].translate(_BREAKS).strip()
    return '"' + text.replace('"', '""') + '"' if '"' in text else text


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    main()
