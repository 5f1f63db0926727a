"""Every edge of the state machines happens, and none that they lack, told from over HTTP.

On both databases, each with one service for all of it.
What a verb may do follows from `app.states` alone. A state is reached by the API and by what a
worker writes; each model has a workload of its own, so that the worker takes just its jobs.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import count
from typing import Any

import httpx
import pytest

from app.schemas.models import Policy
from app.services.approval import expire_overdue
from app.services.attempts import Claim
from app.services.claiming import claim
from app.services.execution import cancelled, fail, give_back, renew
from app.states import FINISHED_REQUEST, JOB, REQUEST, VERSION
from app.states import JobState as J
from app.states import RequestState as R
from app.states import VersionState as V
from app.tables import Model
from carried_out import finish
from engine.spec import Progress, Verdict
from running_service import Registered, Service, register_model

REQUESTS = "/v1/deletion-requests"
_numbers = count(1)


class Desk:
    """A model of its own, its requests over HTTP and its one worker."""

    def __init__(self, service: Service, client: httpx.Client, **policy: Any) -> None:
        self.service = service
        self.client = client
        name = f"model-{next(_numbers)}"
        with service.database.write() as session, session.begin():
            self.model: Registered = register_model(
                session, service.parts.storage, name, policy=Policy(**policy)
            )
            session.get_one(Model, self.model.model_id).workload = name
        self.versions = f"/v1/models/{name}/versions"

    def call(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.client.post(path, json=body)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def ask(self, *instances: str, **body: Any) -> str:
        named = {"model": self.model.name, "instances": instances or ("i-0",)}
        return str(self.call(REQUESTS, **named, **body)["id"])

    def verb(self, request: str, name: str) -> dict[str, Any]:
        return self.call(f"{REQUESTS}/{request}/{name}", **BODIES[name])

    def hold(self) -> str:
        """A legal hold on `i-0`."""
        named = {"model": self.model.name, "instances": ["i-0"]}
        return str(self.call("/v1/legal-holds", **named, ground="claim", reason="case 1")["id"])

    def release(self, hold: str) -> None:
        self.call(f"/v1/legal-holds/{hold}/release", reason="closed")

    def job(self, request: str) -> str:
        return str(self.client.get(f"{REQUESTS}/{request}").json()["job"])

    def claim(self) -> Claim:
        with self.service.database.write() as session, session.begin():
            taken = claim(session, "worker-1", 600, workloads=[self.model.name])
        assert taken is not None
        return taken

    def run(self, *phases: Any) -> Claim:
        """A claimed job whose engine has come so far."""
        taken = self.claim()
        for phase in phases:
            with self.service.database.write() as session, session.begin():
                renew(session, taken, 600, Progress(phase=phase, step=1, of=2))
        return taken

    def finish(self, taken: Claim, verdict: Verdict = "pass") -> None:
        finish(self.service.parts, taken, verdict)

    def fail(self, taken: Claim, *, final: bool = True) -> None:
        with self.service.database.write() as session, session.begin():
            fail(session, taken, "out of memory", None, final=final, max_attempts=3)

    def give_back(self, taken: Claim) -> None:
        with self.service.database.write() as session, session.begin():
            give_back(session, taken)

    def stopped(self, taken: Claim) -> None:
        with self.service.database.write() as session, session.begin():
            cancelled(session, taken, None)

    def point(self, version: int, reason: str | None = None) -> httpx.Response:
        """Put a version into service."""
        path = f"/v1/models/{self.model.name}/aliases/production"
        body = {"version": str(version), "reason": reason}
        return self.client.put(path, json=body, headers={"If-Match": "*"})

    def head(self) -> int:
        """The ledger's length."""
        return int(self.client.get("/v1/ledger/head").json()["seq"])


BODIES: Mapping[str, dict[str, Any]] = {
    "approve": {},
    "deny": {"ground": "gdpr_art_17_3_b"},
    "cancel": {},
    "extend": {"months": 1, "reason": "many requests"},
    "retry": {},
}

New = Callable[..., Desk]


