"""How each kind of task is read from the `arrays` format: its tensor, its labels, its head."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor

from engine.errors import WorkloadError
from engine.tasks.binary_segmentation import BinarySegmentation
from engine.tasks.classification import UNLABELLED, Classification
from engine.tasks.depth import Depth
from engine.tasks.landmarks import Landmarks
from engine.tasks.multilabel import Multilabel
from engine.tasks.normals import Normals
from engine.tasks.regression import Regression
from engine.tasks.segmentation import Segmentation
from engine.workload import Task
from engine.workloads.arrays_format import Array, ArrayTask

Size = tuple[int, ...]
"""Height and width of an image; empty for a table."""


@dataclass(frozen=True)
class TargetKind:
    """One kind of task in the format."""

    shape: Callable[[ArrayTask, Size], Size]
    """Of one instance's target."""
    read: Callable[[ArrayTask, Array], Tensor]
    """From the stored array [N, ...] to the targets that the task takes."""
    labelled: Callable[[ArrayTask, Tensor], Tensor]
    """Which instances carry a label: bool [N]."""
    make: Callable[[ArrayTask, Callable[[], Tensor]], Task]
    """The task, given a way to its training targets for its statistics."""
    metrics: tuple[str, ...]
    """Those that can be asked for; the first is the default."""
    dense: bool
    head: Callable[[ArrayTask], Any]
    """Channels of the map if dense, as `MapHeads` takes them; else a shape for `VectorHeads`."""
    counted: bool = False
    """Whether `classes` must be given."""


def read_target(task: ArrayTask, array: Array, size: Size, where: str) -> Tensor:
    """A task's targets as a tensor, checked; `where` names the file in messages."""
    kind = KINDS[task.kind]
    expected = kind.shape(task, size)
    if task.kind == "normals" and array.shape[1:] == (*size, 3):
        array = np.moveaxis(array, -1, 1)
    if array.shape[1:] != expected:
        raise WorkloadError(
            f"{where}: {task.array!r} has shape {list(array.shape[1:])} an instance,"
            f" but {task.kind} needs {list(expected)}"
        )
    if array.dtype.kind not in "uif":
        raise WorkloadError(f"{where}: {task.array!r} must be numbers, not {array.dtype}")
    if np.isinf(array).any():
        raise WorkloadError(f"{where}: {task.array!r} holds an infinite value")
    try:
        return kind.read(task, array)
    except WorkloadError as error:
        raise WorkloadError(f"{where}: {task.array!r} {error}") from error


def check_task(task: ArrayTask, size: Size) -> None:
    """Raise `WorkloadError` where a task is not complete or does not fit the input."""
    kind = KINDS[task.kind]
    if kind.counted and task.classes is None:
        raise WorkloadError(f"task {task.name!r}: a task of kind {task.kind} must give 'classes'")
    if kind.dense and not size:
        raise WorkloadError(f"task {task.name!r}: {task.kind} needs an image as input, not a table")
    if task.metric is not None and task.metric not in kind.metrics:
        raise WorkloadError(
            f"task {task.name!r}: there is no metric {task.metric!r} for {task.kind};"
            f" there is: {', '.join(kind.metrics)}"
        )


def _classes(task: ArrayTask) -> int:
    return cast(int, task.classes)  # check_task saw to it


def _labels(classes: Callable[[ArrayTask], int]) -> Callable[[ArrayTask, Array], Tensor]:
    """A reader of labels 0 to classes - 1; the ignore index may stand outside."""

    def read(task: ArrayTask, array: Array) -> Tensor:
        if array.dtype.kind == "f":
            raise WorkloadError(f"must be whole numbers, not {array.dtype}")
        wrong = (array < 0) | (array >= classes(task))
        if task.ignore_index is not None:
            wrong &= array != task.ignore_index
        if wrong.any():
            raise WorkloadError(
                f"holds the label {array[wrong].flat[0]}; labels go from 0 to {classes(task) - 1}"
            )
        return torch.from_numpy(array if array.dtype == np.uint8 else array.astype(np.int64))

    return read


def _read_classification(task: ArrayTask, array: Array) -> Tensor:
    ignored = UNLABELLED if task.ignore_index is None else task.ignore_index
    labels = _labels(_classes)(task.model_copy(update={"ignore_index": ignored}), array).long()
    return labels.where(labels != ignored, UNLABELLED)


def _read_floats(task: ArrayTask, array: Array) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))


def _read_multilabel(task: ArrayTask, array: Array) -> Tensor:
    targets = _read_floats(task, array)
    if task.ignore_index is not None:
        targets = targets.where(targets != task.ignore_index, torch.nan)
    if not ((targets == 0) | (targets == 1) | targets.isnan()).all():
        raise WorkloadError("must hold 0 and 1 only, and NaN where there is no label")
    return targets


