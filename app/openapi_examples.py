"""Examples of the OpenAPI document: of every schema, whole."""

from typing import Any

Schemas = dict[str, Any]
"""The document's components, which schemas refer to by name."""


def example_of(schema: dict[str, Any], schemas: Schemas) -> Any:
    """The schema's own example, or one made of those of its parts."""
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return example_of(schema[key][0], schemas)
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            return {name: example_of(part, schemas) for name, part in properties.items()}
        case "array":
            return [example_of(schema.get("items", {}), schemas)]
        case "string" if schema.get("format") == "date-time":
            return "2026-03-04T09:00:00Z"
        case kind:
            simple = {"string": "text", "integer": 1, "number": 0.5, "boolean": True}
            return simple.get(str(kind))


def restore_nulls(schemas: Schemas) -> None:
    """Put back what FastAPI leaves out of every schema's examples: members that are null."""
    for schema in schemas.values():
        if "examples" in schema:
            schema["examples"] = [_whole(value, schema, schemas) for value in schema["examples"]]


def _whole(value: Any, schema: dict[str, Any], schemas: Schemas) -> Any:
    if "$ref" in schema:
        return _whole(value, schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "anyOf" in schema:
        parts = [part for part in schema["anyOf"] if part.get("type") != "null"]
        return _whole(value, parts[0], schemas) if len(parts) == 1 else value
    if isinstance(value, list):
        return [_whole(item, schema.get("items", {}), schemas) for item in value]
    if not isinstance(value, dict):
        return value
    parts = schema.get("properties", {})
    missing = dict.fromkeys(name for name in schema.get("required", ()) if name not in value)
    return {
        name: _whole(item, parts.get(name, {}), schemas) for name, item in (value | missing).items()
    }
