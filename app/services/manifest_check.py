"""Uploaded manifests: what a version was trained on, one JSON object a line.

`{"id": "img-7", "subject": "person-19", "digest": "<sha256 in hex>", "tasks": ["garments"]}`; only
the id is required, and without `tasks` an instance teaches all of the model's.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.text_lines import BadLine, numbered, storable

MAX_LINE: Final = 1_000_000
_SHOWN: Final = 20
_SHA256 = re.compile("[0-9a-f]{64}")
_MEMBERS: Final = frozenset({"id", "subject", "digest", "tasks"})


@dataclass(frozen=True)
class Line:
    """One instance."""

    id: str
    subject: str | None
    digest: str | None
    tasks: list[str]
    """In the model's order."""


class BadManifest(ValueError):
    """A manifest that cannot be used; `errors` holds the first 20 as (line number, sentence)."""

    def __init__(self, errors: Sequence[tuple[int, str]], count: int) -> None:
        super().__init__(
            f"{count} of the manifest's lines cannot be used, the first is line {errors[0][0]}:"
            f" {errors[0][1]}"
        )
        self.errors = errors
        self.count = count


def check(file: Path, tasks: Sequence[str]) -> int:
    """How many instances the manifest names; raises BadManifest."""
    seen: dict[str, int] = {}
    errors: list[tuple[int, str]] = []
    count = number = 0
    for number, raw in numbered(file, MAX_LINE):
        problem = None
        try:
            line = _read(raw, tasks)
        except BadLine as error:
            problem = str(error)
        else:
            first = seen.setdefault(line.id, number)
            if first != number:
                problem = f"instance {line.id!r:.100} is named already in line {first}"
        if problem is not None:
            count += 1
            if len(errors) < _SHOWN:
                errors.append((number, problem))
    if number == 0:
        raise BadManifest([(1, "the manifest names no instance")], 1)
    if count:
        raise BadManifest(errors, count)
    return number


def read(file: Path, tasks: Sequence[str]) -> Iterator[Line]:
    """The instances of a manifest that passed `check`."""
    for _, raw in numbered(file, MAX_LINE):
        yield _read(raw, tasks)


def _read(raw: bytes, tasks: Sequence[str]) -> Line:
    if len(raw) > MAX_LINE:
        raise BadLine(f"longer than {MAX_LINE} bytes")
    try:
        entry = json.loads(raw)
    except (ValueError, RecursionError):
        raise BadLine("not JSON" if raw.strip() else "empty") from None
    if not isinstance(entry, dict):
        raise BadLine("not a JSON object")
    unknown = entry.keys() - _MEMBERS
    if unknown:
        raise BadLine(f"unknown member {min(unknown)!r:.100}")
    if "id" not in entry:
        raise BadLine("no id")
    digest = entry.get("digest")
    if digest is not None and not (isinstance(digest, str) and _SHA256.fullmatch(digest)):
        raise BadLine(f"digest {digest!r:.100} is not a sha256 of 64 hex digits in lower case")
    subject = entry.get("subject")
    return Line(
        storable("id", entry["id"]),
        None if subject is None else storable("subject", subject),
        digest,
        _tasks(entry.get("tasks"), tasks),
    )


def _tasks(given: Any, known: Sequence[str]) -> list[str]:
    if given is None:
        return list(known)
    if not isinstance(given, list) or not all(isinstance(task, str) for task in given):
        raise BadLine("tasks is not a list of names")
    if not given:
        raise BadLine("tasks is empty: leave it out, or leave the instance out")
    for task in given:
        if task not in known:
            raise BadLine(f"unknown task {task!r:.100}; the model has {', '.join(known)}")
    if len(set(given)) < len(given):
        raise BadLine("tasks names one twice")
    return [task for task in known if task in given]
