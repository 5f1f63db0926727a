"""Versions as deltas: every file of a chain comes back bit for bit, or with one clear sentence."""

import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.http import Parts
from app.services.stored_weights import (
    DamagedWeights,
    Recipe,
    StoredWeights,
    chain_lengths,
    recipe_of,
)
from app.tables import Version
from delta_chain import add_children, add_root, chain_of_files
from running_service import Registered

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@dataclass
class Chain:
    """A whole version and its descendants, each a delta; nothing is restored yet."""

    parts: Parts
    files: list[bytes]
    ids: list[str]

    def recipe(self, place: int) -> Recipe:
        with self.parts.database.read() as session:
            return recipe_of(session, session.get_one(Version, self.ids[place]))

    def read(self, place: int) -> bytes:
        with self.parts.weights.open(self.recipe(place)) as stream:
            return stream.read()

    def empty_cache(self) -> None:
        for file in self.cached():
            file.unlink()

    def cached(self) -> list[Path]:
        """The files in the cache."""
        folder = self.parts.settings.restored_cache
        return [path for path in folder.iterdir() if len(path.name) == 64]

    def stored(self, place: int) -> Path:
        """What storage holds of the version itself."""
        recipe = self.recipe(place)
        return self.parts.storage.path(recipe.deltas[-1].sha256 if recipe.deltas else recipe.sha256)


def made(parts: Parts, model: Registered, count: int) -> Chain:
    files = chain_of_files(count)
    with parts.database.write() as session, session.begin():
        first = session.get_one(Version, model.version_id)
        root = add_root(session, parts.weights, first, files[0])
        children = add_children(session, parts.weights, root, files[1:])
        chain = Chain(parts, files, [version.id for version in (root, *children)])
    chain.empty_cache()
    return chain


@pytest.fixture
def chain(parts: Parts, model: Registered) -> Chain:
    """Four versions."""
    return made(parts, model, 4)


def test_ten_versions_in_a_chain_are_restored_bit_for_bit(parts: Parts, model: Registered) -> None:
    chain = made(parts, model, 10)
    for place in (9, 4, 0, 7, 1, 9):
        assert chain.read(place) == chain.files[place]
    for place in range(10):
        chain.empty_cache()
        assert chain.read(place) == chain.files[place]
    for place in range(1, 10):
        assert not parts.storage.exists(chain.recipe(place).sha256)
        assert chain.stored(place).stat().st_size < 0.8 * len(chain.files[place])
    with parts.database.read() as session:
        lengths = chain_lengths(session, chain.ids)
    assert [lengths[version] for version in chain.ids] == list(range(10))


@on_sqlite
@pytest.mark.parametrize("place", [1, 3])
def test_a_damaged_delta_gives_one_sentence_and_no_file(chain: Chain, place: int) -> None:
    file = chain.stored(place)
    content = bytearray(file.read_bytes())
    content[-3] ^= 0x55
    file.write_bytes(content)
    number = place + 2  # version 1 is the model's own
    with pytest.raises(DamagedWeights, match=f"^the stored delta of version {number} is damaged$"):
        chain.read(3)
    assert chain.cached() == []
    assert chain.read(0) == chain.files[0]
    file.unlink()
    with pytest.raises(DamagedWeights, match=f"^the stored delta of version {number} is missing$"):
        chain.read(3)


@on_sqlite
def test_the_delta_of_another_version_is_refused(chain: Chain) -> None:
    shutil.copy(chain.stored(1), chain.stored(2))
    with pytest.raises(DamagedWeights, match=r"^the stored delta of version 4 is damaged$"):
        chain.read(2)
    with chain.parts.database.write() as session, session.begin():
        session.get_one(Version, chain.ids[1]).weights_sha256 = "0" * 64
    with pytest.raises(DamagedWeights, match="version 3 belongs to other weights"):
        chain.read(1)


@on_sqlite
def test_a_damaged_file_at_the_chains_beginning_is_named(chain: Chain) -> None:
    file = chain.stored(0)
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(DamagedWeights, match="the weights of version 2 were damaged in storage"):
        chain.read(3)


