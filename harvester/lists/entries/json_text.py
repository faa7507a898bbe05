"""A JSON text, read once from its beginning to its end in bounded memory, however large it or a value in it is.

Theory. Built as Python objects, JSON takes up to fifty times its size: of the three bytes `[],` an empty list is made.
So only values of a bounded size are built, by orjson. Where a value ends is told by its brackets and quotes, so a
larger value can be passed over without being held. What is passed over is checked less strictly than what is built: its
brackets have to match.
"""

import json
import re
from collections.abc import Iterable, Iterator

import orjson

MAX_DEPTH = 1_000
"""How deep arrays and objects may be nested. orjson builds 1,024 levels."""

MAX_NAME_BYTES = 1_000
"""Nobody looks for a member with a longer name."""

STEP_BYTES = 64 * 1024
"""How much of the text is taken up, and searched, at a time. A search needs memory for each string that it passes."""

BATCH_BYTES = 32 * 1024
"""About how many bytes of an array are built at a time: to build each item by itself would take twice as long."""

# Each repetition of a class is possessive (`*+`), so these patterns take linear time.
_SPACE = re.compile(rb"[ \t\n\r]*+")
_IN_STRING = rb'[^"\\]*+(?:\\.[^"\\]*+)*'
_BETWEEN = rb'[^]["{}]*+'
_FLAT = rb'%b(?:"%b"%b)*' % (_BETWEEN, _IN_STRING, _BETWEEN)
_UP_TO_QUOTE = re.compile(_IN_STRING, re.DOTALL)
_UP_TO_BRACKET = re.compile(_FLAT, re.DOTALL)
"""Everything up to the next bracket, whole strings included; or up to a string that has no end yet."""
_UP_TO_NESTED = re.compile(
    rb'%b(?:(?:"%b"|\[%b\]|\{%b\})%b)*' % (_BETWEEN, _IN_STRING, _FLAT, _FLAT, _BETWEEN), re.DOTALL
)
"""The same, but arrays and objects with no other ones in them are included."""
_SCALAR = re.compile(rb"[-+.0-9EINaefilnrstuy]++")
"""The characters of numbers, of `true`, `false` and `null`, and of `NaN` and `Infinity`, which Python writes."""

_CLOSING = {ord("["): ord("]"), ord("{"): ord("}")}
_QUOTE = ord('"')


class BadJson(Exception):
    """The text is no JSON; the message says what is wrong with it."""


class _Larger(Exception):
    """A value is larger than was asked for."""