def _any_number(task: ArrayTask, target: Tensor) -> Tensor:
    return (~target.isnan()).flatten(1).any(1) if target.dim() > 1 else ~target.isnan()


def _any_point(task: ArrayTask, target: Tensor) -> Tensor:
    whole: Tensor = ~target.isnan().any(2)
    return whole.any(1)


def _any_pixel(task: ArrayTask, target: Tensor) -> Tensor:
    if task.ignore_index is None:
        return torch.ones(len(target), dtype=torch.bool)
    return (target != task.ignore_index).flatten(1).any(1)


def _any_positive(task: ArrayTask, target: Tensor) -> Tensor:
    return (target > 0).flatten(1).any(1)


def _any_direction(task: ArrayTask, target: Tensor) -> Tensor:
    lengths: Tensor = target.norm(dim=1)
    return (lengths > 0).flatten(1).any(1)


def _statistics(task: ArrayTask, targets: Callable[[], Tensor]) -> tuple[float, float]:
    """Mean and standard deviation as given, or of the training targets."""
    if task.train_statistics:
        return task.train_statistics.mean, task.train_statistics.std
    known = targets()
    known = known[~known.isnan()].double()
    std = float(known.std()) if len(known) > 1 else 0.0
    return (float(known.mean()) if len(known) else 0.0), std or 1.0


def _depth_scale(task: ArrayTask, targets: Callable[[], Tensor]) -> float:
    if task.train_statistics and task.train_statistics.mean > 0:
        return task.train_statistics.mean
    known = targets()
    known = known[known > 0].double()
    return float(known.mean()) if len(known) else 1.0


def _make_classification(task: ArrayTask, targets: Callable[[], Tensor]) -> Task:
    balanced = task.metric == "balanced_accuracy"
    return Classification(
        task.name, _classes(task), "balanced_accuracy" if balanced else "accuracy"
    )


def _make_binary(task: ArrayTask, targets: Callable[[], Tensor]) -> Task:
    return BinarySegmentation(
        task.name, "f1" if task.metric == "f1" else "max_f1", task.ignore_index
    )


KINDS: Final[dict[str, TargetKind]] = {
    "classification": TargetKind(
        shape=lambda task, size: (),
        read=_read_classification,
        labelled=lambda task, target: target != UNLABELLED,
        make=_make_classification,
        metrics=("accuracy", "balanced_accuracy"),
        dense=False,
        head=lambda task: (_classes(task),),
        counted=True,
    ),
    "multilabel": TargetKind(
        shape=lambda task, size: (_classes(task),),
        read=_read_multilabel,
        labelled=_any_number,
        make=lambda task, targets: Multilabel(task.name, _classes(task)),
        metrics=("f1",),
        dense=False,
        head=lambda task: (_classes(task),),
        counted=True,
    ),
    "regression": TargetKind(
        shape=lambda task, size: (),
        read=_read_floats,
        labelled=_any_number,
        make=lambda task, targets: Regression(task.name, *_statistics(task, targets)),
        metrics=("mae",),
        dense=False,
        head=lambda task: (),
    ),
    "landmarks": TargetKind(
        shape=lambda task, size: (_classes(task), 2),
        read=_read_floats,
        labelled=_any_point,
        make=lambda task, targets: Landmarks(
            task.name, _classes(task), *_statistics(task, targets)
        ),
        metrics=("mean_point_error",),
        dense=False,
        head=lambda task: (_classes(task), 2),
        counted=True,
    ),
    "segmentation": TargetKind(
        shape=lambda task, size: size,
        read=_labels(_classes),
        labelled=_any_pixel,
        make=lambda task, targets: Segmentation(task.name, _classes(task), task.ignore_index),
        metrics=("mean_iou",),
        dense=True,
        head=_classes,
        counted=True,
    ),
    "binary_segmentation": TargetKind(
        shape=lambda task, size: size,
        read=_labels(lambda task: 2),
        labelled=_any_pixel,
        make=_make_binary,
        metrics=("max_f1", "f1"),
        dense=True,
        head=lambda task: None,
    ),
    "depth": TargetKind(
        shape=lambda task, size: size,
        read=_read_floats,
        labelled=_any_positive,
        make=lambda task, targets: Depth(task.name, _depth_scale(task, targets)),
        metrics=("rmse",),
        dense=True,
        head=lambda task: None,
    ),
    "normals": TargetKind(
        shape=lambda task, size: (3, *size),
        read=_read_floats,
        labelled=_any_direction,
        make=lambda task, targets: Normals(task.name),
        metrics=("mean_angle",),
        dense=True,
        head=lambda task: 3,
    ),
}
"""Every kind that `dataset.json` may name."""
