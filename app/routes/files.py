"""Downloads of weights, and who made them."""

import logging
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Depends, Request, Response

from app.auth import Principal, Scope
from app.file_answer import FileSlice, etag_of, file_headers, is_not_modified, span_of
from app.http import Parts, PartsDep, ReadSession, requires
from app.http_retired import retired_headers
from app.pagination import Items, PageDep, link_next
from app.problems import NotFound, Problem
from app.schemas.versions import RecipientView
from app.services import downloads
from app.services.lookup import find_model, find_version
from app.services.stored_weights import DamagedWeights, Recipe, recipe_of
from app.states import VersionState
from app.tables import Model, Version
from engine.spec import WEIGHTS_FILE

router = APIRouter(prefix="/v1/models/{model}", tags=["versions"])

Reader = Annotated[Principal, Depends(requires(Scope.VERSIONS_READ))]
Downloader = Annotated[Principal, Depends(requires(Scope.VERSIONS_DOWNLOAD, Scope.VERSIONS_FOLLOW))]
_log = logging.getLogger(__name__)

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file",
        "content": {"application/octet-stream": {"example": "(the bytes of the file)"}},
    },
    206: {"description": "The part of it that `Range` asks for"},
    304: {"description": "The caller has it already (`If-None-Match`)"},
    410: {"description": "The version's weights were purged"},
    416: {"description": "The file has no such part"},
}


@router.get("/versions/{version}/files/{file}", response_class=Response, responses=_ANSWERS)
@router.head("/versions/{version}/files/{file}", response_class=Response, responses=_ANSWERS)
def download(
    model: str, version: str, file: str, caller: Downloader, parts: PartsDep, request: Request
) -> Response:
    """A version's file, `weights.safetensors`: whole, or one byte range of it.

    The ETag is the sha256 of the whole file; `Repr-Digest` says the same. Who takes a file is
    remembered: see the model's recipients. Who took the weights of a version is refused those of
    the version that was made from it, and the other way round (403 `consecutive-version`), unless
    the policy allows it or the key has the scope `versions:follow`.
    """
    with parts.database.read() as session:
        found = find_model(session, caller.tenant_id, model)
        wanted = find_version(session, found, version)
        retired = retired_headers(session, found, wanted)
        recipe = recipe_of(session, wanted)
    if file != WEIGHTS_FILE:
        raise NotFound(f"file of version {wanted.id}", file)
    if wanted.state == VersionState.PURGED:
        raise Problem(410, "purged", f"the weights of version {wanted.number} were purged")
    name = f"{found.name}-v{wanted.number}.safetensors"
    headers = file_headers(wanted.weights_sha256, wanted.weights_size, name)
    headers |= retired
    etag = etag_of(wanted.weights_sha256)
    if is_not_modified(request, etag):
        del headers["Content-Length"], headers["Content-Type"]
        return Response(status_code=304, headers=headers)
    span = span_of(request, etag, wanted.weights_size)
    stream = _open(parts, wanted, recipe)
    if request.method == "HEAD":
        stream.close()
        return Response(headers=headers)
    try:
        _record(parts, found, wanted, file, caller, is_start=span.begin == 0)
    except Problem:
        stream.close()
        raise
    return FileSlice(stream, span, wanted.weights_size, headers)


@router.get("/recipients", tags=["models"])
def recipients(
    model: str,
    caller: Reader,
    session: ReadSession,
    page: PageDep,
    request: Request,
    response: Response,
) -> Items[RecipientView]:
    """Who took which file: those who must be told of an erasure (GDPR, Art. 19)."""
    found = find_model(session, caller.tenant_id, model)
    rows = downloads.recipients(session, found, page.limit + 1, page.after)
    shown, cursor = page.cut(rows, lambda download: download.id)
    link_next(request, response, cursor)
    items = [
        RecipientView(version=row.version_id, file=row.file, principal=row.principal, at=row.at)
        for row in shown
    ]
    return Items(items=items, next=cursor)


def _record(
    parts: Parts, model: Model, version: Version, file: str, caller: Principal, *, is_start: bool
) -> None:
    """Who goes on with a download is on record already."""
    if not is_start:
        with parts.database.read() as session:
            if downloads.has_taken(session, version, file, caller):
                return
    with parts.database.write() as session, session.begin():
        downloads.record(session, model, version, file, caller)


def _open(parts: Parts, version: Version, recipe: Recipe) -> BinaryIO:
    """The stored or restored file, if it is there and as long as it should be."""
    try:
        return parts.weights.open(recipe)
    except DamagedWeights as error:
        what = str(error)
    except OSError as error:
        what = f"the stored weights of version {version.number} cannot be read ({error.strerror})"
    _log.error("version %s in storage: %s", version.id, what)
    raise Problem(500, "damaged-file", what)
