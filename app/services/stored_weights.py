"""A version's weights as they are stored: its whole file, or a delta from its parent's.

A delta's chain leads back to a whole file. The file of a version in the middle of it is restored
from there, byte for byte and checked against its digest, into a cache that may be emptied.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from app.restored_cache import RestoredCache, link_or_copy
from app.storage import Storage
from app.tables import Version
from engine.errors import CheckpointError

_log = logging.getLogger(__name__)

T = TypeVar("T")

_TRIES = 2
"""A file that was damaged in the cache is restored once more."""


class DamagedWeights(Exception):
    """What is stored of a version does not give its file; one sentence, without a path."""


@dataclass(frozen=True)
class Delta:
    """One step of a chain: what turns the file before it into a version's."""

    of: str
    """What it leads to, for people: `version 5`."""
    weights_sha256: str
    weights_size: int
    sha256: str
    """Of the delta itself."""
    size: int


@dataclass(frozen=True)
class Recipe:
    """How to come by a version's file: a whole file in storage, then deltas in order."""

    of: str
    """What it leads to, for people: `version 5`."""
    sha256: str
    size: int
    whole_of: str
    whole_sha256: str
    deltas: tuple[Delta, ...]

    def with_delta(self, delta: Delta) -> "Recipe":
        """The recipe of a child that is stored as this delta."""
        return Recipe(
            of=delta.of,
            sha256=delta.weights_sha256,
            size=delta.weights_size,
            whole_of=self.whole_of,
            whole_sha256=self.whole_sha256,
            deltas=(*self.deltas, delta),
        )

    def room_for_delta(self, max_share: float, max_chain: int) -> int:
        """How many bytes a child's delta may have; 0: the child is to be stored whole.

        A chain may not be longer than `max_chain`, nor its deltas together than the file.
        """
        if len(self.deltas) >= max_chain:
            return 0
        spent = sum(delta.size for delta in self.deltas)
        return max(0, min(int(max_share * self.size), self.size - spent))


def recipe_of(session: Session, version: Version) -> Recipe:
    """The version's recipe, as the database has it now."""
    steps: list[Delta] = []
    at = version
    while at.base_version_id is not None:
        assert at.delta_sha256 is not None
        assert at.delta_size is not None
        steps.append(
            Delta(_named(at), at.weights_sha256, at.weights_size, at.delta_sha256, at.delta_size)
        )
        at = session.get_one(Version, at.base_version_id)
    return Recipe(
        of=_named(version),
        sha256=version.weights_sha256,
        size=version.weights_size,
        whole_of=_named(at),
        whole_sha256=at.weights_sha256,
        deltas=tuple(reversed(steps)),
    )


def chain_lengths(session: Session, version_ids: Sequence[str]) -> Mapping[str, int]:
    """For each of the versions, how many deltas lead from a whole file to its own."""
    chain = (
        select(Version.id.label("start"), Version.base_version_id.label("base"))
        .where(Version.id.in_(version_ids))
        .cte("chain", recursive=True)
    )
    above = aliased(Version)
    chain = chain.union_all(
        select(chain.c.start, above.base_version_id).join(chain, above.id == chain.c.base)
    )
    counted = select(chain.c.start, func.count(chain.c.base)).group_by(chain.c.start)
    return dict(session.execute(counted).all())


