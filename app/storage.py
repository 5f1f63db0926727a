"""Files by the sha256 of their content: written once, never changed.

A file is filled under a temporary name, synced, and renamed into place, so that whatever bears a
digest as its name is whole, even after a power cut.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

_BLOCK = 1 << 20
_SHA256 = re.compile("[0-9a-f]{64}")


class Storage(Protocol):
    """Where weights live."""

    def put(self, source: Path | BinaryIO) -> tuple[str, int]:
        """Store a copy of a file; its sha256 (hex) and its size in bytes."""
        ...

    def adopt(self, file: Path, sha256: str) -> None:
        """Take over a file out of `workspace` whose digest is known."""
        ...

    def workspace(self) -> AbstractContextManager[Path]:
        """A folder for files on their way in; it is gone afterwards."""
        ...

    def open(self, sha256: str) -> BinaryIO:
        """The content, for reading; FileNotFoundError where there is none."""
        ...

    def path(self, sha256: str) -> Path:
        """A local file with the content, to hand to another process."""
        ...

    def exists(self, sha256: str) -> bool:
        """Whether the content is there."""
        ...

    def delete(self, sha256: str) -> None:
        """Remove the content; nothing happens where there is none."""
        ...

    def check(self) -> None:
        """Raise OSError where nothing can be written."""
        ...


class LocalStorage:
    """A folder: `ab/abcdef...` for content, `incoming` for what is not whole yet."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    def put(self, source: Path | BinaryIO) -> tuple[str, int]:
        """Store a copy of a file; its sha256 (hex) and its size in bytes."""
        if isinstance(source, Path):
            with source.open("rb") as stream:
                return self.put(stream)
        digest, size = hashlib.sha256(), 0
        with self.workspace() as folder:
            copy = folder / "copy"
            with copy.open("wb") as target:
                while block := source.read(_BLOCK):
                    digest.update(block)
                    size += target.write(block)
            self.adopt(copy, digest.hexdigest())
        return digest.hexdigest(), size

    def adopt(self, file: Path, sha256: str) -> None:
        """Take over a file out of `workspace` whose digest is known."""
        target = self.path(sha256)
        target.parent.mkdir(exist_ok=True)
        _sync(file)
        os.replace(file, target)
        _sync(target.parent)

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """A folder for files on their way in; it is gone afterwards."""
        folder = Path(tempfile.mkdtemp(dir=self._incoming))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def open(self, sha256: str) -> BinaryIO:
        """The content, for reading; FileNotFoundError where there is none."""
        return self.path(sha256).open("rb")

    def path(self, sha256: str) -> Path:
        """The file of this content, whether it is there or not."""
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is not a sha256 in hex")
        return self._root / sha256[:2] / sha256

    def exists(self, sha256: str) -> bool:
        """Whether the content is there."""
        return self.path(sha256).is_file()

    def delete(self, sha256: str) -> None:
        """Remove the content; nothing happens where there is none."""
        self.path(sha256).unlink(missing_ok=True)

    def check(self) -> None:
        """Raise OSError where nothing can be written."""
        with tempfile.TemporaryFile(dir=self._incoming) as probe:
            probe.write(b"x")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
