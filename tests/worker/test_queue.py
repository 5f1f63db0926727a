"""The database side of a job, on both databases."""

import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update

from app.db import database_now
from app.ids import new_id
from app.services import completion, execution
from app.services.attempts import Claim, Fenced
from app.services.cancellation import cancel_job
from app.services.claiming import claim
from app.services.execution import Order
from app.states import JobState, RequestState, VersionState
from app.tables import (
    DEFAULT_TENANT,
    Alias,
    Attempt,
    Audit,
    DeletionRequest,
    ForgottenCell,
    Job,
    JobRequest,
    Model,
    OutboxMessage,
    Receipt,
    Version,
)
from engine.spec import Progress, WorkloadDescription

TASKS = ("digit", "parity", "magnitude")


def take(world: Any, worker: str = "w1", lease: float = 60, **more: Any) -> Claim | None:
    with world.database.write() as session, session.begin():
        return claim(session, worker, lease, **more)


def write(world: Any, change: Any, *arguments: Any, **more: Any) -> Any:
    with world.database.write() as session, session.begin():
        return change(session, *arguments, **more)


def succeed(world: Any, held: Claim, *requests: str, **more: Any) -> Version | None:
    result = world.result(held.job_id, list(requests), **more)
    version: Version | None = write(
        world, completion.succeed, held, result, world.storage, world.signer
    )
    return version


def progress(phase: Any) -> Progress:
    return Progress(phase=phase, step=1, of=2)


def test_the_larger_priority_goes_first_then_the_earlier_deadline(world: Any) -> None:
    wanted = []
    for priority, days in (("high", 19), ("normal", 13), ("normal", 15), ("low", 11)):
        model = world.model()
        world.version(model)
        wanted.append(world.request(model, ["i0"], priority=priority, due_in_days=days))
    jobs = [world.job_of(request).id for request in wanted]
    assert [take(world).job_id for _ in jobs] == jobs  # type: ignore[union-attr]
    assert take(world) is None


def test_a_job_waits_for_its_time_and_for_the_other_job_of_its_model(world: Any) -> None:
    model = world.model(policy={"window_seconds": 3600})
    world.version(model)
    request = world.request(model, ["i0"])
    assert take(world) is None
    write(world, lambda s: s.execute(update(Job).values(not_before=database_now(s))))
    held = take(world)
    assert held is not None
    second = world.request(model, ["i1"])
    assert world.job_of(second).id != held.job_id
    write(world, lambda s: s.execute(update(Job).values(not_before=database_now(s))))
    assert take(world) is None
    succeed(world, held, request)
    assert take(world).job_id == world.job_of(second).id  # type: ignore[union-attr]


def test_a_worker_takes_only_jobs_of_workloads_that_it_has(world: Any) -> None:
    world.describe(world.model("scenes"))
    assert take(world, workloads=("digits",)) is None
    assert take(world, workloads=("digits", "scenes")) is not None


def test_claims_from_many_threads_never_share_a_job_or_a_model(world: Any) -> None:
    models = [world.model() for _ in range(6)]
    for model in models:
        world.describe(model)
        world.describe(model)
    claims: list[Claim] = []
    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            while (held := take(world, name)) is not None:
                claims.append(held)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert Counter(held.model_id for held in claims) == dict.fromkeys(models, 1)
    assert world.ledger_problem() is None


def test_a_claim_fixes_the_parent_and_starts_the_requests(world: Any) -> None:
    model = world.model()
    version = world.version(model)
    request = world.request(model, ["i0"])
    held = take(world)
    assert held is not None
    job = world.get(Job, held.job_id)
    assert (job.state, job.fence, job.attempts) == (JobState.LEASED, 1, 1)
    assert (job.parent_version_id, job.lease_owner) == (version, "w1")
    assert world.get(DeletionRequest, request).state == RequestState.IN_PROGRESS
    assert world.all(select(Attempt.outcome)) == [None]


def test_the_first_sign_of_life_makes_it_run_and_the_audit_makes_requests_verify(
    world: Any,
) -> None:
    model = world.model()
    world.version(model)
    request = world.request(model, ["i0"])
    held = take(world)
    assert write(world, execution.renew, held, 60, None) is Order.GO_ON
    assert world.get(Job, held.job_id).state == JobState.LEASED  # type: ignore[union-attr]
    assert write(world, execution.renew, held, 60, progress("load")) is Order.GO_ON
    job = world.job_of(request)
    assert job.state == JobState.RUNNING
    assert job.progress == {"phase": "load", "step": 1, "of": 2, "eta_seconds": None}
    assert write(world, execution.renew, held, 60, progress("audit")) is Order.GO_ON
    assert world.get(DeletionRequest, request).state == RequestState.VERIFYING


