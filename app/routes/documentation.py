"""`/docs` and `/redoc`: the API for people, from files of the installation's own.

Swagger UI and ReDoc come with the package `fastapi-offline`; no page asks another host for
anything, and their policies let no script in but these files.
"""

from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from app.problems import Problem

_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
)
_SWAGGER_POLICY = _POLICY + "style-src 'self'"
_REDOC_POLICY = _POLICY + "style-src 'self' 'unsafe-inline'; worker-src blob:"
"""ReDoc writes its styles into the page, and searches in a worker of its own making."""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Expunge API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/assets/{style}">
</head>
<body>
<div id="api"></div>
<script src="docs/assets/{script}"></script>
<script src="docs/assets/{start}"></script>
</body>
</html>
"""
_OURS = {
    "start-swagger.js": (
        'SwaggerUIBundle({url: "openapi.json", dom_id: "#api", deepLinking: true,'
        " validatorUrl: null});\n"
    ),
    "start-redoc.js": 'Redoc.init("openapi.json", {}, document.getElementById("api"));\n',
    "redoc.css": "body { margin: 0; }\n",
}
_THEIRS = ("swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js")
_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"


router = APIRouter(include_in_schema=False)


@router.get("/docs")
def swagger() -> HTMLResponse:
    """The API, to be tried out."""
    return _page(_SWAGGER_POLICY, "swagger-ui.css", "swagger-ui-bundle.js", "start-swagger.js")


@router.get("/redoc")
def redoc() -> HTMLResponse:
    """The API, to be read."""
    return _page(_REDOC_POLICY, "redoc.css", "redoc.standalone.js", "start-redoc.js")


@router.get("/docs/assets/{name}")
def asset(name: str) -> Response:
    """A script or a style of these pages."""
    if name not in _OURS and name not in _THEIRS:
        raise Problem(404, "not-found", f"there is no file {name!r:.80}")
    kind = "text/css" if name.endswith(".css") else "text/javascript"
    return Response(_content(name), media_type=kind, headers={"Cache-Control": "max-age=86400"})


def _page(policy: str, style: str, script: str, start: str) -> HTMLResponse:
    page = _PAGE.format(style=style, script=script, start=start)
    return HTMLResponse(page, headers={"Content-Security-Policy": policy})


@cache
def _content(name: str) -> bytes:
    if name in _OURS:
        return _OURS[name].encode()
    content = (files("fastapi_offline") / "static" / name).read_bytes()
    return content.replace(_LOGO, b"data:,")  # ReDoc would ask its maker's host for it
