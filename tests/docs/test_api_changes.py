"""What a change of the OpenAPI document takes away from callers is found, and nothing else is."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import write_reference
from generators import http_api
from generators.api_changes import breaking_changes

Edit = Callable[[dict[str, Any]], object]

OLD: dict[str, Any] = {
    "paths": {
        "/things": {
            "get": {
                "security": [{"bearer": ["a"]}, {"bearer": ["b"]}],
                "parameters": [
                    {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 9}},
                    {"name": "state", "in": "query", "schema": {"enum": ["on", "off"]}},
                ],
                "responses": {"200": {"content": {"application/json": {"schema": {}}}}},
            },
            "post": {
                "requestBody": {
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/New"}}
                    }
                },
                "responses": {
                    "201": {
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Thing"}},
                            "text/html": {},
                        }
                    }
                },
            },
        }
    },
    "components": {
        "schemas": {
            "New": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "maxLength": 10},
                    "share": {"type": "number"},
                    "size": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
            },
            "Thing": {
                "type": "object",
                "required": ["id", "parent"],
                "properties": {
                    "id": {"type": "string"},
                    "count": {"type": "integer"},
                    "state": {"type": "string", "enum": ["on", "off"]},
                    "parent": {"anyOf": [{"$ref": "#/components/schemas/Thing"}, {"type": "null"}]},
                },
            },
        }
    },
}


def edited(edit: Edit) -> dict[str, Any]:
    document = copy.deepcopy(OLD)
    edit(document)
    return document


def new(document: dict[str, Any]) -> Any:
    return document["components"]["schemas"]["New"]


def thing(document: dict[str, Any]) -> Any:
    return document["components"]["schemas"]["Thing"]


def get(document: dict[str, Any]) -> Any:
    return document["paths"]["/things"]["get"]


def post(document: dict[str, Any]) -> Any:
    return document["paths"]["/things"]["post"]


BREAKING: dict[str, tuple[Edit, str]] = {
    "a path": (lambda d: d["paths"].clear(), "POST /things is gone"),
    "a verb": (lambda d: d["paths"]["/things"].pop("get"), "GET /things is gone"),
    "a parameter": (lambda d: get(d)["parameters"].pop(), "GET /things: query:state is gone"),
    "a parameter's value": (
        lambda d: get(d)["parameters"][1]["schema"]["enum"].pop(),
        "GET /things: query:state no longer knows 'off'",
    ),
    "a parameter that is now required": (
        lambda d: get(d)["parameters"][0].update(required=True),
        "GET /things: query:limit is now required",
    ),
    "a new parameter that is required": (
        lambda d: get(d)["parameters"].append({"name": "x", "in": "query", "required": True}),
        "GET /things: query:x is now required",
    ),
    "a narrower bound": (
        lambda d: get(d)["parameters"][0]["schema"].update(maximum=8),
        "GET /things: query:limit has now the maximum 8",
    ),
    "a bound where none was": (
        lambda d: get(d)["parameters"][0]["schema"].update(minimum=1),
        "GET /things: query:limit has now the minimum 1",
    ),
    "a scope that sufficed": (
        lambda d: get(d)["security"].pop(0),
        "GET /things: a no longer suffices",
    ),
    "a call without a key": (
        lambda d: post(d).update(security=[{"bearer": []}]),
        "POST /things: it now asks for a key",
    ),
    "a body that is now required": (
        lambda d: post(d)["requestBody"].update(required=True),
        "POST /things: the body is now required",
    ),
    "a field that is now required": (
        lambda d: new(d)["required"].append("size"),
        "POST /things: #/size is now required",
    ),
    "a new field that is required": (
        lambda d: (
            new(d)["required"].append("fresh"),
            new(d)["properties"].update(fresh={"type": "string"}),
        ),
        "POST /things: #/fresh is now required",
    ),
    "a field of the body": (
        lambda d: new(d)["properties"].pop("tags"),
        "POST /things: #/tags is gone",
    ),
    "a narrower type": (
        lambda d: new(d)["properties"].update(share={"type": "integer"}),
        "POST /things: #/share no longer accepts number",
    ),
    "null in a body": (
        lambda d: new(d)["properties"]["size"]["anyOf"].pop(),
        "POST /things: #/size no longer accepts null",
    ),
    "the type of an item": (
        lambda d: new(d)["properties"]["tags"].update(items={"type": "integer"}),
        "POST /things: #/tags/* no longer accepts string",
    ),
    "a pattern where none was": (
        lambda d: new(d)["properties"]["name"].update(pattern="^a"),
        "POST /things: #/name has now the pattern ^a",
    ),
    "only some values where all were taken": (
        lambda d: new(d)["properties"]["name"].update(enum=["a"]),
        "POST /things: #/name now accepts only ['a']",
    ),
    "a status code": (
        lambda d: post(d)["responses"].pop("201"),
        "POST /things: the answer 201 is gone",
    ),
    "a form of the answer": (
        lambda d: post(d)["responses"]["201"]["content"].pop("text/html"),
        "POST /things: the answer 201 as text/html is gone",
    ),
    "a field of the answer": (
        lambda d: thing(d)["properties"].pop("count"),
        "POST /things: the answer 201 #/count is gone",
    ),
    "a field that was always in the answer": (
        lambda d: thing(d)["required"].remove("id"),
        "POST /things: the answer 201 #/id may be missing",
    ),
    "another type in the answer": (
        lambda d: thing(d)["properties"]["count"].update(type="number"),
        "POST /things: the answer 201 #/count may now be number",
    ),
    "null in the answer": (
        lambda d: thing(d)["properties"]["id"].update(type=["string", "null"]),
        "POST /things: the answer 201 #/id may now be null",
    ),
    "a value in the answer": (
        lambda d: thing(d)["properties"]["state"]["enum"].remove("on"),
        "POST /things: the answer 201 #/state no longer knows 'on'",
    ),
}
HARMLESS: dict[str, Edit] = {
    "nothing": lambda d: None,
    "a path": lambda d: d["paths"].update({"/more": {"get": {}}}),
    "a verb": lambda d: d["paths"]["/things"].update({"put": {}}),
    "a parameter": lambda d: get(d)["parameters"].append({"name": "x", "in": "query"}),
    "a wider bound": lambda d: get(d)["parameters"][0]["schema"].update(maximum=10),
    "a scope that suffices": lambda d: get(d)["security"].append({"bearer": ["c"]}),
    "a call for everybody": lambda d: get(d).pop("security"),
    "any key suffices": lambda d: get(d).update(security=[{"bearer": []}]),
    "a field of the body": lambda d: new(d)["properties"].update(more={"type": "string"}),
    "a wider type in the body": lambda d: new(d)["properties"].update(
        name={"type": ["string", "null"]}
    ),
    "a number for an integer in the body": lambda d: new(d)["properties"]["size"]["anyOf"][
        0
    ].update(type="number"),
    "a field that is no longer required": lambda d: new(d)["required"].clear(),
    "a field of the answer": lambda d: thing(d)["properties"].update(more={"type": "string"}),
    "a value in the answer": lambda d: thing(d)["properties"]["state"]["enum"].append("idle"),
    "null is never answered": lambda d: thing(d)["properties"]["parent"]["anyOf"].pop(),
    "a status code": lambda d: post(d)["responses"].update({"200": {}}),
}


@pytest.mark.parametrize("name", BREAKING)
def test_what_callers_would_miss_is_told(name: str) -> None:
    edit, told = BREAKING[name]
    assert told in breaking_changes(OLD, edited(edit))


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_added_or_allowed_breaks_nobody(name: str) -> None:
    assert breaking_changes(OLD, edited(HARMLESS[name])) == []


def test_the_api_as_it_is_breaks_no_caller_of_itself() -> None:
    assert breaking_changes(http_api.document(), http_api.document()) == []


def test_a_breaking_change_is_written_only_when_it_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(write_reference, "REFERENCE", tmp_path)
    monkeypatch.setattr(write_reference, "PAGES", {"openapi.json": http_api.exported})
    file = tmp_path / "openapi.json"
    assert write_reference.main() == 0
    former = copy.deepcopy(http_api.document())
    former["paths"]["/v1/former"] = {"get": {"responses": {}}}
    file.write_text(json.dumps(former))
    assert write_reference.main() == 1
    assert "- GET /v1/former is gone" in capsys.readouterr().err
    assert json.loads(file.read_text()) == former
    assert write_reference.main("--breaking") == 0
    assert json.loads(file.read_text()) == http_api.document()
