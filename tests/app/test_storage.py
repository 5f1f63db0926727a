"""Content-addressed files."""

import hashlib
import io
from pathlib import Path

import pytest

from app.storage import LocalStorage

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "files")


def test_what_is_put_is_found_under_its_digest(storage: LocalStorage, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    assert storage.put(source) == (SHA256, len(CONTENT))
    assert storage.put(io.BytesIO(CONTENT)) == (SHA256, len(CONTENT))
    assert source.exists()
    with storage.open(SHA256) as stream:
        assert stream.read() == CONTENT
    assert storage.path(SHA256).read_bytes() == CONTENT
    storage.delete(SHA256)
    storage.delete(SHA256)
    assert not storage.exists(SHA256)
    with pytest.raises(FileNotFoundError):
        storage.open(SHA256)


def test_a_workspace_leaves_nothing_behind(storage: LocalStorage, tmp_path: Path) -> None:
    def fill() -> None:
        with storage.workspace() as folder:
            (folder / "half").write_bytes(b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert list((tmp_path / "files" / "incoming").iterdir()) == []


def test_a_source_that_fails_leaves_nothing_behind(storage: LocalStorage, tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        storage.put(Broken())
    assert [p for p in (tmp_path / "files").rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "0" * 63, "G" * 64, "0" * 64 + "\n"])
def test_only_digests_name_files(storage: LocalStorage, name: str) -> None:
    with pytest.raises(ValueError, match="is not a sha256"):
        storage.path(name)
