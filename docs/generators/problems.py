"""Every problem type that the service can answer with, found where it is raised."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import app
from app.problems import TYPES
from generators.source import table

_HEAD = f"""# Problems

An error is `application/problem+json` (RFC 9457). `type` is `{TYPES}` and the name below; `detail`
is one sentence; `errors` points at the fields, as `#/instances/3`, `query:limit` or
`header:if-match`. Decide by `type` and `status`, and show `detail`.

"""
_TAIL = """

`429`, `503`, and `409` with `Retry-After` may be repeated after so many seconds, with the same
`Idempotency-Key`. Other errors of HTTP (404 for a path, 405, 406, 415) carry the name of the
status.
"""
_KINDS = {
    "Problem": (None, None),
    "Conflict": (409, None),
    "Invalid": (422, "invalid"),
    "NotFound": (404, "not-found"),
    "Unavailable": (503, "unavailable"),
}


def page() -> str:
    """Markdown."""
    found: dict[tuple[int, str], set[str]] = defaultdict(set)
    for file in sorted(Path(*app.__path__).rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for status, slug, detail in _raised_in(function):
                    found[status, slug].add(detail)
    rows = [
        (str(status), f"`{slug}`", "<br>".join(sorted(details - {""})))
        for (status, slug), details in sorted(found.items())
    ]
    return _HEAD + table(("status", "type", "says"), rows) + _TAIL


def _raised_in(function: ast.AST) -> Iterator[tuple[int, str, str]]:
    nodes = list(ast.walk(function))
    named = {
        target.id: node.value
        for node in nodes
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield from _raised(node, node.func.id, named)


def _raised(
    call: ast.Call, name: str, local: dict[str, ast.expr]
) -> Iterator[tuple[int, str, str]]:
    if name not in _KINDS:
        return
    status, slug = _KINDS[name]
    arguments = list(call.args)
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    if name == "Problem":
        status = _constant(arguments.pop(0))
    if name in ("Problem", "Conflict"):
        slug = _constant(arguments.pop(0))
    elif name == "Invalid":
        arguments.pop(0)
        slug = _constant(named["slug"]) if "slug" in named else slug
    if isinstance(status, int) and isinstance(slug, str):
        if name == "NotFound":
            yield status, slug, "there is no ..."
        elif arguments:
            detail = arguments[0]
            if isinstance(detail, ast.Name):
                detail = local.get(detail.id, detail)
            yield status, slug, _sentence(detail)


def _constant(node: ast.expr) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def _sentence(node: ast.expr) -> str:
    """The text, with `...` for what depends on the request; nothing if all of it does."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(
                _sentence(part) if isinstance(part, ast.Constant) else "..." for part in parts
            )
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _sentence(left) + (_sentence(right) or "...")
        case _:
            return ""
