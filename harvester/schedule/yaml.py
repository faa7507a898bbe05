"""Write plain data as YAML: just enough for the files of this room."""

import re
from collections.abc import Mapping, Sequence

import orjson


def yaml_lines(value: object) -> list[str]:
    """The lines of YAML for a tree of mappings with text keys, lists and scalars."""
    if isinstance(value, Mapping) and value:
        return [line for key, each in value.items() for line in _entry(f"{_yaml_key(key)}:", each)]
    if isinstance(value, list) and value:
        return [line for each in value for line in _item(yaml_lines(each))]
    if isinstance(value, str):
        return _yaml_text(value)
    return [orjson.dumps(value).decode()]


def _entry(key: str, value: object) -> list[str]:
    lines = yaml_lines(value)
    if isinstance(value, Mapping | list) and value:
        return [key, *_indented(lines)]
    return [f"{key} {lines[0]}", *_indented(lines[1:])]


def _item(lines: Sequence[str]) -> list[str]:
    return [f"- {lines[0]}", *_indented(lines[1:])]


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" if line else line for line in lines]


def _yaml_key(key: str) -> str:
    """Quote a key if necessary. Words such as `on` have to be: YAML 1.1 reads them as true or false."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9._/-]*", key) and key not in ("on", "off", "yes", "no", "y", "n")
    return key if plain else _quoted(key)


def _yaml_text(text: str) -> list[str]:
    """Several lines as a literal block, if it means exactly this text; every other text in the quotes of JSON."""
    *lines, last = text.split("\n")
    block = lines and not last and lines[-1] and lines[0] and not lines[0].startswith(" ")
    if block and all(line.isprintable() for line in lines):
        return ["|", *lines]
    return [_quoted(text)]


def _quoted(text: str) -> str:
    """A text in double quotes, with escapes for all that is not printable."""
    quoted = orjson.dumps(text.encode(errors="replace").decode()).decode()
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in quoted)
