"""A version as its difference from its parent: smaller on disk, and the same file when restored.

The delta is a safetensors file: one tensor of bytes for each tensor of the child that is not the
parent's, and in its metadata who the parent is, what the child's file begins with, and the digest
that the restored file must have. Any two safetensors files can be parent and child; the restored
file is the child's byte for byte, whichever program wrote it.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from engine.errors import CheckpointError
from engine.file_layout import Layout, Place, header_of_bytes, parse_header, read_layout
from engine.tensor_coding import WIDTHS, Bytes, How, decode, decode_whole, encode, encode_whole
from engine.whole_file import WrittenFile, write_whole

_FORMAT: Final = 1
_METADATA_KEY: Final = "expunge_delta"


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


def write_delta(parent: Path, child: Path, path: Path) -> DeltaSummary:
    """Write to `path`, whole or not at all, what turns the file `parent` into the file `child`.

    The same two files give the same delta on one machine. Raises `CheckpointError` where one of
    them is no readable safetensors file.
    """
    before, after = read_layout(parent), read_layout(child)
    payloads: dict[str, bytes] = {}
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
            payloads[name] = payload
    metadata = _Metadata(
        format=_FORMAT,
        parent_sha256=_digest(parent),
        child_sha256=_digest(child),
        child_header=after.header[8:].decode(),
    )
    sizes = {name: len(payload) for name, payload in payloads.items()}
    start = header_of_bytes(sizes, {_METADATA_KEY: metadata.model_dump_json()})
    written = write_whole([start, *payloads.values()], path)
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
    if not delta.is_file():
        raise CheckpointError(f"there is no delta at {delta}")
    layout = read_layout(delta)
    metadata = _read_metadata(delta, layout.metadata)
    before = read_layout(parent)
    if _digest(parent) != metadata.parent_sha256:
        raise CheckpointError(
            f"{delta.name} was made from a parent with digest {metadata.parent_sha256[:12]}...,"
            f" not from {parent.name}"
        )
    header = metadata.child_header.encode()
    after = parse_header(delta, len(header).to_bytes(8, "little") + header)
    if unknown := sorted(set(layout.places) - set(after.places)):
        raise CheckpointError(f"{delta.name} is damaged: it has an unknown tensor {unknown[0]!r}")
    pieces = _restored(parent, delta, before, after, layout.places)
    return write_whole(pieces, path, metadata.child_sha256)


def _restored(
    parent: Path, delta: Path, before: Layout, after: Layout, payloads: Mapping[str, Place]
) -> Iterator[bytes]:
    """The child's file in pieces."""
    yield after.header
    with parent.open("rb") as old, delta.open("rb") as changes:
        for name, place in after.places.items():
            twin = _twin(before, name, place)
            payload = _read(changes, payloads[name]).tobytes() if name in payloads else b""
            try:
                if twin is None:
                    size = (place.end - place.start) // WIDTHS[place.dtype]
                    content = decode_whole(payload, place.dtype, size)
                elif name in payloads:
                    content = decode(_read(old, twin), payload, place.dtype, place.shape)
                else:
                    content = _read(old, twin)
            except CheckpointError as error:
                raise CheckpointError(f"{delta.name} is damaged at {name!r}: {error}") from error
            yield content.tobytes()


def _twin(before: Layout, name: str, place: Place) -> Place | None:
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


def _read(file: BinaryIO, place: Place) -> Bytes:
    file.seek(place.start)
    return np.frombuffer(file.read(place.end - place.start), np.uint8)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
