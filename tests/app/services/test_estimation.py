"""Estimates from real rows: jobs that the service itself planned, claimed and completed."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from app.http import Parts
from app.schemas.deletion_requests import DeletionRequestView, NewDeletionRequest, Preview
from app.schemas.estimates import Estimate
from app.schemas.models import Policy
from app.services import approval, cancellation, intake, request_views
from app.services.job_loads import load_of_job
from app.tables import DEFAULT_TENANT, DeletionRequest, Job, Model, Version
from carried_out import carry_out
from engine import planner
from engine.spec import JobLoad
from running_service import Registered, add_tenant, register_model

INSTANCES, EPOCHS, TRAINING_SECONDS = 1000, 60, 10.0
UNIT = TRAINING_SECONDS / (EPOCHS * INSTANCES)
"""Seconds that a gradient evaluation took in the models' training."""
FEW, MANY = 10, 450
"""Fewer and more instances than where retraining gets cheaper."""

Register = Callable[..., Registered]
_names = itertools.count()


@pytest.fixture
def register(parts: Parts) -> Register:
    """Registers models with 1000 instances, whose training is known or not."""

    def register(
        *,
        epochs: int | None = EPOCHS,
        training_seconds: float | None = TRAINING_SECONDS,
        workload: str = "digits",
        tenant_id: str = DEFAULT_TENANT,
        **policy: Any,
    ) -> Registered:
        with parts.database.write() as session, session.begin():
            made = register_model(
                session,
                parts.storage,
                f"model-{next(_names)}",
                instances=INSTANCES,
                tenant_id=tenant_id,
                policy=Policy(**policy),
            )
            model = session.get_one(Model, made.model_id)
            model.workload = workload
            model.description = {**(model.description or {}), "epochs": epochs}
            session.get_one(Version, made.version_id).training_seconds = training_seconds
        return made

    return register


def asked(model: Registered, count: int, start: int = 0, **body: Any) -> NewDeletionRequest:
    return NewDeletionRequest.model_validate(
        {"model": model.name, "instances": model.instances[start : start + count], **body}
    )


def receive(parts: Parts, *request: Any, **body: Any) -> DeletionRequestView:
    with parts.database.write() as session, session.begin():
        row = intake.receive(session, DEFAULT_TENANT, asked(*request, **body), "test").request
        return request_views.view(session, row)


def preview(parts: Parts, *request: Any, **body: Any) -> Preview:
    with parts.database.read() as session:
        return intake.preview(session, DEFAULT_TENANT, asked(*request, **body))


def estimate(parts: Parts, *request: Any, **body: Any) -> Estimate:
    found = preview(parts, *request, **body).estimate
    assert found is not None
    return found


def size(forget: int, earlier: int = 0, kept: int = 0) -> JobLoad:
    retained = INSTANCES - forget - earlier + kept
    return JobLoad(instances=INSTANCES, forget=forget, earlier=earlier, retained=retained)


def planned(load: JobLoad, method: str = "interference_aware") -> planner.Effort:
    found = planner.effort(method, load, {}, EPOCHS)
    assert found is not None
    return found


def run_once(parts: Parts, model: Registered, start: int = 0, *, times: float = 1.0) -> None:
    """One request for ten instances, carried out in so many times what was planned."""
    receive(parts, model, FEW, start)
    effort = planned(size(FEW))
    carry_out(
        parts,
        load=size(FEW),
        seconds=times * effort.time * UNIT,
        gradient_evaluations=round(times * effort.gradient_evaluations),
    )


def test_before_any_job_the_first_guess_is_shown_as_such(parts: Parts, register: Register) -> None:
    found = estimate(parts, register(), FEW)
    effort, whole = planned(size(FEW)), planned(size(FEW), "retrain")
    low, high = planner.PRIOR_RANGE
    assert (found.basis, found.past_jobs, found.past_jobs_of) == ("prior", 0, None)
    assert found.method == "interference_aware"
    assert found.gradient_evaluations == effort.gradient_evaluations
    assert found.seconds == pytest.approx(effort.time * UNIT)
    assert found.seconds_low == pytest.approx(low * effort.time * UNIT)
    assert found.seconds_high == pytest.approx(high * effort.time * UNIT)
    assert found.retraining_seconds == pytest.approx(whole.time * UNIT)
    assert found.retraining_basis == "prior"
    assert found.share_of_retraining == pytest.approx(effort.time / whole.time)
    assert found.cheaper == "unlearn"


def test_the_settings_of_the_policy_count(parts: Parts, register: Register) -> None:
    model = register(method_settings={"min_steps": 600, "projection": "none"})
    found = estimate(parts, model, FEW)
    expected = planner.effort("interference_aware", size(FEW), {"min_steps": 600}, EPOCHS)
    assert expected is not None
    assert found.gradient_evaluations == expected.gradient_evaluations


