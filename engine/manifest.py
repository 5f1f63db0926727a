"""From a manifest and requests, which name things, to the matrices that the engine works on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from engine.audit import ForgottenCells
from engine.errors import InvalidSpec
from engine.spec import ManifestEntry, RequestCells
from engine.workload import InstanceSet

_NAMED = 5
"""Unknown ids that a message lists before it only counts them."""


@dataclass(frozen=True)
class Cells:
    """The state of every cell of the training split, bool [N, T]; see `engine.problem.Problem`."""

    retain: Tensor
    forget: Tensor
    earlier: Tensor
    requests: tuple[ForgottenCells, ...]


def read_manifest(path: Path) -> list[ManifestEntry]:
    """The entries of a JSON-lines file; raises `InvalidSpec` with the number of a bad line."""
    entries = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSpec(f"the manifest {path.name} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(ManifestEntry.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the line"
            raise InvalidSpec(
                f"line {number} of the manifest is not an entry: {place}: {first['msg']}"
            ) from error
    return entries


def resolve(
    entries: Sequence[ManifestEntry],
    requests: Sequence[RequestCells],
    train: InstanceSet,
    tasks: Sequence[str],
) -> Cells:
    """What each cell is; raises `InvalidSpec` for whatever does not fit together.

    An instance of the training split that the manifest does not list has never taught the model.
    A request may name cells that teach nothing any more, but not only such.
    """
    rows = {name: row for row, name in enumerate(train.ids)}
    columns = {name: column for column, name in enumerate(tasks)}
    taught, earlier = _manifest_cells(entries, train, rows, columns)
    forget = torch.zeros_like(taught)
    asked = []
    for request in requests:
        named = _named(request, rows, columns, taught, earlier)
        cells = named & taught
        if not bool(cells.any()):
            raise InvalidSpec(
                f"request {request.request_id} has an empty forget set: none of its instances"
                " teaches any of its tasks"
            )
        forget |= cells
        asked.append(
            ForgottenCells(request.request_id, cells, named.any(1), frozenset(request.tasks))
        )
    retain = taught & ~forget
    if not bool(retain.any()):
        raise InvalidSpec("nothing would be left to teach the model: delete the model instead")
    return Cells(retain, forget, earlier, tuple(asked))


def _manifest_cells(
    entries: Sequence[ManifestEntry],
    train: InstanceSet,
    rows: dict[str, int],
    columns: dict[str, int],
) -> tuple[Tensor, Tensor]:
    """What still teaches and what was forgotten earlier, both bool [N, T]."""
    taught = torch.zeros(len(rows), len(columns), dtype=torch.bool)
    earlier = torch.zeros_like(taught)
    unknown = [entry.id for entry in entries if entry.id not in rows]
    if unknown:
        raise InvalidSpec(
            f"{_listed(unknown)} of the manifest cannot be found in the workload's training data"
        )
    labelled = train.supervision
    for entry in entries:
        row = rows[entry.id]
        if entry.digest is not None and entry.digest.lower() != train.digests[row]:
            raise InvalidSpec(
                f"instance {entry.id!r} has other content in the workload's training data than in"
                " the manifest (the digests differ)"
            )
        for names, cells in ((entry.tasks, taught), (entry.forgotten, earlier)):
            for name in names:
                _check_task(name, columns)
                cells[row, columns[name]] = True
    taught &= ~earlier
    if bool((taught & ~labelled).any()):
        row, column = (taught & ~labelled).nonzero()[0].tolist()
        raise InvalidSpec(
            f"instance {train.ids[row]!r} teaches task {list(columns)[column]!r} in the manifest"
            " but has no label for it in the workload's training data"
        )
    return taught, earlier & labelled


def _named(
    request: RequestCells,
    rows: dict[str, int],
    columns: dict[str, int],
    taught: Tensor,
    earlier: Tensor,
) -> Tensor:
    """The cells that a request names, bool [N, T]."""
    for task in request.tasks:
        _check_task(task, columns)
    listed = (taught | earlier).any(1)
    unknown = [n for n in request.instances if n not in rows or not bool(listed[rows[n]])]
    if unknown:
        raise InvalidSpec(
            f"{_listed(unknown)} of request {request.request_id} cannot be found in the manifest"
        )
    named = torch.zeros_like(taught)
    for name in request.instances:
        for task in request.tasks:
            named[rows[name], columns[task]] = True
    return named


def _check_task(name: str, columns: dict[str, int]) -> None:
    if name not in columns:
        raise InvalidSpec(f"unknown task {name!r}; the workload's tasks are: {', '.join(columns)}")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_NAMED])
    if len(names) == 1:
        return f"instance {shown}"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} instances ({shown}{more})"
