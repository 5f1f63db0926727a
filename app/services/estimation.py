"""What a job would take: the planner's first guess, corrected by what earlier jobs took of theirs.

Jobs of the same model tell best; where none has finished, those of models with the same workload;
then any of the tenant's. Only jobs of the same method count, and of retrainings only the model's
own. The correction is the median ratio, so that one run on a busy machine moves nothing.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import JsonValue
from sqlalchemy import ColumnElement, bindparam, or_, select
from sqlalchemy.orm import Session

from app.prepared import Prepared
from app.schemas.estimates import Estimate, Forecast
from app.schemas.models import Policy
from app.states import JobState
from app.tables import Audit, Job, Model, Version
from engine.planner import Effort, Training, correction, effort, prior_seconds
from engine.spec import JobLoad

PAST_JOBS = 20
"""The newest, that an estimate learns from."""

Circle = Literal["model", "workload", "any"]


def forecast(session: Session, model: Model, version: Version, load: JobLoad) -> Forecast:
    """The cost of a job of this size, and what the model's policy makes of it."""
    policy = Policy.model_validate(model.policy)
    load = load.model_copy(update={"audit_trainings": policy.thresholds.trainings})
    estimate = _estimate(session, model, policy, version, load)
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
    session: Session, model: Model, policy: Policy, version: Version, load: JobLoad
) -> Estimate:
    method = policy.method
    own = _finished(session, "model", model, method)
    epochs = (model.description or {}).get("epochs") or _measured_epochs(own)
    training = Training(epochs, version.training_seconds)
    planned = effort(method, load, policy.method_settings, epochs)
    ours = _own_guess(planned, _of(own, method), training, load)
    if ours.prior is not None and not ours.jobs:
        ours = _others_guess(session, model, method, ours)
    whole = ours
    if method != "retrain":
        retrained = _of(own, "retrain")
        whole = _own_guess(effort("retrain", load, {}, epochs), retrained, training, load)
    retraining = whole.seconds
    if retraining is None and training.seconds is not None:
        trainings = 1 + load.audit_trainings
        retraining = trainings * training.seconds * load.retained / load.instances
    elif retraining is None and ours.pace is not None and whole.planned is not None:
        retraining = ours.pace * whole.planned.time
    share = None
    if ours.seconds is not None and retraining:
        share = ours.seconds / retraining
    elif ours.planned is not None and whole.planned is not None:
        share = ours.planned.time / whole.planned.time
    cheaper: Literal["unlearn", "retrain"] | None = None
    if share is not None and method != "retrain":
        cheaper = "retrain" if share > 1 else "unlearn"
    return Estimate(
        method=method,
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
class _Job:
    """A finished job, as far as estimates learn from it."""

    method: str
    seconds: float
    gradient_evaluations: int
    training_seconds: float | None
    load: JobLoad
    settings: Mapping[str, JsonValue]
    told_epochs: int | None

    def planned(self, epochs: int | None) -> Effort | None:
        """Its first guess, as it would be made today."""
        return effort(self.method, self.load, self.settings, epochs)

    def prior(self) -> float | None:
        """That in seconds, at the pace of its own model's training."""
        training = Training(self.told_epochs, self.training_seconds)
        return prior_seconds(self.planned(self.told_epochs), self.load, training)

    def evaluations_ratio(self, epochs: int | None) -> float | None:
        """Gradient evaluations for one of the first guess."""
        planned = self.planned(epochs)
        if planned is None or not planned.gradient_evaluations:
            return None
        return self.gradient_evaluations / planned.gradient_evaluations


_THEIRS = Job.tenant_id == bindparam("tenant_id"), Job.method == bindparam("method")
_WHOSE: Mapping[Circle, Sequence[ColumnElement[bool]]] = {
    "model": (
        Job.model_id == bindparam("model_id"),
        or_(Job.method == bindparam("method"), Job.method == "retrain"),
    ),
    "workload": (*_THEIRS, Model.workload == bindparam("workload")),
    "any": _THEIRS,
}
_FINISHED = {
    circle: Prepared(
        select(Job.method, Job.cost, Audit.settings, Model.description["epochs"].as_integer())
        .join(Model, Model.id == Job.model_id)
        .join(Audit, Audit.job_id == Job.id)
        .where(Job.kind == "unlearn", Job.state == JobState.SUCCEEDED, *whose)
        .order_by(Job.id.desc())
        .limit(2 * PAST_JOBS)  # of a model: of its method and of retrainings
    )
    for circle, whose in _WHOSE.items()
}


def _finished(session: Session, circle: Circle, model: Model, method: str) -> list[_Job]:
    """The newest finished jobs whose size was kept, newest first."""
    of = {"model_id": model.id, "tenant_id": model.tenant_id, "workload": model.workload}
    rows = _FINISHED[circle].rows(session, {**of, "method": method})
    return [
        _Job(
            method=method,
            seconds=cost["seconds"],
            gradient_evaluations=cost["gradient_evaluations"],
            training_seconds=cost["training_seconds"],
            load=JobLoad.model_validate(cost["load"]),
            settings=settings,
            told_epochs=epochs,
        )
        for method, cost, settings, epochs in rows
        if cost and cost.get("load")
    ]


def _of(jobs: Sequence[_Job], method: str) -> list[_Job]:
    return [job for job in jobs if job.method == method][:PAST_JOBS]


def _measured_epochs(jobs: Sequence[_Job]) -> int | None:
    """How often the model's retrainings passed the data, for a workload that does not tell."""
    passes = [
        job.gradient_evaluations / job.load.retained
        for job in _of(jobs, "retrain")
        if job.load.retained
    ]
    return max(1, round(statistics.median(passes))) if passes else None


@dataclass(frozen=True)
class _Guess:
    """What a job of one method would take; None for what cannot be told."""

    planned: Effort | None = None
    prior: float | None = None
    """Seconds before any correction."""
    seconds: float | None = None
    low: float | None = None
    high: float | None = None
    evaluations: int | None = None
    jobs: int = 0
    circle: Circle | None = None
    pace: float | None = None
    """Seconds that a unit of the planner's time took in the model's own jobs."""


def _own_guess(
    planned: Effort | None, jobs: Sequence[_Job], training: Training, load: JobLoad
) -> _Guess:
    """The first guess, corrected by the model's own jobs of the method.

    They tell the pace by themselves, whatever the model's training took, and where.
    """
    if planned is None:
        return _Guess()
    prior = prior_seconds(planned, load, training)
    paces = [job.seconds / before.time for job in jobs if (before := job.planned(training.epochs))]
    unit = planned.time if paces else prior
    guess = _Guess(
        planned=planned,
        prior=prior,
        circle="model" if paces else None,
        pace=statistics.median(paces) if paces else None,
    )
    counted = [job.evaluations_ratio(training.epochs) for job in jobs]
    return _scaled(guess, unit, paces, counted)


def _others_guess(session: Session, model: Model, method: str, guess: _Guess) -> _Guess:
    """The first guess, corrected by jobs of other models of the tenant, the nearest that tell."""
    others: tuple[Circle, ...] = ("workload", "any")
    for circle in others:
        jobs = _finished(session, circle, model, method)
        telling = [(job, prior) for job in jobs[:PAST_JOBS] if (prior := job.prior())]
        if telling:
            ratios = [job.seconds / prior for job, prior in telling]
            counted = [job.evaluations_ratio(job.told_epochs) for job, _ in telling]
            return _scaled(replace(guess, circle=circle), guess.prior, ratios, counted)
    return guess


def _scaled(
    guess: _Guess, unit: float | None, ratios: Sequence[float], counted: Sequence[float | None]
) -> _Guess:
    """`guess` with what was taken for each `unit`, and for each planned gradient evaluation."""
    assert guess.planned is not None
    scale = correction(ratios)
    evaluations = correction([ratio for ratio in counted if ratio is not None]).value
    return replace(
        guess,
        seconds=None if unit is None else unit * scale.value,
        low=None if unit is None else unit * scale.low,
        high=None if unit is None else unit * scale.high,
        evaluations=round(guess.planned.gradient_evaluations * evaluations),
        jobs=scale.jobs,
    )
