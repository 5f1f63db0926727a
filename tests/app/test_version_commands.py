"""`python -m app versions`, as it is typed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.http import Parts
from app.settings import Settings
from app.states import VersionState
from app.tables import Version
from delta_chain import add_children, add_root, chain_of_files
from running_service import register_model

FILES = chain_of_files(3)


@pytest.fixture
def parts(tmp_path: Path, sqlite_database_url: str) -> Iterator[Parts]:
    """A model whose version 2 is whole and superseded, 3 and 4 being deltas behind it."""
    made = Parts(Settings(state_dir=tmp_path / "state", database_url=sqlite_database_url))
    with made.database.write() as session, session.begin():
        first = session.get_one(Version, register_model(session, made.storage).version_id)
        root = add_root(session, made.weights, first, FILES[0])
        add_children(session, made.weights, root, FILES[1:])
        root.state = VersionState.SUPERSEDED
    yield made
    made.database.dispose()


def run(parts: Parts, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = parts.settings
    environment = os.environ | {
        "EXPUNGE_STATE_DIR": str(settings.state_dir),
        "EXPUNGE_DATABASE_URL": settings.database_url,
    }
    done = subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def stored(parts: Parts) -> list[Path]:
    """Every file in storage itself."""
    files = parts.settings.storage.rglob("[0-9a-f]" * 64)
    return [file for file in files if file.parent.name != "cache"]


def test_deltas_are_stored_whole_before_the_schema_goes_back(parts: Parts) -> None:
    refused = run(parts, "db", "downgrade", "0002")
    assert refused.returncode == 1
    assert refused.stderr.startswith("2 versions are stored as deltas, which the older schema")
    assert len(refused.stderr.splitlines()) == 1
    assert len(stored(parts)) == 4
    done = run(parts, "versions", "store-whole")
    assert done.stdout == "2 versions that were deltas are stored whole\n"
    assert len(stored(parts)) == 4
    assert {file.read_bytes() for file in stored(parts)} >= set(FILES)
    assert run(parts, "db", "downgrade", "0002").returncode == 0


def test_a_superseded_version_is_purged(parts: Parts) -> None:
    purge = ("versions", "purge", "--model", "digits-model", "--version")
    assert run(parts, *purge, "4").stderr.endswith("is verified and cannot become purged\n")
    assert "there is no version" in run(parts, *purge, "9").stderr
    assert run(parts, *purge, "2").stdout == "the weights of version 2 are gone\n"
    kept = {file.read_bytes() for file in stored(parts)}
    assert FILES[0] not in kept
    assert FILES[1] in kept
    assert run(parts, "check").returncode == 0
