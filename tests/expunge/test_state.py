import stat
from pathlib import Path

import pytest

from expunge.errors import ExpungeError
from expunge.state import Connection, in_use, locked, read_connection, write_connection


def test_a_connection_is_kept_for_the_owner_alone(tmp_path: Path) -> None:
    connection = Connection("http://127.0.0.1:8000", "exp_secret")
    file = write_connection(tmp_path, connection)
    assert read_connection(tmp_path) == connection
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    write_connection(tmp_path, connection)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_no_connection_is_known_in_an_empty_folder(tmp_path: Path) -> None:
    assert read_connection(tmp_path) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"url": "x"}'])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "client.json").write_text(content)
    with pytest.raises(ExpungeError, match=r"client\.json"):
        read_connection(tmp_path)


def test_a_state_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    assert not in_use(tmp_path)
    with locked(tmp_path):
        assert in_use(tmp_path)
        with pytest.raises(ExpungeError, match="already runs"), locked(tmp_path):
            pass
    assert not in_use(tmp_path)
    with locked(tmp_path):
        pass
