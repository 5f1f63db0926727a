"""A fallback carried out by real workers and the real engine: back to an earlier checkpoint."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import select

from app.db import database_now
from app.ids import new_id
from app.states import JobState, RequestState, VersionState
from app.tables import DEFAULT_TENANT, Audit, DeletionRequest, Instance, Job, Model, Version
from engine.checkpoint import write_weights
from engine.registry import load_workload

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
DONE = (RequestState.COMPLETED, RequestState.COMPLETED_WITH_EXCEPTIONS, RequestState.FAILED)
UNREACHABLE = {"auc_tolerance": 0.001}


def _checkpoint(world: Any, model_id: str, unseen: set[str], folder: Path) -> str:
    """Make an epoch of training without these instances the parent of the version in service."""
    with world.database.read() as session:
        model = session.get_one(Model, model_id)
        workload = load_workload(model.workload, model.workload_options)
        people = session.execute(select(Instance.instance_id, Instance.tasks)).all()
    train = workload.instances("train")
    taught = torch.tensor([name not in unseen for name in train.ids])
    torch.manual_seed(0)
    network = workload.build_model()
    workload.train(network, train, train.supervision & taught[:, None], 0, lambda *_: None)
    sha256, size = world.storage.put(write_weights(network.state_dict(), folder / "early").path)
    version_id = new_id("ver")
    with world.database.write() as session, session.begin():
        later = session.scalars(select(Version)).one()
        later.number = 2
        session.flush()
        session.add(
            Version(
                id=version_id,
                tenant_id=DEFAULT_TENANT,
                model_id=model_id,
                number=1,
                root_id=version_id,
                state=VersionState.SUPERSEDED,
                weights_sha256=sha256,
                weights_size=size,
                created_at=database_now(session),
            )
        )
        session.flush()
        session.add_all(
            Instance(root_id=version_id, instance_id=name, tasks=tasks)
            for name, tasks in people
            if name not in unseen
        )
        later.parent_id = version_id
    return version_id


@pytest.mark.slow
@on_sqlite
def test_a_version_that_does_not_pass_is_followed_by_a_rewind(
    world: Any, start: Any, trained: Path, tmp_path: Path
) -> None:
    model_id = world.digits(trained)
    with world.database.write() as session, session.begin():
        model = session.get_one(Model, model_id)
        model.policy = {**model.policy, "fallback": "rewind", "thresholds": UNREACHABLE}
    lines = (trained / "manifest.jsonl").read_text().splitlines()[:40]
    asked = [json.loads(line)["id"] for line in lines]
    _checkpoint(world, model_id, set(asked), tmp_path)
    name = world.request(model_id, asked)
    start()

    def over() -> DeletionRequest | None:
        row: DeletionRequest = world.get(DeletionRequest, name)
        return row if row.state in DONE else None

    row = world.until(over, 240)
    assert row.state != RequestState.FAILED, row.state_reason
    first, second = world.all(select(Job).order_by(Job.created_at))
    assert (first.method, second.method) == ("interference_aware", "rewind")
    assert second.state == JobState.SUCCEEDED
    assert second.fallback_of == first.id
    made = world.all(select(Version).order_by(Version.number))[-1]
    assert (made.method, made.number) == ("rewind", 4)
    audit = world.all(select(Audit).where(Audit.version_id == made.id))[0]
    assert audit.settings["share_of_recipe"] > 0
    assert row.version_id == made.id
    assert world.ledger_problem() is None