def test_networks_that_the_policy_has_the_audit_train_count(
    parts: Parts, register: Register
) -> None:
    found = estimate(parts, register(thresholds={"reference": "retrained"}), FEW)
    once = EPOCHS * (INSTANCES - FEW) * UNIT
    assert found.seconds == pytest.approx(planned(size(FEW)).time * UNIT + once)
    assert found.retraining_seconds == pytest.approx(
        planned(size(FEW), "retrain").time * UNIT + once
    )


def test_what_jobs_of_the_model_took_corrects_the_next_estimate(
    parts: Parts, register: Register
) -> None:
    model = register()
    for number, times in enumerate([4.0, 2.0, 100.0]):
        run_once(parts, model, 20 * number, times=times)
    found = estimate(parts, model, MANY, 500)
    effort = planned(size(MANY, earlier=30))
    assert (found.basis, found.past_jobs, found.past_jobs_of) == ("past_jobs", 3, "model")
    assert found.seconds == pytest.approx(4 * effort.time * UNIT)
    assert found.seconds_low == pytest.approx(2 * effort.time * UNIT)
    assert found.seconds_high == pytest.approx(100 * effort.time * UNIT)
    assert found.gradient_evaluations == pytest.approx(4 * effort.gradient_evaluations, rel=1e-3)


def test_a_models_own_jobs_tell_seconds_where_training_did_not(
    parts: Parts, register: Register
) -> None:
    model = register(training_seconds=None)
    first = estimate(parts, model, FEW)
    assert (first.seconds, first.retraining_seconds) == (None, None)
    assert first.cheaper == "unlearn"
    run_once(parts, model)
    found = estimate(parts, model, FEW, 20)
    pace = UNIT
    assert found.seconds == pytest.approx(planned(size(FEW, earlier=FEW)).time * pace)
    retraining = planned(size(FEW, earlier=FEW), "retrain").time * pace
    assert found.retraining_seconds == pytest.approx(retraining)


def test_jobs_of_the_same_workload_come_before_any_others(parts: Parts, register: Register) -> None:
    run_once(parts, register(workload="scenes"), times=5)
    model = register()
    assert (found := estimate(parts, model, FEW)).past_jobs_of == "any"
    assert found.seconds == pytest.approx(5 * planned(size(FEW)).time * UNIT)
    run_once(parts, register(), times=2)
    assert (found := estimate(parts, model, FEW)).past_jobs_of == "workload"
    assert found.seconds == pytest.approx(2 * planned(size(FEW)).time * UNIT)
    run_once(parts, model, 500, times=3)
    assert (found := estimate(parts, model, FEW)).past_jobs_of == "model"
    assert found.seconds == pytest.approx(3 * planned(size(FEW, earlier=FEW)).time * UNIT)


def test_another_tenants_jobs_teach_nothing(parts: Parts, register: Register) -> None:
    with parts.database.write() as session, session.begin():
        theirs = add_tenant(session, "other")
    model = register(tenant_id=theirs)
    with parts.database.write() as session, session.begin():
        intake.receive(session, theirs, asked(model, FEW), "test")
    carry_out(parts, load=size(FEW), seconds=1e6)
    assert estimate(parts, register(), FEW).basis == "prior"


def test_a_retraining_that_ran_tells_what_the_next_one_takes(
    parts: Parts, register: Register
) -> None:
    model = register(method="retrain", epochs=None)
    first = estimate(parts, model, FEW)
    assert (first.seconds, first.gradient_evaluations, first.cheaper) == (None, None, None)
    assert first.retraining_seconds == pytest.approx(TRAINING_SECONDS * 0.99)
    receive(parts, model, FEW)
    load = size(FEW)
    carry_out(parts, load=load, seconds=50.0, gradient_evaluations=30 * load.retained)
    found = estimate(parts, model, FEW, 20)
    now, then = (planner.retraining(one, 30) for one in (size(FEW, earlier=FEW), load))
    assert now is not None
    assert then is not None
    assert found.gradient_evaluations == 30 * (INSTANCES - 2 * FEW)
    assert found.retraining_seconds == pytest.approx(50 * now.time / then.time)
    assert (found.basis, found.retraining_past_jobs) == ("past_jobs", 1)


def test_a_job_whose_size_was_not_kept_is_passed_over(parts: Parts, register: Register) -> None:
    model = register()
    receive(parts, model, FEW)
    carry_out(parts, load=None, seconds=1e6)
    assert estimate(parts, model, FEW, 20).basis == "prior"


def test_the_estimate_is_of_the_whole_job_and_counts_nobody_twice(
    parts: Parts, register: Register
) -> None:
    model = register()
    receive(parts, model, FEW)
    joining = preview(parts, model, FEW, 5)  # five of these ten are in the queued job already
    assert joining.joins_job is not None
    assert joining.estimate is not None
    expected = planned(size(15)).gradient_evaluations
    assert joining.estimate.gradient_evaluations == expected
    seen = receive(parts, model, FEW, 5)
    assert seen.estimate == joining.estimate


