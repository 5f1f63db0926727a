"""What a new OpenAPI document takes away from the callers of an old one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Document = dict[str, Any]
Schema = dict[str, Any]
Direction = Literal["request", "response"]
"""Who sends: a request may not be asked for more, an answer may not hold less."""

_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_SHAPE = ("pattern", "format", "contentMediaType")
_ANYTHING: Schema = {}
_WIDER = {"integer": ("number",)}


def breaking_changes(old: Document, new: Document) -> list[str]:
    """One sentence for each change that a caller of `old` would notice; empty where there is none.

    What is added is no such change: paths, optional fields and parameters, fields, values and
    status codes of answers. Callers are told to expect those.
    """
    found: list[str] = []
    for path, item in old["paths"].items():
        for verb, operation in item.items():
            name = f"{verb.upper()} {path}"
            now = new["paths"].get(path, {}).get(verb)
            if now is None:
                found.append(f"{name} is gone")
            else:
                found += (f"{name}: {change}" for change in _operation(old, operation, new, now))
    return found


def _operation(old: Document, was: Schema, new: Document, now: Schema) -> Iterator[str]:
    compare = _Comparison(old, new)
    yield from _security(was.get("security"), now.get("security"))
    before, after = _parameters(was), _parameters(now)
    for place, parameter in after.items():
        if parameter.get("required") and not before.get(place, {}).get("required"):
            yield f"{place} is now required"
    for place, parameter in before.items():
        if place not in after:
            yield f"{place} is gone"
        else:
            schemas = parameter.get("schema", _ANYTHING), after[place].get("schema", _ANYTHING)
            yield from compare.schemas(*schemas, "request", place)
    yield from _body(compare, was.get("requestBody"), now.get("requestBody"))
    for status, response in was["responses"].items():
        if status not in now["responses"]:
            yield f"the answer {status} is gone"
            continue
        contents = response.get("content", {}), now["responses"][status].get("content", {})
        yield from _contents(compare, *contents, "response", f"the answer {status}")


def _security(was: Sequence[Schema] | None, now: Sequence[Schema] | None) -> Iterator[str]:
    """Any one of the alternatives lets a caller in; none given means that anybody may call."""
    if now and not was:
        yield "it now asks for a key"
    for alternative in was or ():
        if now and alternative not in now and {name: [] for name in alternative} not in now:
            scopes = [scope for names in alternative.values() for scope in names]
            yield f"{' and '.join(scopes) or 'a key without scopes'} no longer suffices"


def _parameters(operation: Schema) -> dict[str, Schema]:
    return {f"{p['in']}:{p['name'].lower()}": p for p in operation.get("parameters", [])}


def _body(compare: "_Comparison", was: Schema | None, now: Schema | None) -> Iterator[str]:
    if now and now.get("required") and not (was and was.get("required")):
        yield "the body is now required"
    if was is not None:
        yield from _contents(compare, was["content"], (now or {}).get("content", {}), "request", "")


def _contents(
    compare: "_Comparison", was: Schema, now: Schema, direction: Direction, where: str
) -> Iterator[str]:
    for media, content in was.items():
        if media not in now:
            yield f"{where or 'the body'} as {media} is gone"
        else:
            schemas = content.get("schema", _ANYTHING), now[media].get("schema", _ANYTHING)
            yield from compare.schemas(*schemas, direction, f"{where} #".lstrip())


@dataclass
class _Comparison:
    """Schemas of two documents, each pair compared once: a schema may hold itself."""

    old: Document
    new: Document
    seen: set[tuple[int, int, Direction]] = field(default_factory=set)

    def schemas(self, was: Schema, now: Schema, direction: Direction, at: str) -> list[str]:
        """What a caller would notice, in one sentence each; `at` says where."""
        pair = id(was), id(now), direction
        if pair in self.seen:
            return []
        self.seen.add(pair)
        before = list(_alternatives(was, self.old))
        after = list(_alternatives(now, self.new))
        found = []
        # Every alternative of the sender must be one that the receiver knows.
        senders, receivers = (before, after) if direction == "request" else (after, before)
        for kind in dict.fromkeys(map(_kind, senders)):
            if not {kind, *_WIDER.get(kind, ()), "anything"} & set(map(_kind, receivers)):
                told = "no longer accepts" if direction == "request" else "may now be"
                found.append(f"{at} {told} {kind}")
        for one in before:
            # Where a union has several of a kind, the closest one is its successor.
            same = [other for other in after if _kind(other) == _kind(one)]
            ways = sorted((self._alike(one, other, direction, at) for other in same), key=len)
            found += ways[0] if ways else []
        return found

    def _alike(self, was: Schema, now: Schema, direction: Direction, at: str) -> list[str]:
        """Of two schemas of the same type, neither of which is a union."""
        found = [f"{at} no longer knows {value!r}" for value in _lost_values(was, now)]
        if direction == "request":
            found += _narrowed(was, now, at)
        before, after = was.get("properties", {}), now.get("properties", {})
        required = set(was.get("required", ())), set(now.get("required", ()))
        if direction == "request":
            found += [f"{at}/{name} is now required" for name in sorted(required[1] - required[0])]
        else:
            kept = (required[0] - required[1]) & set(after)
            found += [f"{at}/{name} may be missing" for name in sorted(kept)]
        for name, part in before.items():
            if name in after:
                found += self.schemas(part, after[name], direction, f"{at}/{name}")
            elif direction == "response" or now.get("additionalProperties") is False:
                found.append(f"{at}/{name} is gone")
        for inner in ("items", "additionalProperties"):
            pair = was.get(inner), now.get(inner)
            if isinstance(pair[0], dict) and isinstance(pair[1], dict):
                found += self.schemas(pair[0], pair[1], direction, f"{at}/*")
        return found


def _alternatives(schema: Schema, document: Document) -> Iterator[Schema]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield from _alternatives(document["components"]["schemas"][name], document)
    elif "anyOf" in schema or "oneOf" in schema:
        for part in schema.get("anyOf") or schema["oneOf"]:
            yield from _alternatives(part, document)
    elif isinstance(schema.get("type"), list):
        for kind in schema["type"]:
            yield {**schema, "type": kind}
    else:
        yield schema


def _kind(schema: Schema) -> str:
    return str(schema.get("type", "anything"))


def _values(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _lost_values(was: Schema, now: Schema) -> list[Any]:
    before, after = _values(was), _values(now)
    return [value for value in before or () if after is not None and value not in after]


def _narrowed(was: Schema, now: Schema, at: str) -> Iterator[str]:
    if _values(was) is None and (left := _values(now)) is not None:
        yield f"{at} now accepts only {left!r}"
    for bound in _UPPER:
        if bound in now and now[bound] < was.get(bound, float("inf")):
            yield f"{at} has now the {bound} {now[bound]}"
    for bound in _LOWER:
        if bound in now and now[bound] > was.get(bound, float("-inf")):
            yield f"{at} has now the {bound} {now[bound]}"
    for word in _SHAPE:
        if word in now and now[word] != was.get(word):
            yield f"{at} has now the {word} {now[word]}"
    if now.get("additionalProperties") is False and was.get("additionalProperties") is not False:
        yield f"{at} no longer accepts other fields"
