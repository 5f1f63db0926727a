"""A version as its difference from its parent: smaller on disk, and the same file when restored.

The delta is a safetensors file: one tensor of bytes for each tensor of the child that is not the
parent's, and in its metadata who the parent is, what the child's file begins with, and the digest
that the restored file must have. Any two safetensors files can be parent and child; the restored
file is the child's byte for byte, whichever program wrote it.
"""

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from engine.checkpoint import WrittenFile
from engine.errors import CheckpointError
from engine.tensor_coding import WIDTHS, Bytes, How, decode, decode_whole, encode, encode_whole

_FORMAT: Final = 1
_METADATA_KEY: Final = "expunge_delta"
"""One key only: safetensors writes several in no fixed order."""
_LONGEST_HEADER: Final = 100_000_000
"""As in safetensors."""


@dataclass(frozen=True)
class DeltaSummary:
    """What `write_delta` wrote."""

    file: WrittenFile
    parent_sha256: str
    child_sha256: str
    share: float
    """Bytes of the delta over bytes of the child."""
    tensors: Mapping[str, int]
    """How many tensors are the `same`, `dense`, `sparse`, `low_rank` or `whole`."""


class _Metadata(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: int
    parent_sha256: str
    child_sha256: str
    child_header: str


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in a safetensors file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    """From the beginning of the file."""
    end: int


@dataclass(frozen=True)
class _Layout:
    """A safetensors file's header, and its tensors in the order of their bytes."""

    header: bytes
    """With the eight bytes of its length."""
    places: Mapping[str, _Place]


def write_delta(parent: Path, child: Path, path: Path) -> DeltaSummary:
    """Write to `path`, whole or not at all, what turns the file `parent` into the file `child`.

    The same two files give the same delta on one machine. Raises `CheckpointError` where one of
    them is no readable safetensors file.
    """
    before, after = _read_layout(parent), _read_layout(child)
    payloads: dict[str, Bytes] = {}
    kinds: Counter[str] = Counter()
    with parent.open("rb") as old, child.open("rb") as new:
        for name, place in after.places.items():
            content = _read(new, place)
            twin = _twin(before, name, place)
            if twin is None:
                payload = encode_whole(content, place.dtype)
            else:
                original = _read(old, twin)
                if np.array_equal(original, content):
                    kinds["same"] += 1
                    continue
                payload = encode(original, content, place.dtype, place.shape)
            kinds[How(payload[0]).name.lower()] += 1
            payloads[name] = np.frombuffer(payload, np.uint8)
    metadata = _Metadata(
        format=_FORMAT,
        parent_sha256=_digest(parent),
        child_sha256=_digest(child),
        child_header=after.header[8:].decode(),
    )
    content_of_file = save(payloads, {_METADATA_KEY: metadata.model_dump_json()})
    written = _write(iter([content_of_file]), path, expected=None)
    return DeltaSummary(
        file=written,
        parent_sha256=metadata.parent_sha256,
        child_sha256=metadata.child_sha256,
        share=written.size / child.stat().st_size,
        tensors=dict(sorted(kinds.items())),
    )


def restore(parent: Path, delta: Path, path: Path) -> WrittenFile:
    """Write the child to `path`, byte for byte as it was, whole or not at all.

    Raises `CheckpointError` where `delta` is damaged or was made from another parent.
    """
    try:
        with safe_open(delta, framework="numpy") as file:
            metadata = _read_metadata(delta, file.metadata() or {})
            payloads = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no delta at {delta}") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{delta.name} is not a readable delta: {error}") from error
    before = _read_layout(parent)
    if _digest(parent) != metadata.parent_sha256:
        raise CheckpointError(
            f"{delta.name} was made from a parent with digest {metadata.parent_sha256[:12]}...,"
            f" not from {parent.name}"
        )
    header = metadata.child_header.encode()
    after = _parse_header(delta, len(header).to_bytes(8, "little") + header)
    if unknown := sorted(set(payloads) - set(after.places)):
        raise CheckpointError(f"{delta.name} is damaged: it has an unknown tensor {unknown[0]!r}")
    return _write(
        _restored(parent, delta, before, after, payloads), path, expected=metadata.child_sha256
    )


def _restored(
    parent: Path, delta: Path, before: _Layout, after: _Layout, payloads: Mapping[str, bytes]
) -> Iterator[bytes]:
    """The child's file in pieces."""
    yield after.header
    with parent.open("rb") as old:
        for name, place in after.places.items():
            twin = _twin(before, name, place)
            try:
                if twin is None:
                    size = (place.end - place.start) // WIDTHS[place.dtype]
                    content = decode_whole(payloads.get(name, b""), place.dtype, size)
                elif name in payloads:
                    content = decode(_read(old, twin), payloads[name], place.dtype, place.shape)
                else:
                    content = _read(old, twin)
            except CheckpointError as error:
                raise CheckpointError(f"{delta.name} is damaged at {name!r}: {error}") from error
            yield content.tobytes()


def _twin(before: _Layout, name: str, place: _Place) -> _Place | None:
    """The parent's tensor of the same name, type and shape."""
    found = before.places.get(name)
    same = found is not None and (found.dtype, found.shape) == (place.dtype, place.shape)
    return found if same else None


def _read_metadata(delta: Path, metadata: Mapping[str, str]) -> _Metadata:
    try:
        read = _Metadata.model_validate_json(metadata.get(_METADATA_KEY, ""))
    except ValidationError as error:
        raise CheckpointError(f"{delta.name} is not a delta, or it is damaged") from error
    if read.format != _FORMAT:
        raise CheckpointError(f"{delta.name} is a delta of the unknown format {read.format}")
    return read


def _read_layout(path: Path) -> _Layout:
    try:
        with path.open("rb") as file:
            prefix = file.read(8)
            length = int.from_bytes(prefix, "little")
            header = file.read(length) if length <= _LONGEST_HEADER else b""
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no weights file at {path}") from error
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}") from error
    layout = _parse_header(path, prefix + header)
    end = max((place.end for place in layout.places.values()), default=8 + length)
    if path.stat().st_size != end:
        raise CheckpointError(f"{path.name} is not a whole safetensors file")
    return layout


def _parse_header(path: Path, content: bytes) -> _Layout:
    """The layout that a header promises: tensors without a gap from its end on."""
    try:
        entries = json.loads(content[8:].decode())
        entries.pop("__metadata__", None)
        places = {
            str(name): _Place(
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
        size = WIDTHS.get(place.dtype, 0)
        for side in place.shape:
            size *= side
        if place.dtype not in WIDTHS or min(place.shape, default=0) < 0:
            raise CheckpointError(f"tensor {name!r} of {path.name} has an unknown type or shape")
        if place.start != position or place.end - place.start != size:
            raise CheckpointError(f"tensor {name!r} of {path.name} does not lie where it should")
        position = place.end
    return _Layout(content, places)


def _read(file: BinaryIO, place: _Place) -> Bytes:
    file.seek(place.start)
    return np.frombuffer(file.read(place.end - place.start), np.uint8)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(content: Iterator[bytes], path: Path, expected: str | None) -> WrittenFile:
    """Write the pieces to `path` if their digest is `expected`."""
    digest = hashlib.sha256()
    size = 0
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in content:
                digest.update(piece)
                size += file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if expected not in (None, digest.hexdigest()):
            raise CheckpointError(
                f"what was restored has digest {digest.hexdigest()[:12]}...,"
                f" not {str(expected)[:12]}...: the delta is damaged"
            )
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return WrittenFile(path, digest.hexdigest(), size)