def test_a_partial_request_keeps_its_instances_in_the_retraining(
    parts: Parts, register: Register
) -> None:
    model = register()
    found = estimate(parts, model, FEW, tasks=["parity"])
    whole = planned(size(FEW, kept=FEW), "retrain").time * UNIT
    assert found.retraining_seconds == pytest.approx(whole)
    receive(parts, model, FEW, tasks=["parity"])
    both = estimate(parts, model, 4)
    assert both.retraining_seconds == pytest.approx(planned(size(4), "retrain").time * UNIT)


def test_above_the_crossing_point_retraining_is_proposed_and_not_below(
    parts: Parts, register: Register
) -> None:
    model = register()
    below, above = preview(parts, model, FEW), preview(parts, model, MANY)
    assert below.proposal is None
    assert above.estimate is not None
    assert above.estimate.cheaper == "retrain"
    assert above.proposal is not None
    assert "'retrain' is proposed" in above.proposal
    assert "interference_aware" in above.proposal
    assert " s against " in above.proposal
    seen = receive(parts, model, MANY)
    assert (seen.estimate, seen.proposal) == (above.estimate, above.proposal)
    assert seen.state_reason is None
    assert job_method(parts, seen) == "interference_aware"


def test_a_held_request_shows_the_proposal_to_who_approves_it(
    parts: Parts, register: Register
) -> None:
    seen = receive(parts, register(approval="one_person"), MANY)
    assert (seen.state, seen.job) == ("awaiting_approval", None)
    assert seen.proposal is not None
    assert seen.estimate is not None


def test_a_policy_may_take_the_cheaper_method(parts: Parts, register: Register) -> None:
    model = register(when_retraining_is_cheaper="retrain", approval="one_person")
    held = receive(parts, model, MANY)
    with parts.database.write() as session, session.begin():
        approval.approve(session, DEFAULT_TENANT, held.id, "boss", None)
    with parts.database.read() as session:
        seen = request_views.view(session, session.get_one(DeletionRequest, held.id))
    assert seen.state == "queued"
    assert seen.proposal is not None
    assert "the policy takes 'retrain'" in seen.proposal
    assert seen.state_reason == seen.proposal
    assert job_method(parts, seen) == "retrain"


def test_requests_that_join_may_make_the_job_retrain(parts: Parts, register: Register) -> None:
    model = register(when_retraining_is_cheaper="retrain")
    first = receive(parts, model, FEW)
    assert job_method(parts, first) == "interference_aware"
    second = receive(parts, model, MANY, 500)
    assert first.job == second.job
    assert job_method(parts, second) == "retrain"


def test_a_policy_may_say_nothing(parts: Parts, register: Register) -> None:
    model = register(when_retraining_is_cheaper="proceed")
    seen = receive(parts, model, MANY)
    assert seen.proposal is None
    assert seen.estimate is not None
    assert seen.estimate.cheaper == "retrain"
    assert job_method(parts, seen) == "interference_aware"


def test_where_no_run_is_needed_there_is_no_estimate(parts: Parts, register: Register) -> None:
    model = register()
    run_once(parts, model)
    again = preview(parts, model, FEW)
    assert (again.estimate, again.proposal) == (None, None)
    seen = receive(parts, model, FEW)
    assert (seen.state, seen.estimate, seen.proposal) == ("completed", None, None)


def job_method(parts: Parts, request: DeletionRequestView) -> str | None:
    with parts.database.read() as session:
        return session.scalar(select(Job.method).where(Job.id == request.job))


def test_what_waits_in_a_job_is_added_up_as_it_would_be_counted(
    parts: Parts, register: Register
) -> None:
    model = register()

    def loads() -> tuple[int | None, int | None]:
        with parts.database.read() as session:
            job = session.scalars(select(Job)).one()
            version = session.get_one(Version, model.version_id)
            newest = session.scalars(
                select(DeletionRequest).order_by(DeletionRequest.id.desc())
            ).first()
            assert newest is not None
            kept = job.waiting
        with parts.database.write() as session, session.begin():
            counted = load_of_job(session, version, job, newest, None).forget
        return (kept["instances"] if kept else None), counted

    receive(parts, model, 3)
    assert loads() == (3, 3)
    receive(parts, model, 1, 2)
    assert loads() == (3, 3)
    receive(parts, model, 3, 2, tasks=["digit"])
    assert loads() == (5, 5)
    fourth = receive(parts, model, 4, 4)
    assert loads() == (8, 8)
    with parts.database.write() as session, session.begin():
        cancellation.cancel(session, DEFAULT_TENANT, fourth.id, "test", None)
    with parts.database.read() as session:
        assert session.scalars(select(Job)).one().waiting is None
    receive(parts, model, 1, 9)
    assert loads() == (6, 6)
