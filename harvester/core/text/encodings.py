"""Names of text encodings."""

import codecs
from contextlib import suppress

_NO_ENCODINGS_OF_TEXT = frozenset({"idna", "punycode", "undefined"})
"""Python calls them encodings of text. The first two are for names in the DNS, the third is there to fail."""


def text_codec(name: str) -> str:
    """The name that Python itself uses for an encoding that a text file may be in: `latin1` is `iso8859-1`.

    Raises:
        ValueError: there is no such encoding; the text says what is accepted.
    """
    with suppress(LookupError, ValueError):
        proper = codecs.lookup(name).name
        if proper not in _NO_ENCODINGS_OF_TEXT:
            "".encode(proper)
            codecs.getincrementaldecoder(proper)
            return proper
    raise ValueError("the name of a text encoding such as utf-8, cp1252, latin-1 or utf-16")
