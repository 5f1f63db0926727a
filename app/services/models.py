"""Models: made, changed, archived."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta

from pydantic import JsonValue, ValidationError
from sqlalchemy import exists, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import ledger
from app.db import database_now
from app.ids import new_id
from app.problems import Conflict, Invalid, Problem, field_errors
from app.schemas.models import ModelPatch, NewModel, Policy
from app.services import planning
from app.services.attempts import lock_ledger
from app.states import FINISHED_REQUEST
from app.tables import Alias, DeletionRequest, Model, Worker

ALIVE = timedelta(seconds=90)
"""A worker seen within this time counts as live."""


def create(session: Session, tenant_id: str, actor: str, body: NewModel) -> Model:
    """A new model, with the job that has a worker describe its workload.

    Raises 409 where no live worker has the workload installed or the name is taken, 422 for a
    method that no live worker has.
    """
    workers = live_workers(session)
    installed = sorted({name for worker in workers for name in worker.workloads})
    if body.workload not in installed:
        shown = ", ".join(installed) or "none"
        raise Conflict(
            "workload-not-installed",
            f"no live worker has the workload {body.workload!r}; installed: {shown}",
            installed=installed,
        )
    _check_method(workers, body.policy)
    lock_ledger(session, tenant_id)
    model = Model(
        id=new_id("mod"),
        tenant_id=tenant_id,
        name=_checked_name(body.name),
        workload=body.workload,
        workload_options=body.workload_options,
        policy=body.policy.model_dump(mode="json"),
        created_at=database_now(session),
    )
    session.add(model)
    _flush_name(session, model)
    told = {"name": model.name, "workload": model.workload, "policy": model.policy}
    ledger.append(session, tenant_id, "model.created", model.id, actor, told)
    planning.describe(session, model, actor)
    return model


def change(
    session: Session, model: Model, actor: str, patch: ModelPatch, if_match: str | None
) -> Model:
    """The model, renamed or under another policy; 412 where it is not as the caller saw it."""
    lock_ledger(session, model.tenant_id)
    session.refresh(model)
    _check_live(model)
    if if_match is not None and if_match.strip() not in ("*", etag(model)):
        raise Problem(
            412,
            "precondition-failed",
            f"model {model.name!r} was changed meanwhile: look at it again",
            headers={"ETag": etag(model)},
        )
    told: dict[str, JsonValue] = {}
    if patch.name is not None and patch.name != model.name:
        told["name"] = model.name = _checked_name(patch.name)
    if patch.policy is not None:
        policy = _merged(model.policy, patch.policy)
        _check_method(live_workers(session), policy)
        told["policy"] = model.policy = policy.model_dump(mode="json")
    if told:
        model.revision += 1
        _flush_name(session, model)
        ledger.append(session, model.tenant_id, "model.changed", model.id, actor, told)
    return model


def archive(session: Session, model: Model, actor: str) -> None:
    """Take a model out of use and free its name; 409 while requests wait for it."""
    lock_ledger(session, model.tenant_id)
    session.refresh(model)
    if model.archived_at is not None:
        return
    unfinished = exists().where(
        DeletionRequest.model_id == model.id, DeletionRequest.state.not_in(FINISHED_REQUEST)
    )
    if session.scalar(select(unfinished)):
        detail = f"model {model.name!r} has deletion requests that are not finished"
        raise Conflict("unfinished-requests", detail)
    model.archived_at = database_now(session)
    model.revision += 1
    ledger.append(session, model.tenant_id, "model.archived", model.id, actor)


def page(session: Session, tenant_id: str, limit: int, after: str | None) -> Sequence[Model]:
    """Models in use, newest first, behind the id `after`."""
    models = select(Model).where(Model.tenant_id == tenant_id, Model.archived_at.is_(None))
    if after is not None:
        models = models.where(Model.id < after)
    return session.scalars(models.order_by(Model.id.desc()).limit(limit)).all()


def aliases_of(session: Session, models: Sequence[Model]) -> Mapping[str, dict[str, str]]:
    """For each model's id: version ids by alias."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    rows = select(Alias).where(Alias.model_id.in_([model.id for model in models]))
    for alias in session.scalars(rows.order_by(Alias.name)):
        found[alias.model_id][alias.name] = alias.version_id
    return found


def live_workers(session: Session) -> Sequence[Worker]:
    """Workers that gave a sign of life of late."""
    since = database_now(session) - ALIVE
    return session.scalars(select(Worker).where(Worker.seen_at >= since)).all()


def etag(model: Model) -> str:
    """The strong ETag of a model's own state."""
    return f'"{model.revision}"'


def _check_live(model: Model) -> None:
    if model.archived_at is not None:
        raise Conflict("model-archived", f"model {model.name!r} is archived")


def _check_method(workers: Sequence[Worker], policy: Policy) -> None:
    methods = sorted({name for worker in workers for name in worker.methods})
    if workers and policy.method not in methods:
        raise Invalid(
            "#/policy/method",
            f"no live worker has the method {policy.method!r}; installed: {', '.join(methods)}",
            slug="unknown-method",
            installed=methods,
        )


def _checked_name(name: str) -> str:
    if name.startswith("mod_"):
        raise Invalid("#/name", f"name {name!r} looks like an id: begin it with something else")
    return name


def _merged(policy: Mapping[str, JsonValue], patch: Mapping[str, JsonValue]) -> Policy:
    try:
        return Policy.model_validate({**policy, **patch})
    except ValidationError as error:
        found = [{**e, "loc": ("body", "policy", *e["loc"])} for e in error.errors()]
        errors = field_errors(found)
        raise Problem(422, "invalid", errors[0]["detail"], errors=errors) from None


def _flush_name(session: Session, model: Model) -> None:
    try:
        session.flush()
    except IntegrityError:
        raise Conflict("name-taken", f"there is a model {model.name!r} already") from None
