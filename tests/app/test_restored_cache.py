"""The folder of restored files: bounded, shared, and safe to lose."""

import hashlib
import os
import threading
from pathlib import Path

import pytest

from app.restored_cache import RestoredCache


def _put(cache: RestoredCache, content: bytes) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    with cache.workspace() as folder:
        file = Path(folder) / "file"
        file.write_bytes(content)
        cache.adopt(file, sha256)
    return sha256


def _age(folder: Path, sha256: str, seconds: int) -> None:
    """As if it had last been used so long ago."""
    used = (folder / sha256).stat().st_mtime - seconds
    os.utime(folder / sha256, (used, used))


def test_what_was_used_least_recently_goes_first(tmp_path: Path) -> None:
    cache = RestoredCache(tmp_path, max_bytes=25)
    first, second = _put(cache, b"a" * 10), _put(cache, b"b" * 10)
    _age(tmp_path, first, 200)
    _age(tmp_path, second, 100)
    stream = cache.open(first)  # which is a use
    assert stream is not None
    with stream:
        assert stream.read() == b"a" * 10
    third = _put(cache, b"c" * 10)
    assert [(tmp_path / sha256).exists() for sha256 in (first, second, third)] == [
        True,
        False,
        True,
    ]
    assert cache.open(second) is None


def test_the_newest_stays_even_where_it_alone_is_too_much(tmp_path: Path) -> None:
    cache = RestoredCache(tmp_path, max_bytes=5)
    first = _put(cache, b"a" * 10)
    second = _put(cache, b"b" * 10)
    assert [(tmp_path / sha256).exists() for sha256 in (first, second)] == [False, True]


def test_who_has_a_file_keeps_it(tmp_path: Path) -> None:
    cache = RestoredCache(tmp_path / "cache", max_bytes=100)
    sha256 = _put(cache, b"content")
    stream = cache.open(sha256)
    assert stream is not None
    assert cache.link(sha256, tmp_path / "mine")
    cache.discard(sha256)
    cache.discard(sha256)
    assert not (tmp_path / "cache" / sha256).exists()
    with stream:
        assert stream.read() == b"content"
    assert (tmp_path / "mine").read_bytes() == b"content"
    assert not cache.link(sha256, tmp_path / "another")


def test_a_file_system_without_links_gets_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = RestoredCache(tmp_path / "cache", max_bytes=100)
    sha256 = _put(cache, b"content")

    def refuse(_source: Path, _target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    assert cache.link(sha256, tmp_path / "mine")
    assert (tmp_path / "mine").read_bytes() == b"content"
    assert not cache.link("0" * 64, tmp_path / "another")


def test_what_a_killed_process_left_is_removed_after_a_day(tmp_path: Path) -> None:
    cache = RestoredCache(tmp_path, max_bytes=100)
    for name, age in (("restoring-old", 90000), ("restoring-new", 0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_bytes(b"x")
        made = (tmp_path / name).stat().st_mtime - age
        os.utime(tmp_path / name, (made, made))
    _put(cache, b"content")
    assert not (tmp_path / "restoring-old").exists()
    assert (tmp_path / "restoring-new").exists()


def test_one_at_a_time_is_in_for_a_file(tmp_path: Path) -> None:
    cache, sha256 = RestoredCache(tmp_path, max_bytes=100), "ab" * 32
    inside, most = [], []

    def enter() -> None:
        with cache.alone(sha256):
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8


@pytest.mark.parametrize("name", ["", "../x", "AB" * 32, "lock-ab"])
def test_only_digests_name_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is not a sha256"):
        RestoredCache(tmp_path, 1).open(name)
