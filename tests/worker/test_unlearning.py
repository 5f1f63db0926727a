"""Unlearning jobs of the real engine, from a queued request to a signed receipt."""

import hashlib
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from app.http import Parts
from app.services.stored_weights import recipe_of
from app.states import RequestState, VersionState
from app.tables import Attempt, Audit, DeletionRequest, ForgottenCell, LedgerEvent, Receipt, Version

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
DONE = (RequestState.COMPLETED, RequestState.COMPLETED_WITH_EXCEPTIONS)


def names(trained: Path, start: int, end: int) -> list[str]:
    lines = (trained / "manifest.jsonl").read_text().splitlines()[start:end]
    return [json.loads(line)["id"] for line in lines]


def done(world: Any, request: str) -> DeletionRequest:
    def look() -> DeletionRequest | None:
        row: DeletionRequest = world.get(DeletionRequest, request)
        assert row.state != RequestState.FAILED, row.state_reason
        return row if row.state in DONE else None

    row: DeletionRequest = world.until(look)
    return row


def restored(world: Any, version: Version) -> str:
    """The digest of the version's file, made from what is stored alone."""
    shutil.rmtree(world.settings.restored_cache)
    parts = Parts(world.settings)
    with parts.database.read() as session:
        recipe = recipe_of(session, session.get_one(Version, version.id))
    with parts.weights.open(recipe) as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    parts.database.dispose()
    return digest


@on_sqlite
def test_two_requests_share_a_run_and_each_gets_a_receipt(
    world: Any, start: Any, trained: Path
) -> None:
    model = world.digits(trained)
    full = world.request(model, names(trained, 0, 30))
    part = world.request(model, names(trained, 30, 50), tasks=("digit",))
    start(delta_max_share=1)
    rows = [done(world, full), done(world, part)]
    assert rows[0].version_id == rows[1].version_id
    version = world.get(Version, rows[0].version_id)
    assert version.number == 2
    assert version.state != VersionState.PURGED
    assert version.base_version_id == version.parent_id
    stored = world.storage.path(version.delta_sha256)
    assert stored.stat().st_size == version.delta_size < version.weights_size
    assert not world.storage.exists(version.weights_sha256)
    assert restored(world, version) == version.weights_sha256
    assert world.all(select(func.count()).select_from(ForgottenCell)) == [30 * 3 + 20]
    assert len(world.all(select(Receipt.id))) == 2
    told = set(world.all(select(LedgerEvent.kind)))
    assert {"job.leased", "job.running", "request.verifying", "version.staged"} <= told
    job = world.job_of(full)
    assert job.cost["training_seconds"] == 10
    assert job.cost["gradient_evaluations"] > 0
    assert world.ledger_problem() is None


@pytest.mark.slow
@on_sqlite
def test_a_job_may_be_shared_by_several_processes(world: Any, start: Any, trained: Path) -> None:
    model = world.digits(trained)
    request = world.request(model, names(trained, 0, 30))
    start(engine_processes=2)
    row = done(world, request)
    version = world.get(Version, row.version_id)
    assert restored(world, version) == version.weights_sha256
    assert world.all(select(Attempt.outcome)) == ["succeeded"]


@on_sqlite
def test_a_later_request_starts_from_what_is_in_service(
    world: Any, start: Any, trained: Path
) -> None:
    model = world.digits(trained)
    start()
    first = done(world, world.request(model, names(trained, 0, 20)))
    second = done(world, world.request(model, names(trained, 20, 40)))
    made = world.get(Version, first.version_id)
    in_service = made.id if made.state == VersionState.SUPERSEDED else made.root_id
    last = world.get(Version, second.version_id)
    assert last.parent_id == in_service
    assert restored(world, last) == last.weights_sha256


def test_a_worker_killed_in_the_middle_costs_an_attempt_and_no_second_version(
    world: Any, start: Any, trained: Path
) -> None:
    model = world.digits(trained, steps=600)
    request = world.request(model, names(trained, 0, 30))
    first = start(state_every_steps=20)
    state = world.state_dir / "resume" / f"{world.job_of(request).id}.safetensors"
    world.until(state.exists)
    first.signal(signal.SIGKILL)
    first.wait()
    start()
    row = done(world, request)
    assert world.all(select(Version.number).order_by(Version.number)) == [1, 2]
    assert world.get(Version, row.version_id).job_id == world.job_of(request).id
    assert world.all(select(Attempt.outcome).order_by(Attempt.fence)) == ["lost", "succeeded"]
    assert len(world.all(select(Receipt.id))) == 1
    # The second attempt went on from where the first one was; nothing of that is left.
    (settings,) = world.all(select(Audit.settings))
    assert settings["resumed_at_step"] >= 20
    world.until(lambda: not state.exists())
    assert world.ledger_problem() is None


@on_sqlite
def test_weights_corrupted_at_rest_fail_the_job_and_say_so(
    world: Any, start: Any, trained: Path
) -> None:
    model = world.digits(trained)
    request = world.request(model, names(trained, 0, 30))
    root = world.all(select(Version))[0]
    path = world.storage.path(root.weights_sha256)
    path.chmod(0o600)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    start(max_attempts=2)
    row = world.until(
        lambda: (r := world.get(DeletionRequest, request)).state == RequestState.FAILED and r
    )
    assert "the weights of version 1 were damaged in storage" in row.state_reason
    assert world.all(select(Version.number)) == [1]
