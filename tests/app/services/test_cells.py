import pytest
from sqlalchemy import select

from app.http import Parts
from app.schemas.deletion_requests import NewDeletionRequest
from app.services import cells, intake
from app.tables import DEFAULT_TENANT, Alias, ForgottenCell, Instance, Version
from carried_out import carry_out
from running_service import Registered


def forget(parts: Parts, model: Registered, **body: object) -> str:
    with parts.database.write() as session, session.begin():
        asked = NewDeletionRequest.model_validate({"model": model.name, **body})
        request = intake.receive(session, DEFAULT_TENANT, asked, "test").request
        return request.id


def in_service(parts: Parts) -> str:
    with parts.database.read() as session:
        return session.scalars(select(Alias.version_id)).one()


def names_forgotten(parts: Parts, version_id: str) -> set[tuple[str, str]]:
    with parts.database.read() as session:
        forgotten = cells.forgotten_in(session, version_id).subquery()
        rows = session.execute(
            select(Instance.instance_id, forgotten.c.task).join(
                forgotten, forgotten.c.instance_pk == Instance.pk
            )
        )
        return {(instance, task) for instance, task in rows}


def test_a_version_inherits_what_its_ancestors_forgot(parts: Parts, model: Registered) -> None:
    forget(parts, model, instances=["i-0"])
    carry_out(parts)
    second = in_service(parts)
    forget(parts, model, instances=["i-0", "i-1"], tasks=["parity"])
    carry_out(parts)
    third = in_service(parts)
    first_cells = {("i-0", "digit"), ("i-0", "parity")}
    assert names_forgotten(parts, model.version_id) == set()
    assert names_forgotten(parts, second) == first_cells
    assert names_forgotten(parts, third) == first_cells | {("i-1", "parity")}
    with parts.database.read() as session:
        line = cells.lineage(session, third)
        assert [version.id for version in line] == [model.version_id, second, third]


def test_a_rejected_version_leaves_its_siblings_untouched(parts: Parts, model: Registered) -> None:
    forget(parts, model, instances=["i-0"])
    carry_out(parts, "fail")
    assert in_service(parts) == model.version_id
    with parts.database.read() as session:
        rejected = session.scalars(select(Version.id).where(Version.state == "rejected")).one()
    assert names_forgotten(parts, rejected) == {("i-0", "digit"), ("i-0", "parity")}
    assert names_forgotten(parts, model.version_id) == set()


def test_manifest_lines_tell_what_is_still_taught(
    parts: Parts, model: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(parts, model, instances=["i-3"], tasks=["digit"])
    carry_out(parts)
    monkeypatch.setattr(cells, "CHUNK", 4)
    with parts.database.read() as session:
        lines = list(cells.manifest_lines(session, in_service(parts)))
    assert [line.id for line in lines] == list(model.instances)
    assert (lines[3].tasks, lines[3].forgotten) == (("parity",), ("digit",))
    assert (lines[4].tasks, lines[4].forgotten) == (("digit", "parity"), ())
    assert lines[4].subject == "s-4"


def test_cells_that_were_never_taught_are_not_recorded(parts: Parts, model: Registered) -> None:
    with parts.database.write() as session, session.begin():
        teaches_one = session.scalars(select(Instance).where(Instance.instance_id == "i-0")).one()
        teaches_one.tasks = ["digit"]
    forget(parts, model, instances=["i-0", "i-1"])
    carry_out(parts)
    with parts.database.read() as session:
        assert len(session.scalars(select(ForgottenCell.task)).all()) == 3
