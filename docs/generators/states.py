"""The state machines, from the tables that the service itself obeys."""

from collections.abc import Mapping
from enum import StrEnum

from app.states import JOB, REQUEST, VERSION, JobState, RequestState, VersionState
from generators.source import field_notes, table

_HEAD = """# States

A state changes only as these tables allow, and each change leaves an event in the ledger. A verb
that does not fit the present state is answered with 409 `illegal-state`.
"""


def page() -> str:
    """Markdown."""
    parts = [
        ("A deletion request", RequestState, REQUEST),
        ("A job", JobState, JOB),
        ("A version", VersionState, VERSION),
    ]
    return _HEAD + "".join(_machine(*part) for part in parts)


def _machine(title: str, states: type[StrEnum], edges: Mapping[StrEnum, frozenset[StrEnum]]) -> str:
    notes = field_notes(states)
    order = list(states)
    rows = [
        (
            f"`{state}`",
            ", ".join(f"`{after}`" for after in order if after in edges[state]) or "nothing",
            notes.get(state.name, ""),
        )
        for state in order
    ]
    return f"\n## {title}\n\n" + table(("state", "may become", ""), rows) + "\n"
