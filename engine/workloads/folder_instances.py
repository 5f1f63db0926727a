"""Instances that stay on disk: files are read when a batch asks for them and not kept.

Also the split of a folder's training part into training and validation, for layouts that have none.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from engine.errors import WorkloadError
from engine.workload import Batch

Files = Mapping[str, Path]
"""One instance's files, by what is in them."""


@dataclass(frozen=True)
class TargetSource:
    """Where a task's targets come from."""

    read: Callable[[Files], Tensor]
    """One instance's target."""
    has_label: Callable[[Tensor], bool] | None
    """Whether such a target says anything; None where every target does."""


class FolderInstances:
    """N instances of one split, in the order given."""

    def __init__(
        self,
        ids: Sequence[str],
        files: Sequence[Files],
        read_image: Callable[[Files], Tensor],
        targets: Mapping[str, TargetSource],
    ) -> None:
        """`read_image` gives what the network takes; raises `WorkloadError` for a missing file."""
        self.ids = ids
        self.files = files
        self.read_image = read_image
        self.targets = targets
        self.subjects: Sequence[str | None] = [None] * len(ids)
        for instance in files:
            for path in instance.values():
                if not path.is_file():
                    raise WorkloadError(f"there is no file {path}")

    def __len__(self) -> int:
        """N."""
        return len(self.ids)

    @cached_property
    def digests(self) -> Sequence[str]:
        """Hex sha256 over the sha256 of each of an instance's files as they lie on disk."""
        digests = []
        for files in self.files:
            whole = hashlib.sha256()
            for name in sorted(files):
                with files[name].open("rb") as file:
                    whole.update(hashlib.file_digest(file, "sha256").digest())
            digests.append(whole.hexdigest())
        return digests

    @cached_property
    def supervision(self) -> Tensor:
        """Bool [N, T]: a target without a labelled pixel is no label. Reads every target once."""
        columns = [
            torch.tensor([_labelled(source, files) for files in self.files], dtype=torch.bool)
            for source in self.targets.values()
        ]
        return torch.stack(columns, dim=1)

    def batch(self, indices: Tensor) -> Batch:
        """The instances at these positions (int64 [B]), read now."""
        chosen = [self.files[index] for index in indices.tolist()]
        inputs = _stacked([self.read_image(files) for files in chosen], chosen)
        targets = {
            name: _stacked([source.read(files) for files in chosen], chosen)
            for name, source in self.targets.items()
        }
        for name, target in targets.items():
            if target.shape[-2:] != inputs.shape[-2:]:
                raise WorkloadError(
                    f"the {name} of {_name(chosen[0])} has {_size(target)} pixels,"
                    f" but its image has {_size(inputs)}"
                )
        return Batch(inputs, targets)


def held_out(name: str, share: float) -> bool:
    """Whether an instance of this name belongs to the validation part, of about this share.

    Read from the sha256 of the name: the same on every machine, and no instance changes sides when
    others come or go.
    """
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return number < share * 2**64


def existing_folder(path: Path) -> Path:
    """`path`; raises `WorkloadError` where there is no such folder."""
    if not path.is_dir():
        raise WorkloadError(f"there is no folder {path}")
    return path


def unreadable(path: Path, error: Exception) -> WorkloadError:
    """The one sentence for a file that is there and is not what it should be."""
    reason = str(error).partition("\n")[0]
    return WorkloadError(f"{path} cannot be read: {reason or type(error).__name__}")


def _labelled(source: TargetSource, files: Files) -> bool:
    return source.has_label is None or source.has_label(source.read(files))


def _stacked(tensors: Sequence[Tensor], files: Sequence[Files]) -> Tensor:
    for tensor, instance in zip(tensors, files, strict=True):
        if tensor.shape != tensors[0].shape:
            raise WorkloadError(
                f"{_name(instance)} has {_size(tensor)} pixels, but {_name(files[0])} has"
                f" {_size(tensors[0])}; all images must have one size"
            )
    return torch.stack(list(tensors))


def _name(files: Files) -> str:
    return str(next(iter(files.values())))


def _size(tensor: Tensor) -> str:
    return f"{tensor.shape[-2]} x {tensor.shape[-1]}"