class StoredWeights:
    """Versions' files, out of a storage and the cache of what was restored."""

    def __init__(self, storage: Storage, cache: RestoredCache) -> None:
        self.storage = storage
        self._cache = cache

    def open(self, recipe: Recipe) -> BinaryIO:
        """The version's file, for reading.

        Raises DamagedWeights where it cannot be restored or has not its length, OSError from the
        storage.
        """
        stream = self._open(recipe)
        stream.seek(0, 2)
        found = stream.tell()
        stream.seek(0)
        if found != recipe.size:
            stream.close()
            raise DamagedWeights(
                f"the stored weights of {recipe.of} have {found} bytes instead of {recipe.size}"
            )
        return stream

    def provide(self, recipe: Recipe, folder: Path, name: str) -> Path:
        """A local file with the version's weights, digest-checked, for another process to read.

        It is there for as long as `folder` is. Raises DamagedWeights, or OSError from the storage.
        """
        if self._is_whole(recipe):
            path = self.storage.path(recipe.sha256)
            _check(path, recipe.of, recipe.sha256)
            return path.absolute()
        target = folder / name
        for _ in range(_TRIES):
            self._obtain(
                recipe,
                find=lambda: self._cache.link(recipe.sha256, target) or None,
                take=lambda file: link_or_copy(file, target),
            )
            if _sha256(target) == recipe.sha256:
                return target.absolute()
            target.unlink()
            self._cache.discard(recipe.sha256)
        raise DamagedWeights(f"the weights of {recipe.of} are damaged in the cache")

    def keep_delta(self, parent: Recipe, file: Path, sha256: str, size: int) -> Delta:
        """Store a child's delta, once it has restored the child from what is stored of the parent.

        The child's file is in the cache then. Raises DamagedWeights, with nothing stored, or
        OSError from the storage.
        """
        delta = Delta("the new version", sha256, size, _sha256(file), file.stat().st_size)
        with self._cache.alone(sha256):
            self._restore(parent.with_delta(delta), take=lambda _: None, last=file)
        self.storage.put(file)
        return delta

    def make_whole(self, recipe: Recipe) -> None:
        """Store the version's whole file, if it is not there yet. Raises DamagedWeights."""
        if not self._is_whole(recipe):
            with self.storage.workspace() as folder:
                copy = self.provide(recipe, folder, "copy")
                self.storage.put(copy)

    def forget(self, sha256: str) -> None:
        """Remove a file or a delta, and what was restored of it."""
        self.storage.delete(sha256)
        self._cache.discard(sha256)

    def _is_whole(self, recipe: Recipe) -> bool:
        return not recipe.deltas or self.storage.exists(recipe.sha256)

    def _open(self, recipe: Recipe) -> BinaryIO:
        if self._is_whole(recipe):
            return self.storage.open(recipe.sha256)
        return self._obtain(
            recipe,
            find=lambda: self._cache.open(recipe.sha256),
            take=lambda file: file.open("rb"),
        )

    def _obtain(
        self, recipe: Recipe, *, find: Callable[[], T | None], take: Callable[[Path], T]
    ) -> T:
        """What `find` has of the cache's file, or `take` of the restored one."""
        found = find()
        if found is not None:
            return found
        with self._cache.alone(recipe.sha256):
            found = find()  # another may have restored it meanwhile
            return self._restore(recipe, take=take) if found is None else found

    def _restore(self, recipe: Recipe, *, take: Callable[[Path], T], last: Path | None = None) -> T:
        """Put the file into the cache; what `take` makes of it.

        It is taken before it is in the cache, where others may evict it at once. `last` is the last
        delta, if that is not in storage yet.
        """
        with self._cache.workspace() as name:
            folder = Path(name)
            current, done = self._start(recipe, folder)
            for step, delta in enumerate(recipe.deltas[done:], start=done + 1):
                is_last = step == len(recipe.deltas)
                file = last if last and is_last else self._stored(delta)
                current = _apply(delta, file, current, folder / str(step))
            taken = take(current)
            self._cache.adopt(current, recipe.sha256)
            return taken

    def _start(self, recipe: Recipe, folder: Path) -> tuple[Path, int]:
        """The nearest file to begin with, its digest checked, and how many deltas are behind it."""
        for done in range(len(recipe.deltas) - 1, 0, -1):
            sha256 = recipe.deltas[done - 1].weights_sha256
            start = folder / "start"
            if self._cache.link(sha256, start):
                if _sha256(start) == sha256:
                    return start, done
                start.unlink()
                self._cache.discard(sha256)
        whole = self.storage.path(recipe.whole_sha256)
        _check(whole, recipe.whole_of, recipe.whole_sha256)
        return whole, 0

    def _stored(self, delta: Delta) -> Path:
        if not self.storage.exists(delta.sha256):
            raise DamagedWeights(f"the stored delta of {delta.of} is missing")
        return self.storage.path(delta.sha256)


def _apply(delta: Delta, file: Path, current: Path, target: Path) -> Path:
    """The file that the delta makes of `current`."""
    try:
        from engine.delta import restore  # noqa: PLC0415 - NumPy takes a while to import

        written = restore(current, file, target)
    except CheckpointError as error:
        _log.error("delta %s: %s", delta.sha256, error)
        raise DamagedWeights(f"the stored delta of {delta.of} is damaged") from None
    if written.sha256 != delta.weights_sha256:
        raise DamagedWeights(f"the stored delta of {delta.of} belongs to other weights")
    return written.path


def _named(version: Version) -> str:
    return f"version {version.number}"


def _check(path: Path, of: str, sha256: str) -> None:
    found = _sha256(path)
    if found != sha256:
        raise DamagedWeights(
            f"the weights of {of} were damaged in storage: their sha256 is {found}, not {sha256}"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
