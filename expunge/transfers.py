"""Weights on the wire: a streamed upload, and a download that resumes and is checked.

A download goes to a hidden file beside its destination, named by the digest that it must have, so
that an interrupted one goes on where it stopped, in this process or a later one. Only a whole file
of the right digest takes the destination's name.
"""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import httpx

from expunge.errors import DigestMismatch, ExpungeError
from expunge.transport import RETRIED_STATUSES, Transport, pause, refusal_of

OnBytes = Callable[[int, int], None]
"""Called with (bytes so far, bytes in all)."""


class CountedFile:
    """A binary file that tells how much of it was read; what httpx needs of a file, no more."""

    def __init__(self, file: IO[bytes], on_bytes: OnBytes) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._on_bytes = on_bytes

    def fileno(self) -> int:
        """The descriptor, from which httpx takes the length."""
        return self._file.fileno()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        chunk = self._file.read(size)
        self._on_bytes(self._file.tell(), self._size)
        return chunk


def sha256_of(path: Path) -> str:
    """The file's digest in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(
    transport: Transport,
    path: str,
    destination: Path,
    sha256: str,
    size: int,
    on_bytes: OnBytes | None = None,
) -> None:
    """Fetch `path` into `destination`.

    Raises DigestMismatch if the bytes are not those of `sha256`; `destination` is then untouched.
    """
    part = destination.with_name(f".{destination.name}.{sha256[:16]}.part")
    destination.parent.mkdir(parents=True, exist_ok=True)
    failed = 0
    while not part.exists() or part.stat().st_size < size:
        had = part.stat().st_size if part.exists() else 0
        failure, after = _fetch(transport, path, part, size, on_bytes)
        if failure is None:
            break
        failed = failed + 1 if part.exists() and part.stat().st_size == had else 1
        if failed >= transport.tries:
            raise failure
        time.sleep(pause(failed, after))
    found = sha256_of(part)
    if found != sha256:
        part.unlink()
        raise DigestMismatch(
            f"{transport.base_url}{path} has the sha256 {found}, not {sha256}: it was altered on "
            "the way or where it is kept; the download was thrown away"
        )
    os.replace(part, destination)


def _fetch(
    transport: Transport, path: str, part: Path, size: int, on_bytes: OnBytes | None
) -> tuple[ExpungeError | None, float | None]:
    """One try: (what failed and may be tried again, seconds that the service asks to wait)."""
    had = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={had}-"} if had else {})}
    try:
        with transport.stream("GET", path, headers) as response:
            if response.status_code not in (200, 206):
                response.read()
                refusal = refusal_of(response)
                if response.status_code not in RETRIED_STATUSES:
                    raise refusal
                return refusal, refusal.retry_after
            with part.open("ab" if response.status_code == 206 else "wb") as file:
                for chunk in response.iter_raw():
                    file.write(chunk)
                    if on_bytes:
                        on_bytes(file.tell(), size)
                file.flush()
                os.fsync(file.fileno())
    except httpx.TransportError as error:
        return transport.unreachable(error), None
    return None, None