@on_sqlite
def test_a_damaged_copy_in_the_cache_is_made_anew(chain: Chain, tmp_path: Path) -> None:
    for place in (2, 3):
        chain.read(place)
    for file in chain.cached():
        file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    found = chain.parts.weights.provide(chain.recipe(3), tmp_path, "weights")
    assert found.read_bytes() == chain.files[3]
    assert chain.read(3) == chain.files[3]


@on_sqlite
def test_a_cached_file_of_another_length_is_not_served(chain: Chain) -> None:
    chain.read(2)
    (file,) = chain.cached()
    file.write_bytes(file.read_bytes()[:-1])
    length = len(chain.files[2])
    with pytest.raises(DamagedWeights, match=f"have {length - 1} bytes instead of {length}"):
        chain.read(2)


@on_sqlite
def test_many_ask_at_once_while_files_are_restored_and_evicted(chain: Chain) -> None:
    small = len(chain.files[0]) + 1  # the cache holds one file
    settings = chain.parts.settings.model_copy(update={"restored_cache_bytes": small})
    several = [Parts(settings) for _ in range(2)]  # as in several processes
    recipes = [chain.recipe(place) for place in range(4)]
    found: list[tuple[int, bytes]] = []

    def ask(weights: StoredWeights, place: int) -> None:
        with weights.open(recipes[place]) as stream:
            found.append((place, stream.read()))

    threads = [
        threading.Thread(target=ask, args=(several[n % 2].weights, n % 4)) for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for parts in several:
        parts.database.dispose()
    assert len(found) == 16
    assert all(content == chain.files[place] for place, content in found)
    assert len(chain.cached()) == 1


_KILLED = """
import os, signal, sys
import engine.delta
from pathlib import Path
from app.restored_cache import RestoredCache
from app.services.stored_weights import Delta, Recipe, StoredWeights
from app.storage import LocalStorage

calls = []
whole = engine.delta.decode

def decode(*given):
    calls.append(given)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*given)

engine.delta.decode = decode
root = Path(sys.argv[1])
weights = StoredWeights(LocalStorage(root), RestoredCache(root / "cache", 10**9))
weights.open(eval(sys.argv[2]))
"""


@on_sqlite
def test_a_kill_in_the_middle_leaves_nothing_half_written(chain: Chain) -> None:
    root = chain.parts.settings.storage
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(root), repr(chain.recipe(2))], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert chain.cached() == []
    assert list((root / "cache").glob("restoring-*"))  # to be removed after a day
    assert chain.read(2) == chain.files[2]


@on_sqlite
def test_a_delta_that_does_not_restore_its_child_is_not_kept(chain: Chain, tmp_path: Path) -> None:
    before = {path for path in chain.parts.settings.storage.rglob("*") if path.is_file()}
    delta = tmp_path / "delta"
    delta.write_bytes(chain.stored(3).read_bytes()[:-1])
    recipe = chain.recipe(2)
    sha256 = chain.recipe(3).sha256
    with pytest.raises(DamagedWeights, match="delta of the new version is damaged"):
        chain.parts.weights.keep_delta(recipe, delta, sha256, len(chain.files[3]))
    after = {path for path in chain.parts.settings.storage.rglob("*") if path.is_file()}
    assert {path.name for path in after - before if "lock-" not in path.name} == set()


def test_long_or_heavy_chains_get_no_further_delta(chain: Chain) -> None:
    size = len(chain.files[0])
    one, three = chain.recipe(1), chain.recipe(3)
    assert chain.recipe(0).room_for_delta(0.8, 8) == int(0.8 * size)
    assert chain.recipe(0).room_for_delta(0, 8) == 0
    assert one.room_for_delta(0.8, 2) == size - one.deltas[0].size < 0.8 * size
    assert one.room_for_delta(0.8, 1) == 0
    assert sum(delta.size for delta in three.deltas) > size
    assert three.room_for_delta(0.8, 8) == 0