@pytest.fixture(
    scope="module",
    params=["shared_service", "shared_postgres_service"],
    ids=["sqlite", "postgresql"],
)
def new(request: pytest.FixtureRequest) -> Iterator[New]:
    """Makes desks with policies."""
    service: Service = request.getfixturevalue(request.param)
    with service.client() as client:
        yield lambda **policy: Desk(service, client, **policy)


# What brings a new request into each state; `received` is left before anybody can see it.


def _awaiting(new: New, **body: Any) -> tuple[Desk, str]:
    desk = new(approval="one_person")
    return desk, desk.ask(**body)


def _expired(new: New) -> tuple[Desk, str]:
    past = (datetime.now(UTC) - timedelta(days=90)).isoformat()
    desk, request = _awaiting(new, received_at=past)
    with desk.service.database.write() as session, session.begin():
        expire_overdue(session)
    return desk, request


def _on_hold(new: New) -> tuple[Desk, str]:
    desk = new()
    desk.hold()
    return desk, desk.ask()


def _queued(new: New) -> tuple[Desk, str]:
    desk = new()
    return desk, desk.ask()


def _at_work(new: New, *phases: str) -> tuple[Desk, str]:
    desk, request = _queued(new)
    desk.run(*phases)
    return desk, request


def _done(new: New, verdict: Verdict = "pass", **policy: Any) -> tuple[Desk, str]:
    desk = new(**policy)
    request = desk.ask()
    desk.finish(desk.claim(), verdict)
    return desk, request


def _failed(new: New) -> tuple[Desk, str]:
    desk, request = _queued(new)
    desk.fail(desk.claim())
    return desk, request


def _after(verb: str, before: Callable[[New], tuple[Desk, str]], new: New) -> tuple[Desk, str]:
    desk, request = before(new)
    desk.verb(request, verb)
    return desk, request


IN_STATE: Mapping[R, Callable[[New], tuple[Desk, str]]] = {
    R.AWAITING_APPROVAL: _awaiting,
    R.ON_HOLD: _on_hold,
    R.QUEUED: _queued,
    R.IN_PROGRESS: _at_work,
    R.VERIFYING: lambda new: _at_work(new, "unlearn", "audit"),
    R.COMPLETED: _done,
    R.COMPLETED_WITH_EXCEPTIONS: lambda new: _done(new, "fail"),
    R.FAILED: _failed,
    R.DENIED: lambda new: _after("deny", _awaiting, new),
    R.CANCELLED: lambda new: _after("cancel", _queued, new),
    R.EXPIRED: _expired,
}
AT_WORK = (R.IN_PROGRESS, R.VERIFYING)


def allowed(state: R, verb: str) -> R | None:
    """The state after a verb, as the table has it; None where it is refused."""
    match verb:
        case "approve":
            return R.QUEUED if state == R.AWAITING_APPROVAL else None
        case "deny":
            return R.DENIED if R.DENIED in REQUEST[state] else None
        case "extend":
            return None if state in FINISHED_REQUEST else state
        case "retry":
            return R.QUEUED if state in (R.FAILED, R.COMPLETED_WITH_EXCEPTIONS) else None
        case _:
            if R.CANCELLED not in REQUEST[state]:
                return None
            return state if state in AT_WORK else R.CANCELLED  # when its worker has stopped


def test_every_state_of_a_request_but_the_first_is_tried() -> None:
    assert set(IN_STATE) == set(R) - {R.RECEIVED}


@pytest.mark.parametrize("state", IN_STATE)
def test_what_a_request_does_not_allow_is_refused_and_changes_nothing(state: R, new: New) -> None:
    desk, request = IN_STATE[state](new)
    before = desk.client.get(f"{REQUESTS}/{request}")
    assert before.json()["state"] == state
    length = desk.head()
    refused = [verb for verb in BODIES if allowed(state, verb) is None]
    for verb in refused:
        answer = desk.client.post(f"{REQUESTS}/{request}/{verb}", json=BODIES[verb])
        assert (answer.status_code, answer.json()["state"]) == (409, state), (verb, answer.text)
    after = desk.client.get(f"{REQUESTS}/{request}")
    assert (after.json(), after.headers["ETag"]) == (before.json(), before.headers["ETag"])
    assert desk.head() == length


