"""Where each tensor lies in a safetensors file, read without any library that brings torch.

The format: eight bytes of length (little-endian), a JSON header of that length with type, shape and
offsets of every tensor and text under `__metadata__`, then the tensors' bytes without a gap.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.errors import CheckpointError
from engine.tensor_coding import WIDTHS

_LONGEST_HEADER: Final = 100_000_000
"""As in safetensors."""


@dataclass(frozen=True)
class Place:
    """Where a tensor lies in a safetensors file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    """From the beginning of the file."""
    end: int


@dataclass(frozen=True)
class Layout:
    """A safetensors file's header, and its tensors in the order of their bytes."""

    header: bytes
    """With the eight bytes of its length."""
    places: Mapping[str, Place]
    metadata: Mapping[str, str]


def read_layout(path: Path) -> Layout:
    """The layout of a file that is there and as long as its header says.

    Raises `CheckpointError` for any other.
    """
    try:
        with path.open("rb") as file:
            prefix = file.read(8)
            length = int.from_bytes(prefix, "little")
            header = file.read(length) if length <= _LONGEST_HEADER else b""
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no weights file at {path}") from error
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}") from error
    layout = parse_header(path, prefix + header)
    end = max((place.end for place in layout.places.values()), default=8 + length)
    if path.stat().st_size != end:
        raise CheckpointError(f"{path.name} is not a whole safetensors file")
    return layout


def parse_header(path: Path, content: bytes) -> Layout:
    """The layout that a header promises: tensors without a gap from its end on."""
    try:
        entries = json.loads(content[8:].decode())
        metadata = {str(key): str(text) for key, text in entries.pop("__metadata__", {}).items()}
        places = {
            str(name): Place(
                str(entry["dtype"]),
                tuple(int(side) for side in entry["shape"]),
                len(content) + int(entry["data_offsets"][0]),
                len(content) + int(entry["data_offsets"][1]),
            )
            for name, entry in entries.items()
        }
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"the header of {path.name} cannot be read") from error
    places = dict(sorted(places.items(), key=lambda item: (item[1].start, item[1].end)))
    position = len(content)
    for name, place in places.items():
        if place.dtype not in WIDTHS or min(place.shape, default=0) < 0:
            raise CheckpointError(f"tensor {name!r} of {path.name} has an unknown type or shape")
        size = WIDTHS[place.dtype] * math.prod(place.shape)
        if place.start != position or place.end - place.start != size:
            raise CheckpointError(f"tensor {name!r} of {path.name} does not lie where it should")
        position = place.end
    return Layout(content, places, metadata)


def header_of_bytes(sizes: Mapping[str, int], metadata: Mapping[str, str]) -> bytes:
    """The header, with its length in front, of a file of byte tensors that lie in this order."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)}
    position = 0
    for name, size in sizes.items():
        place = [position, position + size]
        entries[name] = {"dtype": "U8", "shape": [size], "data_offsets": place}
        position += size
    content = json.dumps(entries, separators=(",", ":")).encode()
    content += b" " * (-len(content) % 8)  # safetensors keeps the tensors aligned
    return len(content).to_bytes(8, "little") + content
