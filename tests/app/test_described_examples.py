"""The examples of the OpenAPI document fit their schemas, and work, told in order."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
import jsonschema_rs
import pytest
from sqlalchemy import update

from app.db import database_now
from app.states import JobState, VersionState
from app.tables import Job, Model, Version
from carried_out import carry_out
from described_api import Operation, operations
from engine.spec import TaskDescription
from running_service import Service, add_worker, described, weights_bytes

SENT = ("post", "put", "patch")


@pytest.fixture
def document(sqlite_service: Service) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{sqlite_service.base_url}/openapi.json").json()
    return found


def _faults(value: Any, schema: Mapping[str, Any], document: Mapping[str, Any]) -> list[str]:
    within = {**schema, "components": document["components"]}
    return [
        str(error.message)
        for error in jsonschema_rs.Draft202012Validator(within).iter_errors(value)
    ]


def test_every_example_fits_its_schema(document: dict[str, Any]) -> None:
    wrong = []
    for operation in operations(document):
        described = operation.described
        contents = [described.get("requestBody", {}), *described["responses"].values()]
        for media_type, media in (m for c in contents for m in c.get("content", {}).items()):
            for example in _examples(media):
                faults = _faults(example, media.get("schema", {}), document)
                wrong += [(operation.name, media_type, fault) for fault in faults]
    assert wrong == []


def _examples(media: Mapping[str, Any]) -> list[Any]:
    return (
        [media["example"]]
        if "example" in media
        else [e["value"] for e in media["examples"].values()]
    )


class Story:
    """A service to which the examples are told, and what came of it."""

    def __init__(self, service: Service, document: dict[str, Any]) -> None:
        self.service = service
        self.document = document
        self.operations = {operation.name: operation for operation in operations(document)}
        self.told: set[str] = set()
        self.values: dict[str, str] = {"model": "street-parsing", "alias": "candidate"}

    def tell(self, name: str, **files: bytes) -> Any:
        """The answer to each of the operation's examples, which must be as it is described."""
        operation = self.operations[name]
        seen = None
        with self.service.client() as client:
            for body in operation.bodies:
                if files:
                    words = {n: str(v).encode() for n, v in body.items()}
                    answer = client.post(
                        operation.path.format_map(self.values), files={**words, **files}
                    )
                else:
                    answer = operation.call(client, self.values, body)
                assert answer.is_success, f"{name}: {answer.text}"
                seen = self._checked(operation, answer)
        self.told.add(name)
        return seen

    def _checked(self, operation: Operation, answer: httpx.Response) -> Any:
        content = operation.described["responses"][str(answer.status_code)].get("content", {})
        if "application/json" not in content:
            return None
        seen = answer.json()
        assert _faults(seen, content["application/json"]["schema"], self.document) == []
        return seen

    def made_by(self, operation: Operation) -> None:
        """Have what the operation's path names that is not there yet made by its collection."""
        for name in operation.parameters("path"):
            collection = operation.path.partition(f"/{{{name}}}")[0]
            if name not in self.values:
                self.values[name] = self.tell(f"POST {collection}")["id"]


def test_the_examples_told_in_order_work(sqlite_service: Service, document: dict[str, Any]) -> None:
    story = Story(sqlite_service, document)
    with sqlite_service.database.write() as session, session.begin():
        add_worker(session)
    story.tell("POST /v1/models")
    _describe(sqlite_service)
    version = story.tell("POST /v1/models/{model}/versions", weights=weights_bytes())
    moved = story.operations["PUT /v1/models/{model}/aliases/{alias}"].bodies[0]["version"]
    _add_version(sqlite_service, moved, version["id"])

    for verb in ("deny", "cancel", "extend"):
        _ask(story)
        story.tell(f"POST /v1/deletion-requests/{{request_id}}/{verb}")
    story.tell("POST /v1/deletion-requests/{request_id}/approve")
    _carry_out(sqlite_service, "fail")
    story.values["version"] = "100"  # the one that was rejected, behind the example's number 99
    story.tell("POST /v1/deletion-requests/{request_id}/retry")
    _carry_out(sqlite_service, "pass")
    story.tell("POST /v1/deletion-requests/{request_id}/receipt/openings")
    story.tell("PUT /v1/models/{model}/aliases/{alias}")

    last = {"POST /v1/subjects/erase"}  # nothing finds that subject afterwards
    with_bodies = {
        name for name, op in story.operations.items() if op.verb in SENT and op.media_type
    }
    # From the end of the alphabet: what goes on with a thing comes before what makes it.
    for name in [*sorted(with_bodies - story.told - last, reverse=True), *last]:
        if name not in story.told:
            story.made_by(story.operations[name])
            story.tell(name)
    assert with_bodies - story.told == set()


def _ask(story: Story) -> None:
    story.values["request_id"] = story.tell("POST /v1/deletion-requests")["id"]


def _describe(service: Service) -> None:
    """What a worker would answer of the examples' network."""
    tasks = tuple(
        TaskDescription(name=name, kind="segmentation", metric="miou", higher_is_better=True)
        for name in ("garments", "parts")
    )
    description = described().model_copy(update={"workload": "arrays", "tasks": tasks})
    with service.database.write() as session, session.begin():
        session.execute(update(Model).values(description=json.loads(description.model_dump_json())))
        session.execute(update(Job).values(state=JobState.SUCCEEDED))


def _add_version(service: Service, version_id: str, parent_id: str) -> None:
    """The version that an example names."""
    with service.database.write() as session, session.begin():
        parent = session.get_one(Version, parent_id)
        session.add(
            Version(
                id=version_id,
                tenant_id=parent.tenant_id,
                model_id=parent.model_id,
                number=99,
                root_id=parent.root_id,
                parent_id=parent.id,
                state=VersionState.VERIFIED,
                weights_sha256=parent.weights_sha256,
                weights_size=parent.weights_size,
                created_at=database_now(session),
            )
        )


def _carry_out(service: Service, verdict: Any) -> None:
    with service.database.write() as session, session.begin():
        session.execute(update(Job).values(not_before=database_now(session)))
    carry_out(service.parts, verdict)
