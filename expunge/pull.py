"""A version of a model in a folder, for a host that serves it: fetched, checked, put in place.

```text
FOLDER/ver_0199.../weights.safetensors, README.md, ml-bom.cdx.json, model.sig
FOLDER/current -> ver_0199...
```

What bears a version's name is whole: files arrive in `.incoming`, where an interrupted download
goes on later, and the folder is renamed when all of them are there and checked. `current` is
replaced in one step, so that whoever opens it finds the old version or the new one.
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from expunge.answers import Version
from expunge.client import Client
from expunge.errors import (
    DigestMismatch,
    ExpungeError,
    Gone,
    ModelSignatureInvalid,
    ServiceUnavailable,
    TooManyRequests,
    UnexpectedAnswer,
    Unreachable,
)
from expunge.model_signature import verify_folder
from expunge.resources.versions import WEIGHTS_FILE
from expunge.transfers import OnBytes, sha256_of
from expunge.transport import pause
from expunge.verify import Keys

CURRENT: Final = "current"
_INCOMING: Final = ".incoming"
_DISCARDED: Final = ".discarded-"
_SETTLED: Final = ".settled"
_LOCK: Final = ".lock"
_VERSION: Final = "ver_"
_WAIT: Final = 50.0
"""Seconds that the service is asked to hold an answer until the alias is moved."""
_PASSING: Final = (
    Unreachable,
    ServiceUnavailable,
    TooManyRequests,
    UnexpectedAnswer,
    DigestMismatch,
    Gone,
)
"""What a host that follows an alias waits out."""


@dataclass(frozen=True)
class Want:
    """What is to be where."""

    model: str
    alias: str
    folder: Path
    keys: Keys | None = None
    """With them, the signature over the files must hold too."""


@dataclass(frozen=True)
class Pulled:
    """A version that is in place."""

    version: Version
    folder: Path
    is_new: bool
    """Whether nobody has called `settle` for it yet."""


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes from pulling into the folder; ExpungeError where one does already."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ExpungeError(f"another process pulls into {folder} already") from None
        yield


def pull(client: Client, want: Want, on_bytes: OnBytes | None = None) -> Pulled:
    """Bring the alias' version into the folder, and let `current` point at it."""
    version = client.models.alias(want.model, want.alias).version
    return _bring(client, want, version, on_bytes)


def follow(
    client: Client,
    want: Want,
    on_bytes: OnBytes | None = None,
    on_trouble: Callable[[ExpungeError], None] = lambda _: None,
) -> Iterator[Pulled]:
    """Each version that the alias names, once it is in place, for ever.

    A service that is away, or restarts, is waited for; `on_trouble` is told once each time.
    """
    revision: int | None = None
    failed = 0
    while True:
        try:
            if revision is None:
                alias = client.models.alias(want.model, want.alias)
            else:
                moved = client.models.moved_alias(want.model, want.alias, revision, _WAIT)
                failed = 0
                if moved is None:
                    continue
                alias = moved
            pulled = _bring(client, want, alias.version, on_bytes)
        except _PASSING as error:
            failed += 1
            if failed == 1:
                on_trouble(error)
            time.sleep(pause(failed, getattr(error, "retry_after", None)))
            continue
        failed, revision = 0, alias.revision
        yield pulled


def settle(folder: Path, pulled: Pulled, keep: int) -> None:
    """Note that the version is in use, and delete those before it but for the `keep` newest."""
    fresh = folder / f"{_SETTLED}.new"
    fresh.write_text(pulled.version.id)
    os.replace(fresh, folder / _SETTLED)
    former = [p for p in folder.glob(f"{_VERSION}*") if p.is_dir() and p != pulled.folder]
    for path in sorted(former, key=lambda p: p.stat().st_mtime, reverse=True)[keep:]:
        _discard(path)
    for path in folder.glob(f"{_DISCARDED}*"):  # what an interruption left
        shutil.rmtree(path)


def _bring(client: Client, want: Want, version_id: str, on_bytes: OnBytes | None) -> Pulled:
    _check_current(want.folder)
    version = client.versions.get(want.model, version_id)
    target = want.folder / version.id
    if not _is_whole(target, version):
        incoming = _receive(client, want, version, on_bytes)
        if target.exists():
            _discard(target)
        os.replace(incoming, target)
    _point(want.folder, version.id)
    return Pulled(version, target, _settled(want.folder) != version.id)


def _receive(client: Client, want: Want, version: Version, on_bytes: OnBytes | None) -> Path:
    """All files of a version in a folder beside its place, checked."""
    incoming = want.folder / _INCOMING / version.id
    for other in (want.folder / _INCOMING).glob("*"):
        if other != incoming:  # the beginning of something that is not wanted any more
            shutil.rmtree(other)
    incoming.mkdir(parents=True, exist_ok=True)
    for file in client.versions.files(want.model, version.id):
        place = incoming / file.name
        if place.is_file() and sha256_of(place) == file.sha256:
            continue
        client.versions.download_file(file, place, on_bytes if file.name == WEIGHTS_FILE else None)
    if want.keys is not None:
        signed = verify_folder(incoming, want.keys)
        if signed.name.rpartition("/")[2] != version.id:
            raise ModelSignatureInvalid(
                f"the files of {version.id} are signed as those of {signed.name}"
            )
    return incoming


def _is_whole(target: Path, version: Version) -> bool:
    weights = target / WEIGHTS_FILE
    return weights.is_file() and sha256_of(weights) == version.weights.sha256


def _settled(folder: Path) -> str | None:
    note = folder / _SETTLED
    return note.read_text() if note.is_file() else None


def _discard(path: Path) -> None:
    """Delete a folder that must not be seen with half of its files."""
    hidden = path.with_name(f"{_DISCARDED}{path.name}")
    os.replace(path, hidden)
    shutil.rmtree(hidden)


def _check_current(folder: Path) -> None:
    link = folder / CURRENT
    if link.exists() and not link.is_symlink():
        raise ExpungeError(f"{link} is no symbolic link: move it away")


def _point(folder: Path, name: str) -> None:
    fresh = folder / f".{CURRENT}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(name)
    os.replace(fresh, folder / CURRENT)
