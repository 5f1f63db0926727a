"""How a request ends whose own cells passed in a version that does not serve."""

from app.http import Parts
from app.schemas.deletion_requests import NewDeletionRequest
from app.services.intake import receive
from app.tables import DEFAULT_TENANT, DeletionRequest, Job
from carried_out import claim_next, finish, result_for
from engine.spec import AucChange, EarlierAudit, Interval
from running_service import Registered


def test_a_version_in_which_earlier_cells_came_back_says_so_in_the_requests_exceptions(
    parts: Parts, model: Registered
) -> None:
    body = NewDeletionRequest(model="digits-model", instances=["i-0"])
    with parts.database.write() as session, session.begin():
        request_id = receive(session, DEFAULT_TENANT, body, "test").request.id
    taken = claim_next(parts.database)
    near, far = (Interval(low=v - 0.05, value=v, high=v + 0.05) for v in (0.5, 0.7))
    come_back = EarlierAudit(
        task="parity",
        instances=200,
        auc=AucChange(before=near, after=far),
        verdict="fail",
        reason="They have come back.",
    )
    with parts.database.read() as session:
        request = session.get_one(DeletionRequest, request_id)
        passed = result_for(parts.storage, taken.job_id, [request], "pass").audit
    finish(
        parts,
        taken,
        audit=passed.model_copy(update={"verdict": "fail", "earlier": (come_back,)}),
    )
    with parts.database.read() as session:
        request = session.get_one(DeletionRequest, request_id)
        assert session.get_one(Job, taken.job_id).state == "succeeded"
        assert request.state == "completed_with_exceptions"
        assert {one["task"] for one in request.exceptions} == set(request.tasks)
        for one in request.exceptions:
            assert one["verdict"] == "fail"
            assert str(one["reason"]).endswith(
                "is not in service: what earlier requests had forgotten came back for: parity"
            )
