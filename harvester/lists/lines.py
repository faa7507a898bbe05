"""Turn bytes into lines of text, in constant memory whatever the bytes are.

Lines end with LF, CRLF or CR only: U+2028 and U+0085 are ordinary characters. A line over the limit is cut
to one byte more than the limit, so that the reader sees that it is too long. The rest of it is skipped.
"""

import codecs
from collections.abc import Callable, Iterable, Iterator

from harvester.core.errors import InputUnusable
from harvester.core.text.encodings import text_codec
from harvester.core.text.sanitize import printable

MAX_LINE_BYTES = 1024 * 1024
"""The greatest size of a line of text or of a table. Rows with abstracts reach some tens of KiB."""

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""Byte order marks. UTF-32 LE comes before UTF-16 LE, because its mark begins with the same bytes."""


def detect_encoding(head: bytes, chosen: str) -> tuple[str, int]:
    """The encoding of an input, and the length of its byte order mark.

    With `auto`: 1. a byte order mark decides; 2. every other byte zero is UTF-16; 3. else UTF-8 (`Decoder` falls back
    to Windows-1252 line by line).

    Args:
        head: the first bytes of the input.
        chosen: the name of a codec, or `auto`.

    Returns:
        The name of the codec, and how many bytes to skip.

    Raises:
        ValueError: there is no such codec.
    """
    start = head[:400]
    mark, marked = next(((mark, name) for mark, name in _MARKS.items() if head.startswith(mark)), (b"", None))
    if chosen != "auto":
        name = text_codec(chosen)
        if marked is not None and marked.startswith(name.removesuffix("-sig")):
            return marked, len(mark)
        return (_in_order(name, start) if name in ("utf-16", "utf-32") else name), 0
    if marked:
        return marked, len(mark)
    if len(start) >= 8 and start[1::2].count(0) > 0.4 * len(start) and start[::2].count(0) == 0:
        return "utf-16-le", 0
    if len(start) >= 8 and start[::2].count(0) > 0.4 * len(start) and start[1::2].count(0) == 0:
        return "utf-16-be", 0
    return "utf-8", 0


def _in_order(name: str, head: bytes) -> str:
    """UTF-16 or UTF-32 without a mark, with the order of bytes in its name, which the place of the zeros tells."""
    width = 2 if name == "utf-16" else 4
    order = "be" if head[::width].count(0) > head[width - 1 :: width].count(0) else "le"
    return f"{name}-{order}"


def as_utf8(blocks: Iterable[bytes], encoding: str, name: str) -> Iterator[bytes]:
    """Recode text to UTF-8. What cannot be decoded becomes U+FFFD, so that only its own line is lost.

    Args:
        blocks: of the text.
        encoding: the name of its codec.
        name: of the input, for messages.

    Raises:
        InputUnusable: it cannot be decoded in this way.
    """
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    try:
        for block in blocks:
            yield decoder.decode(block).encode("utf-8", "surrogatepass")
            if len(decoder.getstate()[0]) > MAX_LINE_BYTES:  # UTF-7: what may be one character is waited for
                raise InputUnusable(f"{name} is not in {encoding}: {MAX_LINE_BYTES:,} bytes of it make no character.")
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")
    except UnicodeError as error:
        raise InputUnusable(f"{name} cannot be read as {encoding}: {printable(str(error), 100)}.") from None


def byte_lines(
    blocks: Iterable[bytes],
    limit: int = MAX_LINE_BYTES,
    shorten: Callable[[Iterable[bytes]], bytes] | None = None,
) -> Iterator[list[bytes]]:
    """Split blocks into lines without line ends, many lines at a time.

    Args:
        blocks: bytes in an encoding in which line ends are single bytes.
        limit: the most bytes of a line that is returned as it is.
        shorten: makes what stands for a longer line, given its pieces; None to cut it to one byte more than the limit.
    """
    shorten = shorten or (lambda pieces: _cut(pieces, limit))
    source = _with_line_feeds(blocks)
    rest = bytearray()  # of a line whose end has not come yet
    block = next(source, None)
    while block is not None:
        if b"\n" in block:
            first, *lines, last = block.split(b"\n")
            lines.insert(0, bytes(rest + first))
            rest = bytearray(last)
            if len(block) > limit or len(lines[0]) > limit:
                lines = [line if len(line) <= limit else shorten([line]) for line in lines]
            yield lines
        else:
            rest += block
        after: list[bytes] = []
        if len(rest) > limit:
            pieces = _up_to_line_end(bytes(rest), source, after)
            rest = bytearray()
            yield [shorten(pieces)]
            for _ in pieces:  # the rest of the line is not looked at
                pass
        block = after[0] if after else next(source, None)
    if rest:
        yield [bytes(rest)]


def _with_line_feeds(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The blocks with LF for each CRLF and CR."""
    after_cr = False
    for raw in blocks:
        block = raw[1:] if after_cr and raw.startswith(b"\n") else raw
        after_cr = raw.endswith(b"\r") if raw else after_cr
        yield block.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in block else block


def _up_to_line_end(begun: bytes, source: Iterator[bytes], after: list[bytes]) -> Iterator[bytes]:
    """The pieces of a line.

    Args:
        begun: the first piece.
        source: the blocks behind it.
        after: takes what follows the end of the line in the last of these blocks.
    """
    yield begun
    for block in source:
        piece, end, following = block.partition(b"\n")
        yield piece
        if end:
            after.append(following)
            return


def _cut(pieces: Iterable[bytes], limit: int) -> bytes:
    line = b""
    for piece in pieces:
        line += piece[: limit + 1 - len(line)]
        if len(line) > limit:
            break
    return line


class Decoder:
    """Decodes lines that should be UTF-8, and warns once if some are not.

    Args:
        warn: takes the sentence for the user.
        name: of the input, for that sentence.
    """

    def __init__(self, warn: Callable[[str], None], name: str) -> None:
        self._warn, self._name = warn, name
        self._warned = False

    def text_lines(self, batches: Iterable[list[bytes]]) -> Iterator[str]:
        """Decode batches of lines: as UTF-8, else as Windows-1252, else as Latin-1, which takes any byte."""
        for batch in batches:
            try:
                yield from b"\n".join(batch).decode("utf-8").split("\n")
            except UnicodeDecodeError:
                yield from map(self.text, batch)

    def text(self, line: bytes) -> str:
        """Decode one line."""
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError:
            if len(line) > MAX_LINE_BYTES:  # it is cut, perhaps within a character
                return line.decode("ascii", "replace")
        if not self._warned:
            self._warned = True
            self._warn(f"{self._name} is not all UTF-8; where it is not, it is read as Windows-1252")
        try:
            return line.decode("cp1252")
        except UnicodeDecodeError:
            return line.decode("latin-1")