def test_success_leaves_everything_of_a_version_and_wakes_who_waits(world: Any) -> None:
    model = world.model()
    root = world.version(model, training_seconds=12.5)
    full = world.request(model, ["i0", "i1"])
    part = world.request(model, ["i2"], tasks=("digit",))
    held = take(world)
    assert held is not None
    later = world.request(model, ["i3"])
    version = succeed(world, held, full, part)
    assert version is not None
    version = world.get(Version, version.id)
    assert (version.number, version.parent_id, version.root_id) == (2, root, root)
    assert (version.state, version.training_seconds) == (VersionState.VERIFIED, 12.5)
    assert world.get(Version, root).state == VersionState.SUPERSEDED
    assert world.get(Alias, (model, "production")).version_id == version.id
    cells = world.all(select(func.count()).select_from(ForgottenCell))
    assert cells == [2 * 3 + 1]
    assert world.all(select(Audit.verdict)) == ["pass"]
    for request in (full, part):
        row = world.get(DeletionRequest, request)
        assert (row.state, row.version_id) == (RequestState.COMPLETED, version.id)
    assert len(world.all(select(Receipt.id))) == 2
    job = world.job_of(full)
    assert (job.state, job.lease_owner) == (JobState.SUCCEEDED, None)
    assert job.cost["seconds"] == 1.5
    assert world.all(select(Attempt.outcome)) == ["succeeded"]
    rings = world.all(
        select(OutboxMessage.id).where(OutboxMessage.job_id == world.job_of(later).id)
    )
    assert len(rings) == 2
    assert world.ledger_problem() is None


def test_a_failed_verdict_names_the_cells_and_leaves_the_alias(world: Any) -> None:
    model = world.model()
    root = world.version(model)
    good, bad = world.request(model, ["i0"]), world.request(model, ["i1"])
    held = take(world)
    assert held is not None
    version = succeed(
        world, held, good, bad, verdict="fail", cell_verdicts={(good, t): "pass" for t in TASKS}
    )
    assert version is not None
    assert world.get(Version, version.id).state == VersionState.REJECTED
    assert world.get(Alias, (model, "production")).version_id == root
    blamed = world.get(DeletionRequest, bad)
    assert blamed.state == RequestState.COMPLETED_WITH_EXCEPTIONS
    assert [cell["reason"] for cell in blamed.exceptions] == ["as the test says"] * 3
    dragged = world.get(DeletionRequest, good)
    assert dragged.state == RequestState.COMPLETED_WITH_EXCEPTIONS
    assert "not in service" in dragged.exceptions[0]["reason"]


def test_a_request_whose_cells_are_gone_ends_at_the_claim_without_a_run(world: Any) -> None:
    model = world.model()
    world.version(model)
    first = world.request(model, ["i0"])
    held = take(world)
    assert held is not None
    again = world.request(model, ["i0"], tasks=("digit",))
    version = succeed(world, held, first)
    assert version is not None
    assert take(world) is None
    row = world.get(DeletionRequest, again)
    assert (row.state, row.version_id) == (RequestState.COMPLETED, version.id)
    assert world.job_of(again).state == JobState.SUCCEEDED
    assert world.all(select(func.count()).select_from(Version)) == [2]
    assert world.ledger_problem() is None


def test_a_request_against_another_manifest_fails_and_says_what_to_do(world: Any) -> None:
    model = world.model()
    old = world.version(model)
    request = world.request(model, ["i0"])
    with world.database.write() as session, session.begin():
        now = database_now(session)
        other = new_id("ver")
        values = {
            c.name: getattr(session.get_one(Version, old), c.name)
            for c in Version.__table__.columns
        }
        session.add(Version(**values | {"id": other, "number": 2, "root_id": other}))
        session.flush()
        alias = session.get_one(Alias, (model, "production"))
        alias.version_id, alias.moved_at = other, now
    assert take(world) is None
    row = world.get(DeletionRequest, request)
    assert row.state == RequestState.FAILED
    assert "send the request again" in row.state_reason
    assert world.job_of(request).state == JobState.FAILED


def test_a_job_without_requests_is_cancelled_at_the_claim(world: Any) -> None:
    model = world.model()
    world.version(model)
    job = world.job_of(world.request(model, ["i0"]))
    write(world, lambda s: s.execute(delete(JobRequest)))
    assert take(world) is None
    assert world.get(Job, job.id).state == JobState.CANCELLED


def test_an_error_is_tried_again_until_the_attempts_are_spent(world: Any) -> None:
    model = world.model()
    world.version(model)
    request = world.request(model, ["i0"])
    for number in (1, 2, 3):
        held = take(world)
        state = write(
            world, execution.fail, held, f"trouble {number}", "tail", final=False, max_attempts=3
        )
        assert state == (JobState.FAILED if number == 3 else JobState.QUEUED)
        wanted = RequestState.FAILED if number == 3 else RequestState.QUEUED
        assert world.get(DeletionRequest, request).state == wanted
    row = world.get(DeletionRequest, request)
    assert row.state_reason == "trouble 3"
    attempts = world.all(select(Attempt).order_by(Attempt.fence))
    assert [(a.fence, a.outcome, a.error, a.log) for a in attempts] == [
        (n, "failed", f"trouble {n}", "tail") for n in (1, 2, 3)
    ]
    assert take(world) is None


