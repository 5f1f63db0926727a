"""`/v1/subjects/erase`: take a data subject's id out of the service's own records."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from sqlalchemy.orm import Session

from app.auth import Principal, Scope
from app.http import OperationDep, answer, requires
from app.schemas.subjects import ErasedSubject, SubjectErasure
from app.services.erasure import erase_subject

router = APIRouter(prefix="/v1/subjects", tags=["ledger"])

Admin = Annotated[Principal, Depends(requires(Scope.ADMIN))]


@router.post("/erase", response_model=ErasedSubject)
def erase(body: SubjectErasure, caller: Admin, operation: OperationDep) -> Response:
    """Replace a subject's id by its pseudonym in every row, and destroy the pseudonym's key.

    The ledger verifies as before. Afterwards nobody can find this subject's instances by its id
    any more: have them forgotten first. Backups keep the id until they are deleted.
    """

    def work(session: Session) -> Response:
        done = erase_subject(session, caller.tenant_id, body.subject, caller.name)
        return answer(
            ErasedSubject(
                pseudonym=done.pseudonym, instances=done.instances, requests=done.requests
            )
        )

    return operation.run(work)
