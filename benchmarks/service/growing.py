"""Lists and claims while the tables grow from a thousand rows to a million.

What is timed is the service's own reading, from the query to the finished page, in this process:
the way over HTTP would cost the same at any size and hide what grows.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session, class_mapper

from app.db import Database, database_now
from app.schemas.deletion_requests import NewDeletionRequest
from app.services import (
    claiming,
    downloads,
    events,
    intake,
    job_views,
    legal_holds,
    request_views,
    restriction,
    versions,
    webhooks,
)
from app.services.cells import manifest_page
from app.services.lookup import find_model
from app.services.planning import RESERVE
from app.states import DeliveryState, JobState, RequestState
from app.tables import (
    DEFAULT_TENANT,
    Base,
    DeletionRequest,
    Download,
    Instance,
    Job,
    JobRequest,
    LedgerEvent,
    LegalHold,
    Model,
    RequestInstance,
    Version,
    WebhookDelivery,
    WebhookEndpoint,
)
from benchmarks.service.databases import Databases
from benchmarks.service.installation import MODEL, Installation, install
from benchmarks.service.rows import Row

SMALL = 1000
LARGE = 1_000_000
TARGET = 1.5
MODELS = 10
INSTANCES = 100
_PAGE = 51
_RARE = 20
"""Rows of each rare kind: failed requests, those of one subject, holds in force and so on."""
_MEASURED_MODEL = f"{MODEL}-7"
_ENDPOINT = "whk_benchmark"


def measure(
    databases: Databases, folder: Path, *, large: int, repeats: int, named: str = ""
) -> Iterator[Row]:
    """Each question asked of a small and a large database, in turns.

    Only those whose name holds one of `named`, between bars; raises `ValueError` if none does.
    """
    parts = named.split("|")
    questions = {
        name: ask for name, ask in _QUESTIONS.items() if any(part in name for part in parts)
    }
    if not questions:
        raise ValueError(f"no list or claim has {named!r} in its name")
    small = _filled(databases, folder / "small", SMALL)
    big = _filled(databases, folder / "large", large)
    for name, ask in questions.items():
        times: dict[Database, list[float]] = {small: [], big: []}
        prepare = _PREPARED.get(name)
        for turn in range(repeats + 2):
            for database, found in times.items():
                seconds = _timed(database, ask, prepare)
                if turn > 1:  # the first ones fill caches
                    found.append(seconds)
        # Of many repetitions the quickest: what else the machine does only adds to a time.
        ours, reference = (1000 * min(times[one]) for one in (big, small))
        yield Row(
            name=f"{name}, {databases.kind}",
            ours=ours,
            reference=reference,
            ratio=ours / reference,
            target=TARGET,
            unit="ms",
            section="rows",
            note=f"{large} rows against {SMALL}",
        )
    small.dispose()
    big.dispose()


def _timed(
    database: Database,
    ask: Callable[[Session], object],
    prepare: Callable[[Session], object] | None = None,
) -> float:
    with database.write() as session:
        session.connection()
        if prepare is not None:
            prepare(session)
        begun = time.perf_counter()
        ask(session)
        seconds = time.perf_counter() - begun
        session.rollback()
    return seconds


def _page(
    rows_of: Callable[..., Any], views: Callable[[Session, Any], object], **filters: object
) -> Callable[[Session], object]:
    """The first page of a list, as its route makes it."""
    return lambda session: views(session, rows_of(session, DEFAULT_TENANT, limit=_PAGE, **filters))


_requests = partial(_page, request_views.list_requests, request_views.views)
_jobs = partial(_page, job_views.list_jobs, job_views.views)


def _overdue(session: Session) -> object:
    return _requests(due_before=database_now(session))(session)


def _overdue_queued(session: Session) -> object:
    return _requests(due_before=database_now(session), state=RequestState.QUEUED)(session)


def _deep(session: Session) -> object:
    copies = select(DeletionRequest.id).where(DeletionRequest.id < "req_0001")
    last = session.scalars(copies.order_by(DeletionRequest.id.desc()).limit(1)).one()
    middle = f"req_{int(last.removeprefix('req_')) // 2:032d}"
    return _requests(before_id=middle)(session)


def _events(session: Session) -> object:
    rows = events.list_events(session, DEFAULT_TENANT, after=SMALL // 2, limit=_PAGE)
    return [events.view(row) for row in rows]


def _events_of_one(session: Session) -> object:
    request_id = f"req_{SMALL // 2:032d}"
    rows = events.list_events(session, DEFAULT_TENANT, after=0, limit=_PAGE, request_id=request_id)
    return [events.view(row) for row in rows]


def _of_model(page: Callable[[Session, Model], object]) -> Callable[[Session], object]:
    return lambda session: page(session, find_model(session, DEFAULT_TENANT, _MEASURED_MODEL))


def _manifest(session: Session, model: Model) -> object:
    version = session.scalars(
        select(Version).where(Version.model_id == model.id, Version.number == 1)
    ).one()
    return manifest_page(session, version, 0, _PAGE)


def _deliveries(state: DeliveryState | None = None) -> Callable[[Session], object]:
    return lambda session: webhooks.deliveries(
        session, session.get_one(WebhookEndpoint, _ENDPOINT), state, _PAGE, None
    )


def _holds(active: bool | None = None) -> Callable[[Session], object]:
    return lambda session: legal_holds.page(session, DEFAULT_TENANT, _PAGE, None, active=active)


def _nothing_presses(session: Session) -> None:
    pressing = (Job.state == JobState.QUEUED, Job.due_at < database_now(session) + RESERVE)
    session.execute(update(Job).where(*pressing).values(state=JobState.FAILED))


def _claim(session: Session) -> object:
    claim = claiming.claim(session, "worker-1", 60, workloads=["digits"])
    assert claim is not None
    return claim


_QUESTIONS: Mapping[str, Callable[[Session], object]] = {
    "list of requests": _requests(),
    "list of requests, a page in the middle": _deep,
    "list of requests, by a rare state": _requests(state=RequestState.FAILED),
    "list of requests, by a frequent state": _requests(state=RequestState.QUEUED),
    "list of requests, by model": _requests(model=_MEASURED_MODEL),
    "list of requests, by subject": _requests(subject="s-rare"),
    "list of requests, by external id": _requests(external_id="TICKET-500"),
    "list of requests, overdue": _overdue,
    "list of requests, overdue and of a state": _overdue_queued,
    "list of jobs": _jobs(),
    "list of jobs, by a rare state": _jobs(state=JobState.FAILED),
    "list of jobs, by model": _jobs(model=_MEASURED_MODEL),
    "list of events": _events,
    "list of a request's events": _events_of_one,
    "list of a model's versions": _of_model(lambda one, of: versions.page(one, of, _PAGE, None)),
    "list of a model's recipients": _of_model(
        lambda one, of: downloads.recipients(one, of, _PAGE, None)
    ),
    "list of a model's restrictions": _of_model(
        lambda one, of: restriction.page(one, of, 0, _PAGE)
    ),
    "list of a manifest": _of_model(_manifest),
    "list of legal holds": _holds(),
    "list of legal holds, in force": _holds(active=True),
    "list of deliveries": _deliveries(),
    "list of deliveries, of a rare state": _deliveries(DeliveryState.DEAD),
    "list of deliveries, of a frequent state": _deliveries(DeliveryState.DELIVERED),
    "claim": _claim,
    "claim where nothing presses": _claim,
}
"""Models, keys and endpoints are not among them: an installation has tens of those."""
_PREPARED: Mapping[str, Callable[[Session], object]] = {
    "claim where nothing presses": _nothing_presses,
}
"""What is changed before the clock is started, and rolled back after."""


def _filled(databases: Databases, folder: Path, count: int) -> Database:
    """A database with so many requests, each with a queued job and an event of its own.

    They belong to many models; rows are copies of what one request wrote, but for their ids.
    """
    url = databases.create()
    where = install(folder, url, instances=INSTANCES, models=MODELS)
    database = Database(url)
    with database.write() as session, session.begin():
        body = NewDeletionRequest(model=MODEL, instances=["i-0"], external_id="TICKET-0")
        intake.receive(session, DEFAULT_TENANT, body, "benchmark")
        _add_others(session, where)
        session.flush()
        _copy(session, where, count)
    if database.engine.dialect.name == "postgresql":  # as its autovacuum does
        engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("ANALYZE"))
    return database


def _add_others(session: Session, where: Installation) -> None:
    """One row each of what else is listed, to be copied."""
    now = datetime.now(UTC)
    whose = {"tenant_id": DEFAULT_TENANT}
    session.add(
        LegalHold(
            **whose,
            id="hld_benchmark",
            instances=[],
            subjects=["s-held"],
            ground="a case",
            reason="a case",
            placed_by="benchmark",
            placed_at=now,
        )
    )
    taken = {"file": "model.safetensors", "principal": "benchmark", "at": now}
    what = {"version_id": where.version_ids[0], "model_id": where.model_ids[0]}
    session.add(Download(**whose, id="dlv_benchmark", **what, **taken))
    endpoint = {"url": "https://example.org", "kinds": [], "cursor": 0, "secret": bytes(32)}
    session.add(WebhookEndpoint(**whose, id=_ENDPOINT, created_at=now, **endpoint))
    session.flush()
    session.add(
        WebhookDelivery(
            id="whd_benchmark",
            endpoint_id=_ENDPOINT,
            event_seq=0,
            kind="request.queued",
            state=DeliveryState.DELIVERED,
            next_attempt_at=now,
            waiting_since=now,
            created_at=now,
        )
    )


def _copy(session: Session, where: Installation, count: int) -> None:
    """Rows whose ids end in the numbers from 1; the first ones are those that are rare."""
    sqlite = session.get_bind().dialect.name == "sqlite"
    padded = "printf('%032d', n)" if sqlite else "lpad(n::text, 32, '0')"
    if not sqlite:  # the copies name what the original does: nothing has to be looked up
        session.execute(text("SET LOCAL session_replication_role = replica"))
    picks = "CREATE TEMPORARY TABLE picks (k INTEGER PRIMARY KEY, model TEXT, root TEXT)"
    session.execute(text(picks))
    session.execute(
        text("INSERT INTO picks VALUES (:k, :model, :root)"),
        [
            {"k": k, "model": model, "root": root}
            for k, (model, root) in enumerate(zip(where.model_ids, where.version_ids, strict=True))
        ],
    )
    later = "datetime(due_at, n || ' seconds')" if sqlite else "due_at + n * interval '1 second'"
    past = f"n BETWEEN {_RARE + 1} AND {2 * _RARE}"
    due = f"CASE WHEN {past} THEN '2020-01-01 00:00:00' ELSE {later} END"
    rare = f"n <= {_RARE}"
    state = f"CASE WHEN {rare} THEN 'failed' ELSE 'queued' END"
    # Each request names an instance of its model's; those of one model lie side by side.
    known, each = MODELS * INSTANCES, count // MODELS + 2
    instance = f"{known} + n % {MODELS} * {each} + n / {MODELS} + 1"
    # The first instance of the first model is named by a few of the oldest requests only.
    named = f"CASE WHEN n % {MODELS} = 0 AND n <= {_RARE // 2 * MODELS} THEN 1 ELSE {instance} END"
    session.execute(text("UPDATE instances SET subject = 's-rare' WHERE pk = 1"))
    copies: list[tuple[type[Base], dict[str, str]]] = [
        (
            Version,
            {
                "id": f"'ver_' || {padded}",
                "model_id": "model",
                "root_id": "root",
                "parent_id": "root",
                "number": "n + 1",
            },
        ),
        (
            Instance,
            {
                "pk": instance,
                "root_id": "root",
                "instance_id": "'copy-' || n",
                "subject": "'copy-' || n",
            },
        ),
        (
            LegalHold,
            {
                "id": f"'hld_' || {padded}",
                "released_at": f"CASE WHEN {rare} THEN NULL ELSE placed_at END",
            },
        ),
        (
            Download,
            {"id": f"'dlv_' || {padded}", "version_id": "root", "model_id": "model"},
        ),
        (
            WebhookDelivery,
            {
                "id": f"'whd_' || {padded}",
                "event_seq": "n",
                "state": f"CASE WHEN {rare} THEN 'dead' ELSE 'delivered' END",
            },
        ),
        (
            DeletionRequest,
            {
                "id": f"'req_' || {padded}",
                "model_id": "model",
                "root_id": "root",
                "state": state,
                "external_id": "'TICKET-' || n",
                "due_at": due,
            },
        ),
        (RequestInstance, {"request_id": f"'req_' || {padded}", "instance_pk": named}),
        (Job, {"id": f"'job_' || {padded}", "model_id": "model", "state": state, "due_at": due}),
        (JobRequest, {"job_id": f"'job_' || {padded}", "request_id": f"'req_' || {padded}"}),
        (LedgerEvent, {"seq": "1000 + n", "entity_id": f"'req_' || {padded}"}),
    ]
    numbers = (
        "(WITH RECURSIVE counted(n) AS"
        f" (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < {count})"
        " SELECT n FROM counted)"
        if sqlite
        else f"(SELECT n FROM generate_series(1, {count}) AS n)"
    )
    for table, changed in copies:
        columns = [column.name for column in class_mapper(table).columns]
        values = ", ".join(changed.get(column, column) for column in columns)
        # To build an index takes a fraction of the time that keeping it up row by row does.
        indexes = Base.metadata.tables[table.__tablename__].indexes
        for index in indexes:
            index.drop(session.connection())
        session.execute(
            text(
                f"INSERT INTO {table.__tablename__} ({', '.join(columns)})"
                f" SELECT {values} FROM {numbers} AS counted JOIN picks ON k = n % {MODELS},"
                f" (SELECT * FROM {table.__tablename__} LIMIT 1) AS one"
            )
        )
        for index in indexes:
            index.create(session.connection())
    # A manifest's instances lie side by side: the copies, but for the one that has a subject.
    session.execute(text(f"DELETE FROM instances WHERE pk BETWEEN {INSTANCES + 1} AND {known}"))
