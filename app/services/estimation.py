"""What a job would take: the planner's first guess, corrected by what earlier jobs took of theirs.

Jobs of the same model tell best; where none has finished, those of models with the same workload;
then any of the tenant's. Only jobs of the same method count. The correction is the median ratio,
so that one run on a busy machine moves nothing.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue
from sqlalchemy import select, true
from sqlalchemy.orm import Session

from app.schemas.estimates import Estimate, Forecast
from app.schemas.models import Policy
from app.states import JobState
from app.tables import Audit, Job, Model, Version
from engine.planner import Effort, Training, correction, effort, prior_seconds
from engine.spec import JobLoad

PAST_JOBS = 20
"""The newest, that an estimate learns from."""

Circle = Literal["model", "workload", "any"]
_CIRCLES: tuple[Circle, ...] = ("model", "workload", "any")


def forecast(session: Session, model: Model, version: Version, load: JobLoad) -> Forecast:
    """The cost of a job of this size, and what the model's policy makes of it."""
    policy = Policy.model_validate(model.policy)
    estimate = _estimate(session, model, policy, _training(session, model, version), load)
    proposal = None
    if estimate.cheaper == "retrain" and policy.when_retraining_is_cheaper != "proceed":
        proposal = _proposal(estimate, chosen=policy.when_retraining_is_cheaper == "retrain")
    return Forecast(estimate=estimate, proposal=proposal)


def _proposal(estimate: Estimate, *, chosen: bool) -> str:
    if estimate.seconds is not None and estimate.retraining_seconds is not None:
        how = f"about {estimate.retraining_seconds:.3g} s against {estimate.seconds:.3g} s"
    else:
        how = f"{estimate.method} would cost {estimate.share_of_retraining:.1f} times as much"
    what = "the policy takes 'retrain' instead" if chosen else "the method 'retrain' is proposed"
    return f"retraining is estimated to be cheaper than {estimate.method}, {how}: {what}"


def _estimate(
    session: Session, model: Model, policy: Policy, training: Training, load: JobLoad
) -> Estimate:
    ours = _guess(session, model, policy.method, policy.method_settings, training, load)
    whole = ours
    if policy.method != "retrain":
        whole = _guess(session, model, "retrain", {}, training, load)
    retraining = whole.seconds
    if retraining is None and training.seconds is not None:
        retraining = training.seconds * load.retained / load.instances
    elif retraining is None and ours.pace is not None and whole.planned is not None:
        retraining = ours.pace * whole.planned.time
    share = None
    if ours.seconds is not None and retraining:
        share = ours.seconds / retraining
    elif ours.planned is not None and whole.planned is not None:
        share = ours.planned.time / whole.planned.time
    cheaper: Literal["unlearn", "retrain"] | None = None
    if share is not None and policy.method != "retrain":
        cheaper = "retrain" if share > 1 else "unlearn"
    return Estimate(
        method=policy.method,
        seconds=ours.seconds,
        seconds_low=ours.low,
        seconds_high=ours.high,
        gradient_evaluations=ours.evaluations,
        basis="past_jobs" if ours.jobs else "prior",
        past_jobs=ours.jobs,
        past_jobs_of=ours.circle,
        retraining_seconds=retraining,
        retraining_basis="past_jobs" if whole.jobs else "prior",
        retraining_past_jobs=whole.jobs,
        share_of_retraining=share,
        cheaper=cheaper,
    )


@dataclass(frozen=True)
class _Guess:
    """What a job of one method would take; None for what cannot be told."""

    planned: Effort | None = None
    seconds: float | None = None
    low: float | None = None
    high: float | None = None
    evaluations: int | None = None
    jobs: int = 0
    circle: Circle | None = None
    pace: float | None = None
    """Seconds that a unit of the planner's time took in the model's own jobs."""


def _guess(
    session: Session,
    model: Model,
    method: str,
    settings: Mapping[str, JsonValue],
    training: Training,
    load: JobLoad,
) -> _Guess:
    """The first guess, corrected by the nearest circle in which a job of the method has ended."""
    planned = effort(method, load, settings, training.epochs)
    if planned is None:
        return _Guess()
    prior = prior_seconds(planned, load, training)
    past: list[_Past] = []
    circle: Circle | None = None
    for circle in _CIRCLES if prior is not None else _CIRCLES[:1]:
        past = _past(session, model, method, circle, training.epochs)
        if past:
            break
    # A model's own jobs tell its pace by themselves, whatever its training took, and where.
    unit = planned.time if past and circle == "model" else prior
    scale = correction([one.seconds for one in past])
    evaluations = correction([one.evaluations for one in past if one.evaluations is not None])
    return _Guess(
        planned=planned,
        seconds=None if unit is None else unit * scale.value,
        low=None if unit is None else unit * scale.low,
        high=None if unit is None else unit * scale.high,
        evaluations=round(planned.gradient_evaluations * evaluations.value),
        jobs=scale.jobs,
        circle=circle if past else None,
        pace=scale.value if past and circle == "model" else None,
    )


@dataclass(frozen=True)
class _Past:
    """What a finished job took for each unit of its first guess."""

    seconds: float
    """A unit is one of the planner's time in the model's own jobs, and a second in others."""
    evaluations: float | None


def _past(
    session: Session, model: Model, method: str, circle: Circle, own_epochs: int | None
) -> list[_Past]:
    """The newest finished jobs of the method in this circle."""
    whose = {
        "model": Job.model_id == model.id,
        "workload": Model.workload == model.workload,
        "any": true(),
    }
    rows = session.execute(
        select(Job.cost, Audit.settings, Model.description["epochs"].as_integer())
        .join(Model, Model.id == Job.model_id)
        .join(Audit, Audit.job_id == Job.id)
        .where(
            Job.tenant_id == model.tenant_id,
            Job.kind == "unlearn",
            Job.state == JobState.SUCCEEDED,
            Job.method == method,
            whose[circle],
        )
        .order_by(Job.id.desc())
        .limit(PAST_JOBS)
    )
    found = []
    for cost, settings, told_epochs in rows:
        if not cost or not cost.get("load"):
            continue
        load = JobLoad.model_validate(cost["load"])
        epochs = own_epochs if circle == "model" else told_epochs
        planned = effort(method, load, settings, epochs)
        if planned is None:
            continue
        unit: float | None = planned.time
        if circle != "model":
            unit = prior_seconds(planned, load, Training(epochs, cost["training_seconds"]))
        if unit:
            counted = planned.gradient_evaluations
            evaluations = cost["gradient_evaluations"] / counted if counted else None
            found.append(_Past(cost["seconds"] / unit, evaluations))
    return found


def _training(session: Session, model: Model, version: Version) -> Training:
    """What the workload and the owner told of the training; epochs also from a retraining."""
    epochs = (model.description or {}).get("epochs")
    if epochs is None:
        costs = session.scalars(
            select(Job.cost)
            .where(
                Job.model_id == model.id,
                Job.kind == "unlearn",
                Job.state == JobState.SUCCEEDED,
                Job.method == "retrain",
            )
            .order_by(Job.id.desc())
            .limit(PAST_JOBS)
        )
        counted = [
            cost["gradient_evaluations"] / cost["load"]["retained"]
            for cost in costs
            if cost and cost.get("load") and cost["load"]["retained"]
        ]
        epochs = max(1, round(statistics.median(counted))) if counted else None
    return Training(epochs, version.training_seconds)
