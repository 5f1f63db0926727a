"""An upgrade seals what came before seals, and hides nothing."""

from sqlalchemy import text

from app import ledger, ledger_check
from app.http import Parts
from app.services import adoption
from app.tables import DEFAULT_TENANT
from running_service import Registered


def _problem(parts: Parts) -> str | None:
    with parts.database.read() as session:
        return ledger_check.verify(session, DEFAULT_TENANT)


def _run(parts: Parts, *statements: str) -> None:
    with parts.database.write() as session, session.begin():
        for statement in statements:
            session.execute(text(statement))


def test_rows_without_a_seal_are_taken_up_once(parts: Parts, model: Registered) -> None:
    _run(
        parts,
        "DELETE FROM ledger_seals",
        "DELETE FROM ledger_events",
        "DELETE FROM subject_keys",
        f"UPDATE ledger_heads SET seq = 0, hash = '{ledger.GENESIS}', seal_key = NULL",
    )
    assert "no event tells of it" in str(_problem(parts))
    # model, version, alias, and the sets of the version: its instances
    assert list(adoption.adopt(parts.database, "0001")) == [(DEFAULT_TENANT, 4)]
    assert _problem(parts) is None
    assert list(adoption.adopt(parts.database, "0001")) == []


def test_what_was_sealed_stays_sealed(parts: Parts, model: Registered) -> None:
    _run(parts, "UPDATE models SET workload = 'another'")
    before = _problem(parts)
    assert before == f"models {model.model_id}: workload was changed: it is not what the ledger" + (
        " sealed"
    )
    assert list(adoption.adopt(parts.database, "0001")) == []
    assert _problem(parts) == before