@pytest.mark.parametrize(
    ("state", "verb"),
    [(state, verb) for state in IN_STATE for verb in BODIES if allowed(state, verb)],
)
def test_what_a_request_allows_gives_the_state_of_the_table(state: R, verb: str, new: New) -> None:
    desk, request = IN_STATE[state](new)
    assert desk.verb(request, verb)["state"] == allowed(state, verb)
    if verb == "cancel" and state in AT_WORK:
        job = desk.client.get(f"/v1/jobs/{desk.job(request)}").json()
        assert job["state"] == J.CANCELLING


# Jobs: one verb.


def _job(request: tuple[Desk, str]) -> tuple[Desk, str]:
    return request[0], request[0].job(request[1])


JOB_IN_STATE: Mapping[J, Callable[[New], tuple[Desk, str]]] = {
    J.QUEUED: lambda new: _job(_queued(new)),
    J.LEASED: lambda new: _job(_at_work(new)),
    J.RUNNING: lambda new: _job(_at_work(new, "load")),
    J.CANCELLING: lambda new: _job(_after("cancel", lambda made: _at_work(made, "load"), new)),
    J.SUCCEEDED: lambda new: _job(_done(new)),
    J.FAILED: lambda new: _job(_failed(new)),
    J.CANCELLED: lambda new: _job(_after("cancel", _queued, new)),
}


@pytest.mark.parametrize("state", J)
def test_a_job_is_cancelled_where_the_table_lets_it(state: J, new: New) -> None:
    desk, job = JOB_IN_STATE[state](new)
    length = desk.head()
    answer = desk.client.post(f"/v1/jobs/{job}/cancel")
    if state != J.CANCELLING and {J.CANCELLED, J.CANCELLING} & JOB[state]:
        expected = J.CANCELLED if J.CANCELLED in JOB[state] else J.CANCELLING
        assert (answer.status_code, answer.json()["state"]) == (202, expected)
    else:
        assert (answer.status_code, answer.json()["state"]) == (409, state)
        assert desk.client.get(f"/v1/jobs/{job}").json()["state"] == state
        assert desk.head() == length


# Versions: put into service, purged.


def _purged(new: New) -> tuple[Desk, int]:
    desk, _ = _done(new, "fail")
    desk.call(f"{desk.versions}/2/purge")
    return desk, 2


VERSION_IN_STATE: Mapping[V, Callable[[New], tuple[Desk, int]]] = {
    V.STAGED: lambda new: (_done(new, "inconclusive")[0], 2),
    V.VERIFIED: lambda new: (new(), 1),
    V.REJECTED: lambda new: (_done(new, "fail")[0], 2),
    V.SUPERSEDED: lambda new: (_done(new)[0], 1),
    V.PURGED: _purged,
}


@pytest.mark.parametrize("state", V)
def test_a_version_is_put_into_service_where_the_table_lets_it(state: V, new: New) -> None:
    desk, number = VERSION_IN_STATE[state](new)
    path = f"{desk.versions}/{number}"
    assert desk.client.get(path).json()["state"] == state
    length = desk.head()
    answer = desk.point(number, "somebody decided so")
    if state == V.VERIFIED or V.VERIFIED in VERSION[state]:
        assert answer.status_code == 200
        assert desk.client.get(path).json()["state"] == V.VERIFIED
    else:
        assert (answer.status_code, answer.json()["state"]) == (409, state)
        assert desk.client.get(path).json()["state"] == state
        assert desk.head() == length


@pytest.mark.parametrize("state", V)
def test_a_version_is_purged_where_the_table_lets_it(state: V, new: New) -> None:
    desk, number = VERSION_IN_STATE[state](new)
    path = f"{desk.versions}/{number}"
    length = desk.head()
    answer = desk.client.post(f"{path}/purge")
    if state == V.PURGED or V.PURGED in VERSION[state]:
        assert (answer.status_code, answer.json()["state"]) == (200, V.PURGED)
    else:
        assert (answer.status_code, answer.json()["state"]) == (409, state)
        assert desk.client.get(path).json()["state"] == state
    assert (desk.head() == length) == (state == V.PURGED or answer.status_code == 409)


# The edges that no verb takes by itself: what a worker, a hold, a deadline or a rollback does.


