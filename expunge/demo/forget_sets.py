"""Which training instances the demo asks to be forgotten, chosen by seed."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from expunge.answers import ManifestEntry

_SHARE: Final = 0.06
_LEAST: Final = 40
"""Fewer instances give membership intervals that decide nothing."""
_MOST: Final = 0.2


@dataclass(frozen=True)
class ForgetSet:
    """What one request names: whole subjects or instances, for all tasks (None) or some."""

    instances: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    tasks: tuple[str, ...] | None = None


def read_manifest(file: Path) -> list[ManifestEntry]:
    """The entries of a manifest file."""
    with file.open(encoding="utf-8") as lines:
        return [ManifestEntry.model_validate_json(line) for line in lines]


def choose(entries: Sequence[ManifestEntry], task: str, seed: int) -> tuple[ForgetSet, ForgetSet]:
    """Two disjoint sets: for a full-task request, and for a partial-task request of `task`.

    Where the data say whose they are, both are made of whole subjects, because the held-out data
    that stand for "never seen" are then of other subjects: the first names them, the second names
    their instances.
    """
    rng = random.Random(seed)
    wanted = min(max(round(_SHARE * len(entries)), _LEAST), int(_MOST * len(entries)))
    groups = _groups(entries)
    rng.shuffle(groups)
    full = _take(groups, wanted)
    partial = _take(groups, wanted)
    taught = tuple(e.id for group in partial for e in group if task in e.tasks)
    named = full[0][0].subject is not None
    return (
        ForgetSet(subjects=tuple(group[0].subject or "" for group in full))
        if named
        else ForgetSet(instances=tuple(e.id for group in full for e in group)),
        ForgetSet(instances=taught, tasks=(task,)),
    )


def _groups(entries: Sequence[ManifestEntry]) -> list[list[ManifestEntry]]:
    """The instances of each subject together; each alone if not all have a subject."""
    if any(entry.subject is None for entry in entries):
        return [[entry.model_copy(update={"subject": None})] for entry in entries]
    by_subject: dict[str | None, list[ManifestEntry]] = defaultdict(list)
    for entry in entries:
        by_subject[entry.subject].append(entry)
    return list(by_subject.values())


def _take(groups: list[list[ManifestEntry]], wanted: int) -> list[list[ManifestEntry]]:
    """Groups off the end of the list, until they hold `wanted` instances."""
    taken: list[list[ManifestEntry]] = []
    while groups and sum(map(len, taken)) < wanted:
        taken.append(groups.pop())
    return taken
