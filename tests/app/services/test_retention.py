"""A version's file goes, and nothing that rested on it is lost."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app import ledger_check
from app.db import database_now
from app.http import Parts
from app.problems import Conflict, Unavailable
from app.services.registration import Upload, register
from app.services.retention import purge, purge_due, purge_version, store_whole
from app.services.stored_weights import DamagedWeights, chain_lengths, recipe_of
from app.services.transitions import move_version
from app.states import IllegalTransition, JobState, VersionState
from app.storage import LocalStorage
from app.tables import DEFAULT_TENANT, Alias, Job, LedgerEvent, Model, Version
from delta_chain import add_children, add_root, chain_of_files
from running_service import Registered

FILES = chain_of_files(4)
Change = Callable[[Version], None]


@pytest.fixture
def ids(parts: Parts, model: Registered) -> list[str]:
    """A superseded whole version and three descendants, each a delta of the one before."""
    with parts.database.write() as session, session.begin():
        first = session.get_one(Version, model.version_id)
        root = add_root(session, parts.weights, first, FILES[0])
        line = [root, *add_children(session, parts.weights, root, FILES[1:])]
        for version in line[:-1]:
            version.state = VersionState.SUPERSEDED
        return [version.id for version in line]


def purged(parts: Parts, version_id: str) -> None:
    purge_version(parts.database, parts.weights, version_id, "test")


def content(parts: Parts, version_id: str) -> bytes:
    for file in parts.settings.restored_cache.glob("[0-9a-f]" * 64):
        file.unlink()
    with parts.database.read() as session:
        recipe = recipe_of(session, session.get_one(Version, version_id))
    with parts.weights.open(recipe) as stream:
        return stream.read()


@pytest.mark.parametrize("place", [0, 1])
def test_what_rests_on_a_purged_version_is_stored_whole_first(
    parts: Parts, ids: list[str], place: int
) -> None:
    purged(parts, ids[place])
    for other in {0, 1, 2, 3} - {place}:
        assert content(parts, ids[other]) == FILES[other]
    with parts.database.read() as session:
        gone = session.get_one(Version, ids[place])
        lengths = chain_lengths(session, ids)
        kinds = session.scalars(select(LedgerEvent.kind).order_by(LedgerEvent.seq)).all()
        assert ledger_check.verify(session, DEFAULT_TENANT) is None
    assert gone.state == VersionState.PURGED
    assert not parts.storage.exists(gone.delta_sha256 or gone.weights_sha256)
    expected = {0: [0, 0, 1, 2], 1: [0, 1, 0, 1]}
    assert [lengths[version] for version in ids] == expected[place]
    assert kinds[-3:] == ["version.stored_whole", "version.purged", "version.files_removed"]


def test_a_purge_that_was_interrupted_is_finished_by_another(parts: Parts, ids: list[str]) -> None:
    with parts.database.write() as session, session.begin():
        version = session.get_one(Version, ids[0])
        purge(session, parts.weights, version, "test")
    assert parts.storage.exists(version.weights_sha256)
    purged(parts, ids[0])
    assert not parts.storage.exists(version.weights_sha256)


def test_a_file_that_another_version_has_too_stays(parts: Parts, ids: list[str]) -> None:
    with parts.database.write() as session, session.begin():
        twin = add_root(session, parts.weights, session.get_one(Version, ids[0]), FILES[0]).id
    purged(parts, ids[0])
    assert content(parts, twin) == FILES[0]


def test_a_version_in_service_or_under_an_alias_is_not_purged(
    parts: Parts, model: Registered, ids: list[str]
) -> None:
    with pytest.raises(IllegalTransition, match="is verified and cannot become purged"):
        purged(parts, ids[3])
    with parts.database.write() as session, session.begin():
        now = session.get_one(Version, ids[1]).created_at
        alias = {"model_id": model.model_id, "name": "candidate", "moved_at": now}
        session.add(Alias(version_id=ids[1], **alias))
    with pytest.raises(Conflict, match="the alias 'candidate' names it"):
        purged(parts, ids[1])
    assert content(parts, ids[1]) == FILES[1]


def test_a_version_that_a_job_starts_from_is_not_purged(
    parts: Parts, model: Registered, ids: list[str]
) -> None:
    with parts.database.write() as session, session.begin():
        now = session.get_one(Version, ids[1]).created_at
        session.add(
            Job(
                id="job_1",
                tenant_id=DEFAULT_TENANT,
                model_id=model.model_id,
                kind="unlearn",
                state=JobState.RUNNING,
                parent_version_id=ids[1],
                not_before=now,
                seed=0,
                created_at=now,
            )
        )
    with pytest.raises(Conflict, match="a running job starts from it"):
        purged(parts, ids[1])


def test_nothing_is_given_up_where_a_child_cannot_be_restored(parts: Parts, ids: list[str]) -> None:
    with parts.database.read() as session:
        delta = session.get_one(Version, ids[1]).delta_sha256
    parts.weights.storage.delete(str(delta))
    content_of_root = content(parts, ids[0])
    with pytest.raises(DamagedWeights, match="the stored delta of version 3 is missing"):
        purged(parts, ids[0])
    assert content(parts, ids[0]) == content_of_root


def retire(parts: Parts, version_id: str, days: float) -> None:
    """Let a version have been superseded so many days ago."""
    with parts.database.write() as session, session.begin():
        version = session.get_one(Version, version_id)
        version.retired_at = database_now(session) - timedelta(days=days)


def set_policy(parts: Parts, model: Registered, **members: Any) -> None:
    with parts.database.write() as session, session.begin():
        row = session.get_one(Model, model.model_id)
        row.policy = {**row.policy, **members}


def states(parts: Parts, ids: list[str]) -> list[str]:
    with parts.database.read() as session:
        return [session.get_one(Version, version_id).state for version_id in ids]


def test_what_was_retired_longer_ago_than_the_policy_keeps_it_is_purged(
    parts: Parts, model: Registered, ids: list[str]
) -> None:
    for version_id, days in zip(ids, (31, 29, 31), strict=False):
        retire(parts, version_id, days)
    with parts.database.write() as session, session.begin():
        at = database_now(session)
        session.add(Alias(model_id=model.model_id, name="kept", version_id=ids[2], moved_at=at))
    assert purge_due(parts.database, parts.weights) == 1
    assert states(parts, ids) == ["purged", "superseded", "superseded", "verified"]
    assert purge_due(parts.database, parts.weights) == 0
    set_policy(parts, model, purge_after_days=0)
    assert purge_due(parts.database, parts.weights) == 1
    assert content(parts, ids[2]) == FILES[2]
    with parts.database.read() as session:
        bodies = session.scalars(
            select(LedgerEvent.body).where(LedgerEvent.kind == "version.purged")
        ).all()
        sha256 = session.get_one(Version, ids[0]).weights_sha256
        assert ledger_check.verify(session, DEFAULT_TENANT) is None
    assert json.loads(bodies[0])["payload"] == {
        "from": "superseded",
        "reason": "30 days after it was superseded",
        "sha256": sha256,
    }


def test_without_a_delay_nothing_is_purged_by_itself(
    parts: Parts, model: Registered, ids: list[str]
) -> None:
    set_policy(parts, model, purge_after_days=None)
    retire(parts, ids[0], 9999)
    assert purge_due(parts.database, parts.weights) == 0
    assert content(parts, ids[0]) == FILES[0]


def test_a_delta_from_a_purged_file_goes_with_it(parts: Parts, ids: list[str]) -> None:
    with parts.database.read() as session:
        delta = str(session.get_one(Version, ids[1]).delta_sha256)
    assert parts.storage.exists(delta)
    purged(parts, ids[0])
    assert not parts.storage.exists(delta), "with the child's file it would give the purged one"
    assert content(parts, ids[3]) == FILES[3]


def test_what_an_interrupted_purge_left_is_deleted_by_the_sweep(
    parts: Parts, ids: list[str]
) -> None:
    with parts.database.write() as session, session.begin():
        purge(session, parts.weights, session.get_one(Version, ids[0]), "test")
    purge_due(parts.database, parts.weights)
    with parts.database.read() as session:
        version = session.get_one(Version, ids[0])
    assert version.files_removed_at is not None
    assert not parts.storage.exists(version.weights_sha256)


def test_one_version_that_cannot_be_given_up_does_not_stop_the_others(
    parts: Parts, model: Registered, ids: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    set_policy(parts, model, purge_after_days=0)
    for version_id in (ids[0], ids[2]):
        retire(parts, version_id, 1)
    with parts.database.read() as session:
        delta = str(session.get_one(Version, ids[1]).delta_sha256)
    content(parts, ids[3])
    with parts.database.write() as session, session.begin():
        store_whole(session, parts.weights, session.get_one(Version, ids[2]), "test")
    parts.weights.storage.delete(delta)
    for file in parts.settings.restored_cache.glob("[0-9a-f]" * 64):
        file.unlink()
    assert purge_due(parts.database, parts.weights) == 1
    assert states(parts, ids) == ["superseded", "superseded", "purged", "verified"]
    assert "the stored delta of version 3 is missing" in caplog.text


def test_a_version_knows_when_it_went_out_of_service(parts: Parts, ids: list[str]) -> None:
    with parts.database.write() as session, session.begin():
        version = session.get_one(Version, ids[3])
        move_version(session, version, VersionState.SUPERSEDED, actor="test")
        assert version.retired_at is not None
        move_version(session, version, VersionState.VERIFIED, actor="test")
        assert version.retired_at is None


def test_a_version_can_be_stored_whole(parts: Parts, ids: list[str]) -> None:
    with parts.database.write() as session, session.begin():
        version = session.get_one(Version, ids[2])
        delta = str(version.delta_sha256)
        store_whole(session, parts.weights, version, "test")
    parts.weights.forget(delta)
    assert parts.storage.path(version.weights_sha256).read_bytes() == FILES[2]
    assert content(parts, ids[3]) == FILES[3]


def test_an_upload_of_what_is_being_purged_is_to_be_sent_again(
    parts: Parts, model: Registered, ids: list[str], tmp_path: Path
) -> None:
    class Late(LocalStorage):
        """A purge comes between an upload's file and its row."""

        def adopt(self, file: Path, sha256: str) -> None:
            super().adopt(file, sha256)
            purged(parts, ids[0])

    (tmp_path / "weights").write_bytes(FILES[0])
    (tmp_path / "manifest").write_text("")
    sha256 = hashlib.sha256(FILES[0]).hexdigest()
    upload = Upload(
        weights=tmp_path / "weights",
        weights_sha256=sha256,
        weights_size=len(FILES[0]),
        manifest=tmp_path / "manifest",
        manifest_sha256="0" * 64,
        training_seconds=None,
        parent=None,
    )
    storage = Late(parts.settings.storage)
    with parts.database.read() as session:
        row = session.get_one(Model, model.model_id)
        with pytest.raises(Unavailable, match="send it once more"):
            register(session, storage, row, upload, 0, "test")
