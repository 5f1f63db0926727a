"""Uploaded weights, checked without torch: a safetensors file that fits the workload's network.

The format: https://huggingface.co/docs/safetensors - eight bytes of header length (little endian),
the header as JSON (`{name: {dtype, shape, data_offsets}}`), then the tensors' bytes without gaps.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from engine.spec import TensorDescription

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_HEADER: Final = 10_000_000
_BLOCK: Final = 1 << 22
_WIDTH: Final[Mapping[str, int]] = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64"), 8),
}
_EXPONENT: Final[Mapping[str, tuple[str, int]]] = {
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F32": ("<u4", 0x7F80_0000),
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
}
"""By dtype: an integer of its width, and its exponent's bits: all set in NaN and infinities."""


class BadWeights(ValueError):
    """What is wrong with a weights file: the first thing found, as one sentence."""


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    """Of its bytes, from the start of the file."""
    end: int


def check(file: Path, wanted: Mapping[str, TensorDescription]) -> None:
    """Raise BadWeights unless the file holds exactly the `wanted` tensors, all finite."""
    with file.open("rb") as stream:
        tensors = read_header(stream, file.stat().st_size)
        compare(tensors, wanted)
        for name, tensor in tensors.items():
            _check_finite(stream, name, tensor)


def read_header(stream: BinaryIO, size: int) -> dict[str, Tensor]:
    """The tensors of a safetensors file of `size` bytes by name, in the order of their bytes."""
    start = stream.read(8)
    _refuse_other_formats(start)
    if len(start) < 8:
        raise BadWeights(f"the file is truncated: {size} bytes cannot hold a safetensors header")
    length = int.from_bytes(start, "little")
    if length > MAX_HEADER:
        raise BadWeights(
            f"the header claims {length} bytes, more than {MAX_HEADER}: this is no safetensors file"
        )
    header = stream.read(length)
    if len(header) < length:
        raise BadWeights(f"the file is truncated: its header of {length} bytes is cut short")
    entries = _parse(header)
    tensors = {n: _tensor(n, e, 8 + length) for n, e in entries.items() if n != "__metadata__"}
    ordered = dict(sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)))
    _check_layout(ordered, 8 + length, size)
    return ordered


def compare(found: Mapping[str, Tensor], wanted: Mapping[str, TensorDescription]) -> None:
    """Raise BadWeights with the first difference between the file and the network."""
    for name in wanted:
        if name not in found:
            raise BadWeights(f"tensor {name!r} is missing")
    for name in found:
        if name not in wanted:
            raise BadWeights(f"tensor {name!r} is not one of the network's")
    for name, want in wanted.items():
        have = found[name]
        if have.dtype != want.dtype:
            raise BadWeights(f"tensor {name!r} has dtype {have.dtype}, the network's {want.dtype}")
        if have.shape != want.shape:
            raise BadWeights(
                f"tensor {name!r} has shape {list(have.shape)}, the network's {list(want.shape)}"
            )


def _refuse_other_formats(start: bytes) -> None:
    if start.startswith(b"PK\x03\x04"):
        raise BadWeights(
            "this is a zip archive, as torch.save writes, with a pickle inside: save the weights"
            " with safetensors"
        )
    if len(start) > 1 and start[0] == 0x80 and 2 <= start[1] <= 5:
        raise BadWeights("this is a pickle, which is never read: save the weights with safetensors")


def _parse(header: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            names = [name for name, _ in pairs]
            double = next(name for name in names if names.count(name) > 1)
            raise BadWeights(f"the header names {double!r} twice")
        return members

    try:
        entries = json.loads(header, object_pairs_hook=once)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise BadWeights("the header is not JSON: this is no safetensors file") from None
    except ValueError as error:
        raise error if isinstance(error, BadWeights) else BadWeights(f"header: {error}") from None
    if not isinstance(entries, dict):
        raise BadWeights("the header is not a JSON object: this is no safetensors file")
    return entries


def _tensor(name: str, entry: Any, offset: int) -> Tensor:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise BadWeights(f"tensor {name!r} needs dtype, shape and data_offsets and nothing else")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _WIDTH:
        raise BadWeights(f"tensor {name!r} has the unknown dtype {dtype!r:.40}")
    if not _naturals(shape) or len(shape) > 32:
        raise BadWeights(f"tensor {name!r} has a shape that is no list of sizes")
    if not _naturals(offsets) or len(offsets) != 2:
        raise BadWeights(f"tensor {name!r} has data_offsets that are no pair of positions")
    begin, end = offsets
    needed = math.prod(shape) * _WIDTH[dtype]
    if end - begin != needed:
        raise BadWeights(
            f"tensor {name!r} of {dtype}{shape} needs {needed} bytes, its offsets give"
            f" {end - begin}"
        )
    return Tensor(dtype, tuple(shape), offset + begin, offset + end)


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(
        type(number) is int and 0 <= number < 1 << 63 for number in value
    )


def _check_layout(tensors: Mapping[str, Tensor], start: int, size: int) -> None:
    position = start
    for name, tensor in tensors.items():
        if tensor.begin != position:
            raise BadWeights(f"the bytes of tensor {name!r} do not follow the tensor before it")
        position = tensor.end
    if size < position:
        raise BadWeights(f"the file is truncated: {size} of {position} bytes")
    if size > position:
        raise BadWeights(f"the file has {size - position} bytes that belong to no tensor")


def _check_finite(stream: BinaryIO, name: str, tensor: Tensor) -> None:
    if tensor.dtype not in _EXPONENT:
        return
    integer, exponent = _EXPONENT[tensor.dtype]
    stream.seek(tensor.begin)
    done, left = 0, tensor.end - tensor.begin
    while left:
        block = stream.read(min(_BLOCK, left))
        import numpy as np  # noqa: PLC0415 - it takes a while to import

        bits: NDArray[Any] = np.frombuffer(block, dtype=integer)
        beyond = (bits & exponent) == exponent
        if beyond.any():
            index = done + int(beyond.argmax())
            raise BadWeights(f"tensor {name!r} holds NaN or infinity, first at element {index}")
        done += len(bits)
        left -= len(block)
