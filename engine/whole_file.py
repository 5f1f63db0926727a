"""A file that appears whole or not at all, and is described by its digest."""

import hashlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import CheckpointError


@dataclass(frozen=True)
class WrittenFile:
    """A file as it lies on disk."""

    path: Path
    sha256: str
    """Hex."""
    size: int
    """Bytes."""


def write_whole(
    pieces: Iterable[bytes | memoryview], path: Path, expected: str | None = None
) -> WrittenFile:
    """Write the pieces to `path`, synced, under a temporary name until all of them are there.

    Raises `CheckpointError`, with nothing left behind, where their sha256 is not `expected`.
    """
    digest = hashlib.sha256()
    size = 0
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
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