class JsonText:
    """A JSON text that is read once. It stands at a place in the text; each method reads on from there.

    Args:
        blocks: of the text, in UTF-8.
    """

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._steps = (block[at : at + STEP_BYTES] for block in blocks for at in range(0, len(block), STEP_BYTES))
        self._held = bytearray()
        self._at = 0
        self._lines_before = 1

    @property
    def line(self) -> int:
        """The number of the line that it stands in."""
        return self._lines_before + self._held.count(b"\n", 0, self._at)

    def peek(self) -> bytes:
        """The next byte that is no white space; empty at the end of the text."""
        while True:
            self._at = _end(_SPACE, self._held, self._at)
            if self._at < len(self._held):
                return bytes(self._held[self._at : self._at + 1])
            self._forget()
            if not self._read_on():
                return b""

    def take(self, sign: bytes) -> None:
        """Read a sign that has to come next.

        Raises:
            BadJson: something else comes.
        """
        if self.peek() != sign:
            raise self._unexpected()
        self._at += 1

    def members(self) -> Iterator[bytes]:
        """Read an object. At each step it stands at the value of a member, which the caller has to read.

        Returns:
            The names of the members as they are written, in quotes; `""` in place of a very long one.
        """
        self.take(b"{")
        while self.peek() == b'"':
            name = self.value(MAX_NAME_BYTES)
            if name is None:
                self.skip()
            self.take(b":")
            yield name or b'""'
            if self.peek() == b"}":
                break
            self.take(b",")
        self.take(b"}")

    def batches(self, most: int) -> Iterator[list[object] | None]:
        """Read an array, some items at a time.

        Args:
            most: the most bytes of an item that is built.

        Returns:
            Items as Python objects; None where it stands at a larger item, which the caller has to read.
        """
        self.take(b"[")
        while self.peek() != b"]":
            end = self._end_of_batch(most)
            yield self._built(end) if end else None
            if self.peek() != b"]":
                self.take(b",")
                if self.peek() == b"]":
                    raise self._unexpected()
        self.take(b"]")

    def value(self, most: int) -> bytes | None:
        """Read a value and return its bytes. If there are more than `most`, return None and read nothing."""
        self.peek()
        self._forget()
        try:
            self._at = self._end_of_value(0, most)
        except _Larger:
            return None
        return bytes(self._held[: self._at])

    def skip(self) -> None:
        """Read a value of any size."""
        self.peek()
        self._at = self._end_of_value(self._at, None)

    def _built(self, end: int) -> list[object]:
        """Build the items of an array up to a place, and read on to it."""
        try:
            items = parsed(b"[" + self._held[:end] + b"]")
        except ValueError as error:
            raise BadJson(getattr(error, "msg", str(error))) from None
        assert isinstance(items, list)  # noqa: S101 - it has brackets
        self._at = end
        return items

    def _end_of_batch(self, most: int) -> int:
        """Where some whole items end that begin here; 0 if already the first has more than `most` bytes."""
        self._forget()
        held = self._held
        at = end = 0
        while True:
            begin, at = at, _end(_UP_TO_BRACKET, held, at)
            # A comma behind the last string ends an item, and so does the end of that string.
            end = max(end, held.rfind(b",", begin, at), held.rfind(b'"', begin, at) + 1)
            sign = held[at] if at < len(held) else None
            if sign == ord("]"):
                return at
            if end > BATCH_BYTES or (end and sign not in _CLOSING):
                return end
            try:
                at = end = self._end_of_value(at if sign in _CLOSING else 0, most)
            except _Larger:
                return end

    def _end_of_value(self, at: int, most: int | None) -> int:
        """Where the value that begins at `at` ends.

        Args:
            at: a place in what is held.
            most: the most bytes that the value may have; None to forget what was passed over.

        Raises:
            _Larger: it has more.
            BadJson: no value begins there, or the text ends in the middle of it.
        """
        limit = None if most is None else at + most
        sign = self._held[at] if at < len(self._held) else None
        if sign == _QUOTE:
            end = self._end_of_string(at + 1, limit)
        elif sign in _CLOSING:
            end = self._end_of_brackets(at, limit)
        else:
            end = self._end_of_scalar(at, limit)
        if limit is not None and end > limit:
            raise _Larger
        return end

    def _end_of_brackets(self, at: int, limit: int | None) -> int:
        """Where an array or object ends, from its opening bracket on."""
        due = bytearray()  # the closing brackets of all that is open
        while True:
            sign = self._held[at] if at < len(self._held) else None
            if sign in _CLOSING:
                if len(due) == MAX_DEPTH:
                    raise BadJson(f"nested more than {MAX_DEPTH:,} deep")
                due.append(_CLOSING[sign])
                at += 1
            elif sign == due[-1]:
                due.pop()
                at += 1
                if not due:
                    return at
            elif sign == _QUOTE:
                at = self._end_of_string(at + 1, limit)
            elif sign is None:
                at = self._further(at, limit)
            else:
                raise self._unexpected(at)
            at = _end(_UP_TO_NESTED, self._held, at)

    def _end_of_string(self, at: int, limit: int | None) -> int:
        """Where a string ends, from a place in it on."""
        while True:
            at = _end(_UP_TO_QUOTE, self._held, at)
            if self._held[at : at + 1] == b'"':
                return at + 1
            at = self._further(at, limit)

    def _end_of_scalar(self, at: int, limit: int | None) -> int:
        """Where a number or a word ends. The text may end there as well."""
        if not _SCALAR.match(self._held, at):
            raise self._unexpected(at)
        while (at := _end(_SCALAR, self._held, at)) == len(self._held):
            try:
                at = self._further(at, limit)
            except BadJson:
                return self._at if limit is None else at
        return at

    def _further(self, at: int, limit: int | None) -> int:
        """Read on, since all that is held was passed over up to `at`. Returns the new place of `at`."""
        if limit is None:
            self._at, at = at, 0
            self._forget()
        elif at > limit:
            raise _Larger
        if not self._read_on():
            raise BadJson("it ends too early")
        return at

    def _read_on(self) -> bool:
        step = next(self._steps, None)
        self._held += step or b""
        return step is not None

    def _forget(self) -> None:
        """Drop what was read."""
        self._lines_before += self._held.count(b"\n", 0, self._at)
        del self._held[: self._at]
        self._at = 0

    def _unexpected(self, at: int | None = None) -> BadJson:
        self._at = self._at if at is None else at
        sign = self._held[self._at : self._at + 1].decode("ascii", "replace")
        return BadJson(f"unexpected {sign!r}" if sign else "it ends too early")


def parsed(text: bytes | bytearray | str) -> object:
    """The value of a JSON text. `NaN` and `Infinity`, which are no JSON but which Python writes, are null.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        read = text if isinstance(text, str) else text.decode()
        if "NaN" not in read and "Infinity" not in read:
            raise
    try:
        as_json = json.dumps(json.loads(read, parse_constant=lambda _: None))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return orjson.loads(as_json)  # once more, since orjson refuses what cannot be written again


def _end(pattern: re.Pattern[bytes], text: bytearray, at: int) -> int:
    """Where matches that begin at `at` end; `at` if there are none. Each is bounded, because of the memory it needs."""
    while True:
        limit = at + STEP_BYTES
        match = pattern.match(text, at, limit)
        at = match.end() if match else at
        if at + 1 < limit:  # else perhaps only the limit ended it, or a backslash right before the limit
            return at
