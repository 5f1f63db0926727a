"""Uploaded files of ids, a line at a time: bounded in length, and nothing that cannot be stored."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any


class BadLine(ValueError):
    """Why a line cannot be used, in a clause."""


def numbered(file: Path, longest: int) -> Iterator[tuple[int, bytes]]:
    """Each line with its number from 1; of one over `longest` bytes the first `longest` + 1."""
    with file.open("rb") as stream:
        number = 0
        while raw := stream.readline(longest + 1):
            number += 1
            yield number, raw
            while len(raw) > longest and not raw.endswith(b"\n"):  # the rest of a line too long
                raw = stream.readline(longest + 1)


def storable(member: str, value: Any) -> str:
    """`value`, which is to be an id; raises BadLine, naming the `member`, where it cannot be."""
    if not isinstance(value, str) or not 1 <= len(value) <= 512:
        raise BadLine(f"{member} {value!r:.100} is not a text of 1 to 512 characters")
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
        raise BadLine(f"{member} holds NUL or a lone surrogate, which cannot be stored")
    return value
