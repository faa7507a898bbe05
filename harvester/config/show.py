"""Settings shown with where each came from."""

from dataclasses import fields
from pathlib import Path

import orjson

from harvester.config.load import Loaded
from harvester.config.settings import SECTIONS
from harvester.core.sanitize import printable


def show(loaded: Loaded) -> str:
    """All settings as TOML that loads again, each with its origin as a comment; what is not set is commented out.

    Of the password only where it comes from is shown; it is no setting, and was not even read.
    """
    lines = []
    for section, kind in SECTIONS.items():
        lines.append(f"[{section}]")
        for key in fields(kind):
            value = getattr(getattr(loaded.settings, section), key.name)
            shown = f"# {key.name} =" if value is None else f"{key.name} = {_toml(value)}"
            lines.append(f"{shown}  # {printable(loaded.origins[f'{section}.{key.name}'])}")
        if section == "operas":
            password = f"set, from {printable(loaded.password_from)}" if loaded.password_from else "not set"
            lines.append(f"# password: {password}")
        lines.append("")
    return "\n".join(lines)


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, str | Path):
        # A file name need not be text; TOML has to be. Whatever a terminal might obey stands escaped.
        text = orjson.dumps(str(value).encode(errors="replace").decode()).decode()
        return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in text)
    # A JSON number or boolean is one of TOML as well.
    return orjson.dumps(value).decode()