def _holds_come_and_go(new: New) -> None:
    desk, request = _awaiting(new)
    hold = desk.hold()
    desk.release(hold)  # back to waiting for its approvers
    desk.verb(request, "approve")
    hold = desk.hold()
    desk.release(hold)  # back into the queue
    desk.finish(desk.run("unlearn", "audit"))
    desk.hold()
    assert desk.point(1, "complaints").status_code == 200  # what is undone is parked


def _held_and_given_up(new: New) -> None:
    for verb in ("deny", "cancel"):
        desk, request = _on_hold(new)
        desk.verb(request, verb)
    _after("cancel", _awaiting, new)


def _nothing_is_left_to_do(new: New) -> None:
    desk, _ = _done(new)
    desk.ask()
    desk.ask("absent", on_unknown="skip")
    assert desk.point(1, "complaints").status_code == 200  # the first is carried out again


def _no_version_to_forget_from(new: New) -> None:
    desk, request = _queued(new)
    desk.client.patch(
        f"/v1/models/{desk.model.name}", json={"policy": {"promote_alias": "elsewhere"}}
    )
    with desk.service.database.write() as session, session.begin():
        assert claim(session, "worker-1", 600, workloads=[desk.model.name]) is None
    assert desk.client.get(f"{REQUESTS}/{request}").json()["state"] == R.FAILED


def _attempts_are_lost_and_jobs_fail(new: New) -> None:
    desk, request = _queued(new)
    desk.give_back(desk.claim())
    desk.give_back(desk.run("unlearn"))
    desk.give_back(desk.run("unlearn", "audit"))
    desk.fail(desk.claim())
    desk.verb(request, "retry")
    desk.fail(desk.run("unlearn"))
    desk.verb(request, "retry")
    desk.fail(desk.run("unlearn", "audit"))
    desk.hold()
    desk.verb(request, "retry")  # parked


def _cancelled_at_work(new: New) -> None:
    for phases in ((), ("unlearn",), ("unlearn", "audit")):
        desk, request = _queued(new)
        taken = desk.run(*phases)
        desk.verb(request, "cancel")
        desk.stopped(taken)


def _with_exceptions(new: New) -> None:
    desk, request = _done(new, "fail")
    desk.verb(request, "retry")
    desk.finish(desk.claim(), "fail")
    desk.hold()
    desk.verb(request, "retry")


def _versions_come_and_go(new: New) -> None:
    desk, _ = _done(new)
    assert desk.point(1, "complaints").status_code == 200
    desk.finish(desk.claim())
    desk.call(f"{desk.versions}/1/purge")
    _purged(new)
    VERSION_IN_STATE[V.STAGED](new)


STORIES = (
    _holds_come_and_go,
    _held_and_given_up,
    _nothing_is_left_to_do,
    _no_version_to_forget_from,
    _attempts_are_lost_and_jobs_fail,
    _cancelled_at_work,
    _with_exceptions,
    _versions_come_and_go,
)


def test_the_ledger_tells_of_every_edge_of_the_tables_and_of_no_other(
    new: New,
) -> None:
    for story in STORIES:
        story(new)
    for reach in IN_STATE.values():
        reach(new)
    seen = set(_moves(new().client))
    for entity, machine in (("request", REQUEST), ("job", JOB), ("version", VERSION)):
        edges = {(str(now), str(to)) for now, after in machine.items() for to in after}
        happened = {(now, to) for what, now, to in seen if what == entity}
        assert edges - happened == set(), f"edges of a {entity} that nothing took"
        assert happened - edges == set(), f"moves of a {entity} that no edge allows"


def _moves(client: httpx.Client) -> Iterator[tuple[str, str, str]]:
    """Of the ledger: what moved, from which state, to which."""
    states: set[type[StrEnum]] = {R, J, V}
    names = {str(state) for kind in states for state in kind}
    params: dict[str, Any] = {"limit": 100}
    while True:
        page = client.get("/v1/events", params=params).json()
        for event in page["items"]:
            entity, _, to = event["kind"].partition(".")
            now = event["payload"].get("from")
            if to in names and now in names:
                yield entity, now, to
        if page["next"] is None:
            return
        params["after"] = page["next"]
