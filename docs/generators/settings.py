"""The table of settings."""

import types
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic_core import PydanticUndefined

from app.settings import Settings
from generators.source import field_notes, table

_HEAD = """# Settings

Every process reads its settings from the environment. Empty, they are those of the embedded
service: SQLite, a local folder, and a worker that needs no broker.

"""
_TAIL = """

The command line has three more for its own use: `EXPUNGE_URL` and `EXPUNGE_API_KEY` say which
service it talks to and with which key, and `EXPUNGE_STATE_DIR` where `expunge up` keeps its state.
"""


def page() -> str:
    """Markdown."""
    notes = field_notes(Settings)
    rows = [
        (
            f"`EXPUNGE_{name.upper()}`",
            _kind(field.annotation),
            _default(field.default),
            notes.get(name, ""),
        )
        for name, field in Settings.model_fields.items()
    ]
    return _HEAD + table(("variable", "type", "default", "what"), rows) + _TAIL


def _kind(annotation: Any) -> str:
    if get_origin(annotation) is list:
        return "JSON list"
    members = [m for m in get_args(annotation) or (annotation,) if m is not types.NoneType]
    names = {int: "whole number", float: "number", str: "text", Path: "path", bool: "yes or no"}
    return " or ".join(names.get(member, str(member)) for member in members)


def _default(value: object) -> str:
    if value in (None, "", [], PydanticUndefined):
        return ""
    return f"`{value}`"
