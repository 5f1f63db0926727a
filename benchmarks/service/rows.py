"""The raw results: JSON lines, one a measurement; of each name the latest counts."""

import fcntl
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

Sense = Literal["at least", "at most"]


class Row(BaseModel):
    """Ours against the reference, both measured in the same run, in turns."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    ours: float | None
    """In `unit`; None where it could not be measured."""
    reference: float | None
    ratio: float | None
    """`ours` by `reference`: the median over the turns, where there were several."""
    target: float | None
    """What the ratio is to reach; None where a figure is only told."""
    sense: Sense = "at most"
    unit: str
    section: str
    """What it belongs to: one of `SECTIONS`."""
    note: str = ""
    """How large, how many, or why it is missing."""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None where there is none, or no ratio."""
        if self.ratio is None or self.target is None:
            return None
        if self.sense == "at least":
            return self.ratio >= self.target
        return self.ratio <= self.target


SECTIONS = {
    "post": "POST of a deletion request",
    "pieces": "Pieces of a POST",
    "rows": "Lists and claims as the tables grow",
    "download": "Download of a version",
    "verify": "Verification of the ledger",
    "share": "Many requests in one job",
    "start": "Start",
}
"""What can be measured, by the name that `--only` takes."""


def missing(section: str, name: str, why: str, target: float | None, sense: Sense) -> Row:
    """The row of something that could not be measured here."""
    return Row(
        name=name,
        ours=None,
        reference=None,
        ratio=None,
        target=target,
        sense=sense,
        unit="",
        section=section,
        note=why,
    )


def read_rows(path: Path) -> list[Row]:
    """The latest row of each name, in the order of `SECTIONS`; none where there is no file.

    Raises `ValueError` naming a line that is no row.
    """
    if not path.exists():
        return []
    latest: dict[str, Row] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = Row.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the line"
            raise ValueError(f"{path}, line {number}: {place}: {first['msg']}") from error
        latest[row.name] = row
    order = list(SECTIONS)
    return sorted(latest.values(), key=lambda row: order.index(row.section))


def append(path: Path, row: Row) -> None:
    """Add a row to a file, which is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(row.model_dump_json() + "\n")