def test_a_final_error_is_not_tried_again(world: Any) -> None:
    job = world.describe(world.model())
    held = take(world)
    write(world, execution.fail, held, "no such option", None, final=True, max_attempts=3)
    assert world.get(Job, job).state == JobState.FAILED


def test_a_failed_attempt_waits_before_the_next(world: Any) -> None:
    world.describe(world.model())
    held = take(world)
    write(world, execution.fail, held, "e", None, final=False, max_attempts=3, retry_seconds=60)
    assert take(world) is None


def test_an_expired_lease_is_reaped_and_its_old_holder_writes_nothing(world: Any) -> None:
    model = world.model()
    world.version(model)
    request = world.request(model, ["i0"])
    lost = take(world, "frozen", lease=0)
    assert lost is not None
    assert write(world, execution.reap, max_attempts=3) is True
    assert write(world, execution.reap, max_attempts=3) is False
    assert world.get(DeletionRequest, request).state == RequestState.QUEUED
    result = world.result(lost.job_id, [request])
    before = world.all(select(func.count()).select_from(OutboxMessage))
    held = None
    for _ in range(2):  # once while it is queued, once while another worker has it
        assert write(world, execution.renew, lost, 60, progress("load")) is Order.LOST
        for change, arguments in (
            (completion.succeed, (result, world.storage, world.signer)),
            (execution.cancelled, (None,)),
            (execution.give_back, ()),
        ):
            with pytest.raises(Fenced):
                write(world, change, lost, *arguments)
        with pytest.raises(Fenced):
            write(world, execution.fail, lost, "late", None, final=True, max_attempts=3)
        held = held or take(world, "awake")
    assert held is not None
    assert held.fence == lost.fence + 1
    assert world.all(select(func.count()).select_from(OutboxMessage)) == before
    assert world.all(select(Attempt.outcome).order_by(Attempt.fence)) == ["lost", None]
    assert succeed(world, held, request) is not None
    assert world.all(select(func.count()).select_from(Version)) == [2]
    assert world.ledger_problem() is None


def test_a_job_that_kills_its_workers_ends_failed(world: Any) -> None:
    job = world.describe(world.model())
    for _ in range(3):
        assert take(world, lease=0) is not None
        write(world, execution.reap, max_attempts=3)
    row = world.get(Job, job)
    assert row.state == JobState.FAILED
    assert "stopped answering" in row.last_error


def test_a_returned_job_is_free_at_once_and_the_attempt_does_not_count(world: Any) -> None:
    job = world.describe(world.model())
    write(world, execution.give_back, take(world))
    row = world.get(Job, job)
    assert (row.state, row.attempts) == (JobState.QUEUED, 0)
    assert take(world).fence == 2  # type: ignore[union-attr]
    assert world.all(select(Attempt.outcome).order_by(Attempt.fence)) == ["returned", None]


@pytest.mark.parametrize("ending", ["cancelled", "succeed", "fail", "give_back", "reap"])
def test_a_job_being_cancelled_can_only_end_cancelled(world: Any, ending: str) -> None:
    model = world.model()
    world.version(model)
    request = world.request(model, ["i0"])
    held = take(world)
    assert held is not None
    write(world, cancel_job, DEFAULT_TENANT, held.job_id, "somebody")
    assert write(world, execution.renew, held, 0, progress("unlearn")) is Order.CANCEL
    if ending == "succeed":
        assert succeed(world, held, request) is None
    elif ending == "fail":
        write(world, execution.fail, held, "e", None, final=False, max_attempts=3)
    elif ending == "reap":
        assert write(world, execution.reap, max_attempts=3)
    elif ending == "give_back":
        write(world, execution.give_back, held)
    else:
        write(world, execution.cancelled, held, "tail")
    assert world.job_of(request).state == JobState.CANCELLED
    assert world.get(DeletionRequest, request).state == RequestState.CANCELLED
    assert world.all(select(Version.number)) == [1]
    assert world.ledger_problem() is None


def test_a_description_is_written_to_its_model(world: Any) -> None:
    model = world.model()
    world.describe(model)
    told = WorkloadDescription(workload="digits", tasks=(), tensors={}, parameters=7)
    write(world, completion.describe_done, take(world), told)
    assert world.get(Model, model).description["parameters"] == 7


def test_leases_run_by_the_clock_of_the_database(world: Any) -> None:
    world.describe(world.model())
    held = take(world, lease=60)
    assert held is not None
    job = world.get(Job, held.job_id)
    with world.database.read() as session:
        left = job.lease_expires_at - database_now(session)
    assert timedelta(seconds=50) < left <= timedelta(seconds=60)
