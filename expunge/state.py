"""The state folder of a service run by `expunge up`: who runs it, and how to reach it.

`client.json` holds the service's address and an admin key, readable by the owner alone; `up.lock`
is locked for as long as an `expunge up` runs, however that ends.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from expunge.errors import ExpungeError

CLIENT_FILE: Final = "client.json"
LOCK_FILE: Final = "up.lock"
DEFAULT_STATE: Final = Path(".expunge")


@dataclass(frozen=True)
class Connection:
    """Where a service is, and a key to it."""

    url: str
    api_key: str | None


def read_connection(state: Path) -> Connection | None:
    """What `client.json` says, or None if there is none; raises ExpungeError for a broken one."""
    file = state / CLIENT_FILE
    try:
        content = json.loads(file.read_bytes())
        return Connection(str(content["url"]), str(content["api_key"]))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ExpungeError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise ExpungeError(
            f"{file} is not what `expunge up` writes: remove it, then run `expunge up` again"
        ) from None


def write_connection(state: Path, connection: Connection) -> Path:
    """Replace `client.json`; at no moment can others read it, or read half of it."""
    file = state / CLIENT_FILE
    fresh = file.with_name(f".{CLIENT_FILE}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(json.dumps(asdict(connection), indent=2) + "\n")
    os.replace(fresh, file)
    return file


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """The state folder for this process alone; raises ExpungeError if another one has it."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock = (state / LOCK_FILE).open("a+")
    except OSError as error:
        raise ExpungeError(f"cannot write to the state folder {state}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise ExpungeError(
                f"an `expunge up` (process {lock.read().strip() or 'unknown'}) already runs on "
                f"{state}: use that one, stop it first, or give another folder with --state"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def in_use(state: Path) -> bool:
    """Whether an `expunge up` runs on this state folder."""
    try:
        with (state / LOCK_FILE).open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
