"""Show the settings, and where each comes from."""

from dataclasses import fields
from pathlib import Path

import orjson

from harvester.config.load import Loaded
from harvester.config.masking import masked_address
from harvester.config.settings import SECRETS, SECTIONS
from harvester.core.text.sanitize import printable


def show(loaded: Loaded) -> str:
    """All settings as TOML that can be loaded again. Each has its origin as a comment; unset ones are commented out.

    Of the password only its origin is shown. It is no setting, and it has not been read. A setting that is a kind of
    secret is commented out as well, and masked.
    """
    lines = []
    for section, kind in SECTIONS.items():
        lines.append(f"[{section}]")
        for key in fields(kind):
            value = getattr(getattr(loaded.settings, section), key.name)
            shown = f"# {key.name} =" if value is None else f"{key.name} = {_toml(value)}"
            if value is not None and f"{section}.{key.name}" in SECRETS:
                shown = f"# {key.name} = {_toml(masked_address(str(value)))}"
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
        # A file name may be any bytes, TOML has to be text. Control characters are escaped.
        text = orjson.dumps(str(value).encode(errors="replace").decode()).decode()
        return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in text)
    # Numbers and booleans are written in TOML as in JSON.
    return orjson.dumps(value).decode()
