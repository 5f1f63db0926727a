"""Weights on disk: safetensors only, the same bytes for the same tensors, checked before use."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from engine.errors import CheckpointError
from engine.spec import TensorDescription
from engine.whole_file import WrittenFile, write_whole

DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""How safetensors writes the types that a state dict may hold."""

_CHUNK = 1 << 20


def describe_tensors(state: Mapping[str, Tensor]) -> dict[str, TensorDescription]:
    """Type and shape of each entry, in name order."""
    descriptions = {}
    for key in sorted(state):
        tensor = state[key]
        if tensor.dtype not in DTYPE_NAMES:
            raise CheckpointError(f"tensor {key!r} has type {tensor.dtype}, which cannot be stored")
        descriptions[key] = TensorDescription(
            dtype=DTYPE_NAMES[tensor.dtype], shape=tuple(tensor.shape)
        )
    return descriptions


def write_weights(state: Mapping[str, Tensor], path: Path) -> WrittenFile:
    """Write a state dict to `path`, whole or not at all.

    The same tensors give the same bytes: safetensors orders them by type and name, and no metadata
    is added. Raises `CheckpointError` for a value that is NaN or infinite.
    """
    # A copy each: tied weights share memory, which the format refuses.
    tensors = {key: state[key].detach().to("cpu", copy=True).contiguous() for key in sorted(state)}
    describe_tensors(tensors)
    for key, tensor in tensors.items():
        _check_finite(key, tensor)
    content = memoryview(save(tensors))
    return write_whole(
        (content[start : start + _CHUNK] for start in range(0, len(content), _CHUNK)), path
    )


def load_weights(model: nn.Module, path: Path) -> None:
    """Load `path` into `model`, strictly.

    Raises `CheckpointError` naming the first tensor that is missing, unknown, of another type or
    shape, or not finite; the model is then as it was.
    """
    expected = describe_tensors(model.state_dict())
    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework="pt") as file:
            _check_keys(set(expected), set(file.keys()))
            for key, want in expected.items():
                part = file.get_slice(key)
                got = TensorDescription(dtype=part.get_dtype(), shape=tuple(part.get_shape()))
                if got != want:
                    raise CheckpointError(
                        f"tensor {key!r} is {_in_words(got)} in {path.name},"
                        f" but the network has {_in_words(want)}"
                    )
                tensors[key] = file.get_tensor(key)
                _check_finite(key, tensors[key])
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no weights file at {path}") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} is not a readable safetensors file: {error}") from error
    model.load_state_dict(tensors, strict=True)


def _check_keys(expected: set[str], found: set[str]) -> None:
    if missing := sorted(expected - found):
        raise CheckpointError(f"tensor {missing[0]!r} is missing ({len(missing)} in all)")
    if unknown := sorted(found - expected):
        raise CheckpointError(
            f"tensor {unknown[0]!r} is not part of the network ({len(unknown)} such in all)"
        )


def _check_finite(key: str, tensor: Tensor) -> None:
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise CheckpointError(f"tensor {key!r} holds a value that is NaN or infinite")


def _in_words(tensor: TensorDescription) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"
