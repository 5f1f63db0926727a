"""The youngest version that never saw what is to be forgotten."""

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.http import Parts
from app.schemas.deletion_requests import NewDeletionRequest
from app.services.ancestry import ancestor_of
from app.services.intake import receive
from app.states import VersionState
from app.tables import DEFAULT_TENANT, ForgottenCell, Instance, Job, Version
from delta_chain import add_root, chain_of_files
from running_service import Registered


def line(session: Session, parts: Parts, model: Registered, *manifests: str) -> list[Version]:
    """Roots with these instances (`0 3` is `i-0` and `i-3`), the model's version behind them."""
    last = session.get_one(Version, model.version_id)
    last.number = len(manifests) + 1
    session.flush()
    made: list[Version] = []
    for place, names in enumerate(manifests):
        root = add_root(session, parts.weights, last, chain_of_files(1, seed=place)[0])
        root.number = place + 1
        root.parent_id = made[-1].id if made else None
        made.append(root)
        session.add_all(
            Instance(root_id=root.id, instance_id=f"i-{name}", tasks=["digit"])
            for name in names.split()
        )
        session.flush()
    last.parent_id = made[-1].id if made else None
    session.flush()
    return made


def ancestor(session: Session, model: Registered, *instances: str, task: str = "digit") -> object:
    body = NewDeletionRequest(model="digits-model", instances=list(instances), tasks=[task])
    request = receive(session, DEFAULT_TENANT, body, "test").request
    job = session.scalars(select(Job)).one()
    assert request.state == "queued"
    return ancestor_of(session, job, session.get_one(Version, model.version_id))


def test_a_version_without_an_earlier_checkpoint_has_none(parts: Parts, model: Registered) -> None:
    with parts.database.write() as session:
        assert ancestor(session, model, "i-0") is None


def test_it_is_the_last_one_before_the_instance_came_in(parts: Parts, model: Registered) -> None:
    with parts.database.write() as session:
        roots = line(session, parts, model, "5", "5 6", "5 6 0")
        assert ancestor(session, model, "i-0") is roots[1]


def test_a_task_that_an_ancestor_was_not_taught_does_not_count(
    parts: Parts, model: Registered
) -> None:
    with parts.database.write() as session:
        roots = line(session, parts, model, "0")
        assert ancestor(session, model, "i-0", task="parity") is roots[0]


def test_what_an_ancestor_saw_its_descendants_have_seen(parts: Parts, model: Registered) -> None:
    with parts.database.write() as session:
        line(session, parts, model, "0", "5")
        assert ancestor(session, model, "i-0") is None


def test_a_purged_one_cannot_be_gone_back_to(parts: Parts, model: Registered) -> None:
    with parts.database.write() as session:
        roots = line(session, parts, model, "5", "5 6")
        roots[1].state = VersionState.PURGED
        assert ancestor(session, model, "i-0") is roots[0]


def test_what_was_forgotten_since_does_not_come_back(parts: Parts, model: Registered) -> None:
    with parts.database.write() as session:
        roots = line(session, parts, model, "5", "5 6")
        earlier = receive(
            session,
            DEFAULT_TENANT,
            NewDeletionRequest(model="digits-model", instances=["i-6"]),
            "test",
        ).request
        pk = session.scalars(
            select(Instance.pk).where(
                Instance.root_id == model.version_id, Instance.instance_id == "i-6"
            )
        ).one()
        cell = {"version_id": model.version_id, "instance_pk": pk, "task": "digit"}
        session.execute(insert(ForgottenCell), [{**cell, "request_id": earlier.id}])
        assert ancestor(session, model, "i-0") is roots[0]
