"""The border to an owner's code: what it raises or returns amiss becomes one clear sentence."""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from engine.errors import EngineError, WorkloadError, WorkloadUnavailable
from engine.workload import InstanceSet, Split, Workload

_TORCH = f"{os.sep}torch{os.sep}"


@contextmanager
def owners_code(what: str) -> Iterator[None]:
    """Around a call of a workload's code: what it raises becomes a `WorkloadError`.

    The error names `what` was called, the exception, and the line that it comes from; it is a
    `WorkloadUnavailable` where files or memory are missing. An `EngineError` has its own sentence
    and passes.
    """
    try:
        yield
    except EngineError:
        raise
    except (OSError, MemoryError, torch.OutOfMemoryError) as error:
        raise WorkloadUnavailable(_sentence(what, error)) from error
    except Exception as error:  # the border to somebody else's code
        raise WorkloadError(_sentence(what, error)) from error


def check_tasks(workload: Workload) -> None:
    """Raise `WorkloadError` where the tasks cannot be told apart by their names."""
    with owners_code("the workload's tasks"):
        names = {key: task.name for key, task in workload.tasks.items()}
    if not names:
        raise WorkloadError("the workload has no task")
    for key, name in names.items():
        if key != name:
            raise WorkloadError(f"the task under the key {key!r} calls itself {name!r}")


def fresh_model(workload: Workload) -> nn.Module:
    """A freshly initialised network; raises `WorkloadError` where there is none."""
    with owners_code("the workload's build_model"):
        model = workload.build_model()
    if not isinstance(model, nn.Module):
        raise WorkloadError(
            f"the workload's build_model gave a {type(model).__name__}, which is no torch module"
        )
    return model


def split_of(workload: Workload, split: Split) -> InstanceSet:
    """One split of the data; raises `WorkloadError` where its members do not fit together."""
    with owners_code(f"the workload's instances({split!r})"):
        found = workload.instances(split)
        count, tasks = len(found), len(workload.tasks)
        lengths = {
            "ids": len(found.ids),
            "subjects": len(found.subjects),
            "digests": len(found.digests),
        }
        distinct = len(set(found.ids))
        shape, kind = tuple(found.supervision.shape), found.supervision.dtype
    where = f"the workload's {split} split"
    for name, length in lengths.items():
        if length != count:
            raise WorkloadError(f"{where} has {count} instances but {length} {name}")
    if distinct != count:
        raise WorkloadError(f"{where} has {count} instances but only {distinct} different ids")
    if shape != (count, tasks) or kind is not torch.bool:
        raise WorkloadError(
            f"the supervision of {where} is {kind} {list(shape)}; it must be torch.bool"
            f" [{count}, {tasks}], one row an instance and one column a task"
        )
    return found


def _sentence(what: str, error: Exception) -> str:
    kind, message = type(error).__name__, str(error).partition("\n")[0]
    return f"{what} raised {kind}{message and ': '}{message} ({_place(error)})"


def _place(error: Exception) -> str:
    """The innermost line that is not torch's own."""
    frames = traceback.extract_tb(error.__traceback__)
    last = [frame for frame in frames if _TORCH not in frame.filename][-1]
    return f"{Path(last.filename).name}, line {last.lineno}"
