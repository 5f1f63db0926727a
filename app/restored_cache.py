"""Files restored from deltas, kept for the next who asks: a bounded folder that may be emptied.

Any number of processes share it. A file appears under its digest whole or not at all; the least
recently used ones go when the folder grows beyond its bound. Who has one open, or has linked it,
keeps it.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

_SHA256 = re.compile("[0-9a-f]{64}")
_WORK = "restoring-"
_LEFT_BEHIND_SECONDS = 86400
"""A killed process' half-made files are removed when they are as old as this."""


class RestoredCache:
    """The folder; its files' times of change say when they were last used."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        folder.mkdir(parents=True, exist_ok=True)

    def open(self, sha256: str) -> BinaryIO | None:
        """The file, for reading; None where it is not there."""
        path = self._path(sha256)
        try:
            stream = path.open("rb")
        except FileNotFoundError:
            return None
        _touch(path)
        return stream

    def link(self, sha256: str, target: Path) -> bool:
        """Make the content appear at `target` too, for as long as that lives; False: not here."""
        path = self._path(sha256)
        found = link_or_copy(path, target)
        if found:
            _touch(path)
        return found

    def adopt(self, file: Path, sha256: str) -> None:
        """Take over a synced file out of `workspace`, and make room for it."""
        _touch(file)
        os.replace(file, self._path(sha256))
        self._evict(keep=sha256)

    def discard(self, sha256: str) -> None:
        """Remove the file; nothing happens where there is none."""
        self._path(sha256).unlink(missing_ok=True)

    def workspace(self) -> AbstractContextManager[str]:
        """A folder on the same file system, gone afterwards."""
        return tempfile.TemporaryDirectory(prefix=_WORK, dir=self._folder)

    @contextlib.contextmanager
    def alone(self, sha256: str) -> Iterator[None]:
        """Wait until no other thread or process is in here for the same file.

        Never nest it: the locks are 256, one for all digests that begin alike.
        """
        with (self._folder / f"lock-{sha256[:2]}").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is not a sha256 in hex")
        return self._folder / sha256

    def _evict(self, keep: str) -> None:
        """Drop the least recently used until the rest fits; `keep` stays in any case."""
        found: list[tuple[int, int, Path]] = []
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process evicts too
                about = path.stat()
                age = time.time() - about.st_mtime
                if _SHA256.fullmatch(path.name):
                    found.append((about.st_mtime_ns, about.st_size, path))
                elif path.name.startswith(_WORK) and age > _LEFT_BEHIND_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._max_bytes:
                break
            if path.name != keep:
                path.unlink(missing_ok=True)
                total -= size


def link_or_copy(file: Path, target: Path) -> bool:
    """Make the content of `file` appear at `target`; False: there is no such file (any more).

    A hard link, or a copy where the file systems differ.
    """
    try:
        os.link(file, target)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
            raise
        try:
            shutil.copyfile(file, target)
        except FileNotFoundError:
            return False
    return True


def _touch(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.utime(path)
