"""The `arrays` format on disk: `dataset.json`, and `train.npz`, `val.npz`, `test.npz` beside it.

`dataset.json` names the input (kind and shape) and the tasks; each npz holds `ids`, perhaps
`subject_ids`, `inputs`, and each task's array, one row an instance. Nothing is unpickled.
"""

import hashlib
import zipfile
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from engine.errors import WorkloadError
from engine.workload import Split

Array = NDArray[Any]

DATASET_FILE: Final = "dataset.json"
_CHUNK: Final = 1 << 20

TaskKind = Literal[
    "classification",
    "multilabel",
    "regression",
    "segmentation",
    "binary_segmentation",
    "depth",
    "normals",
    "landmarks",
]


class _Described(BaseModel):
    # Sources, licences and notes in the file are for people.
    model_config = ConfigDict(extra="ignore", frozen=True)


class InputStatistics(_Described):
    """Mean and standard deviation per channel or column; of bytes after division by 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class InputDescription(_Described):
    """What `inputs` holds, one instance's shape without the batch."""

    kind: Literal["image", "tabular"]
    shape: tuple[Annotated[int, Field(ge=1)], ...]
    """Height, width and perhaps channels of an image; columns of a table."""
    train_statistics: InputStatistics | None = None


class TargetStatistics(_Described):
    """Mean and standard deviation of a task's training targets."""

    mean: float
    std: float = Field(gt=0)


class ArrayTask(_Described):
    """One task and where its targets are."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    kind: TaskKind
    key: str | None = None
    """Of its array; `target_<name>` if not given."""
    classes: int | None = Field(None, ge=1)
    """Also the number of labels (`multilabel`) or of points (`landmarks`)."""
    ignore_index: int | None = None
    metric: str | None = None
    train_statistics: TargetStatistics | None = None

    @field_validator("classes", mode="before")
    @classmethod
    def _count(cls, value: object) -> object:
        return len(value) if isinstance(value, list) else value

    @property
    def array(self) -> str:
        """The key of the targets in each npz."""
        return self.key or f"target_{self.name}"


class FileDescription(_Described):
    """What is said of one npz."""

    sha256: str | None = None


class DatasetDescription(_Described):
    """The part of `dataset.json` that the engine reads."""

    input: InputDescription
    tasks: tuple[ArrayTask, ...] = Field(min_length=1)
    counts: dict[str, int] = {}
    files: dict[str, FileDescription] = {}

    @field_validator("tasks")
    @classmethod
    def _distinct(cls, tasks: tuple[ArrayTask, ...]) -> tuple[ArrayTask, ...]:
        names = [task.name for task in tasks]
        if len(set(names)) != len(names):
            raise ValueError("two tasks have the same name")
        return tasks


def read_description(folder: Path) -> DatasetDescription:
    """The dataset of `folder`; raises `WorkloadError` with the first thing that is wrong."""
    path = folder / DATASET_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WorkloadError(f"cannot read {path}: {error.strerror}") from error
    try:
        return DatasetDescription.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        given = f", not {first['input']!r}" if first["type"] == "literal_error" else ""
        raise WorkloadError(f"{path}, {place}: {first['msg']}{given}") from error


def read_split(folder: Path, dataset: DatasetDescription, split: Split) -> dict[str, Array]:
    """The arrays of one split, of equal length, checked against `dataset`.

    The keys are `ids`, `inputs`, each task's key, and `subject_ids` where there are subjects.
    """
    path = folder / f"{split}.npz"
    keys = ["ids", "inputs", *(task.array for task in dataset.tasks)]
    try:
        _check_digest(path, dataset.files.get(path.name, FileDescription()).sha256)
        # Opened here: numpy leaves a file open that turns out not to be a zip archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for key in keys:
                if key not in archive:
                    raise WorkloadError(f"{path} has no array {key!r}")
            arrays = {key: archive[key] for key in [*keys, "subject_ids"] if key in archive}
    except OSError as error:
        raise WorkloadError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, zipfile.BadZipFile) as error:
        raise WorkloadError(f"{path} is not a readable npz of plain arrays: {error}") from error
    _check_rows(path, arrays, dataset.counts.get(split))
    _check_ids(path, arrays["ids"])
    _check_inputs(path, arrays["inputs"], dataset.input)
    return arrays


def read_ids(folder: Path, split: Split) -> set[str]:
    """The instance ids of one split, without reading the rest of a file that was checked before."""
    with np.load(folder / f"{split}.npz", allow_pickle=False) as archive:
        return set(archive["ids"].tolist())


def _check_digest(path: Path, expected: str | None) -> None:
    if expected is None:
        return
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != expected.lower():
        raise WorkloadError(
            f"{path} has sha256 {digest.hexdigest()}, but {DATASET_FILE} says {expected}"
        )


def _check_rows(path: Path, arrays: dict[str, Array], expected: int | None) -> None:
    count = len(arrays["ids"]) if arrays["ids"].ndim == 1 else -1
    if count < 1:
        raise WorkloadError(f"{path}: 'ids' must be a list of at least one id")
    if expected is not None and count != expected:
        raise WorkloadError(f"{path} has {count} instances, but {DATASET_FILE} says {expected}")
    for key, array in arrays.items():
        if array.ndim < 1 or len(array) != count:
            raise WorkloadError(
                f"{path}: {key!r} has {len(array) if array.ndim else 0} rows for {count} ids"
            )


def _check_ids(path: Path, ids: Array) -> None:
    if ids.dtype.kind != "U":
        raise WorkloadError(f"{path}: 'ids' must be strings, not {ids.dtype}")
    values, times = np.unique(ids, return_counts=True)
    if (times > 1).any():
        raise WorkloadError(f"{path}: id {values[times > 1][0].item()!r} occurs more than once")


def _check_inputs(path: Path, inputs: Array, described: InputDescription) -> None:
    if inputs.shape[1:] != described.shape:
        raise WorkloadError(
            f"{path}: an input has shape {list(inputs.shape[1:])},"
            f" but {DATASET_FILE} says {list(described.shape)}"
        )
    if inputs.dtype.kind not in "uif":
        raise WorkloadError(f"{path}: 'inputs' must be numbers, not {inputs.dtype}")
    if inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
        raise WorkloadError(f"{path}: 'inputs' holds a value that is NaN or infinite")
