"""What a deletion request's POST is measured against: FastAPI, SQLAlchemy and one INSERT.

The same body, checked by the same schema, becomes the same row of the same table, through the
same engine with the same settings, on FastAPI's own pool of threads. No key is asked for, nothing
is looked up, told to a ledger, queued or remembered.
"""

import os

from fastapi import FastAPI
from sqlalchemy import select

from app.db import Database, database_now
from app.deadlines import add_months
from app.ids import new_id
from app.schemas.deletion_requests import NewDeletionRequest
from app.states import RequestState
from app.tables import DeletionRequest, Version

FACTORY = "benchmarks.service.bare:create_app"


def create_app() -> FastAPI:
    """The bare application, on the database that the environment names."""
    app = FastAPI()
    database = Database(os.environ["EXPUNGE_DATABASE_URL"])
    with database.read() as session:
        version = session.scalars(select(Version)).first()
        assert version is not None
        now = database_now(session)

    @app.post("/v1/deletion-requests", status_code=202)
    def create(body: NewDeletionRequest) -> dict[str, str]:
        received = body.received_at or now
        row = DeletionRequest(
            id=new_id("req"),
            tenant_id=version.tenant_id,
            model_id=version.model_id,
            root_id=version.id,
            state=RequestState.QUEUED,
            scope="full",
            tasks=["digit", "parity"],
            subjects=body.subjects,
            instance_count=len(body.instances),
            unknown_instances=[],
            reason=body.reason,
            external_id=body.external_id,
            priority=body.priority,
            received_at=received,
            due_at=body.due_at or add_months(received, 1),
            exceptions=[],
            created_by="bare",
            created_at=received,
            updated_at=received,
        )
        with database.write() as session, session.begin():
            session.add(row)
        return {"id": row.id, "state": row.state}

    return app
