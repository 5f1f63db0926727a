"""Downloads of versions' files, and who took the weights."""

import io
import logging
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.orm import Session

from app.auth import Principal, Scope
from app.documents import bom
from app.file_answer import FileSlice, etag_of, file_headers, is_not_modified, span_of
from app.http import Parts, PartsDep, ReadSession, requires
from app.http_retired import retired_headers
from app.pagination import Items, PageDep, link_next
from app.problems import NotFound, Problem
from app.schemas.versions import FilesView, FileView, RecipientView, version_path
from app.services import downloads
from app.services.lookup import find_model, find_version
from app.services.stored_weights import DamagedWeights, Recipe, recipe_of
from app.services.version_files import (
    CARD,
    NAMES,
    WEIGHTS,
    VersionFile,
    files_of,
    weights_of,
)
from app.states import VersionState
from app.tables import Model, Version
from engine.spec import WEIGHTS_FILE
from expunge.model_signature import BUNDLE

router = APIRouter(prefix="/v1/models/{model}", tags=["versions"])

Reader = Annotated[Principal, Depends(requires(Scope.VERSIONS_READ))]
Downloader = Annotated[Principal, Depends(requires(Scope.VERSIONS_DOWNLOAD, Scope.VERSIONS_FOLLOW))]
FileReader = Annotated[
    Principal,
    Depends(requires(Scope.VERSIONS_READ, Scope.VERSIONS_DOWNLOAD, Scope.VERSIONS_FOLLOW)),
]
_log = logging.getLogger(__name__)

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file",
        "content": {
            media_type: {"example": "(the bytes of the file)"}
            for media_type in (WEIGHTS, CARD, bom.MEDIA_TYPE, BUNDLE)
        },
    },
    206: {"description": "The part of it that `Range` asks for"},
    304: {"description": "The caller has it already (`If-None-Match`)"},
    410: {"description": "The version's files were purged"},
    416: {"description": "The file has no such part"},
}


@router.get("/versions/{version}/files/{file}", response_class=Response, responses=_ANSWERS)
@router.head("/versions/{version}/files/{file}", response_class=Response, responses=_ANSWERS)
def download(
    model: str, version: str, file: str, caller: Downloader, parts: PartsDep, request: Request
) -> Response:
    """A version's file, such as `weights.safetensors`: whole, or one byte range of it.

    The ETag is the sha256 of the whole file; `Repr-Digest` says the same. Who takes the weights is
    remembered: see the model's recipients. Who took those of a version is refused those of the
    version that was made from it, and the other way round (403 `consecutive-version`), unless
    the policy allows it or the key has the scope `versions:follow`.
    """
    with parts.database.read() as session:
        found = find_model(session, caller.tenant_id, model)
        wanted = find_version(session, found, version)
        if file not in NAMES:
            raise NotFound(f"file of version {wanted.id}", file)
        _check_kept(wanted)
        asked = _asked(session, parts, found, wanted, file)
        retired = retired_headers(session, found, wanted)
        recipe = recipe_of(session, wanted)
    name = file if asked.content is not None else f"{found.name}-v{wanted.number}.safetensors"
    headers = file_headers(asked.sha256, asked.size, name, asked.media_type) | retired
    etag = etag_of(asked.sha256)
    if is_not_modified(request, etag):
        del headers["Content-Length"], headers["Content-Type"]
        return Response(status_code=304, headers=headers)
    span = span_of(request, etag, asked.size)
    if asked.content is not None:
        stream: BinaryIO = io.BytesIO(asked.content)
    else:
        stream = _open(parts, wanted, recipe)
    if request.method == "HEAD":
        stream.close()
        return Response(headers=headers)
    if asked.content is None:
        try:
            _record(parts, found, wanted, file, caller, is_start=span.begin == 0)
        except Problem:
            stream.close()
            raise
    return FileSlice(stream, span, asked.size, headers)


@router.get("/versions/{version}/files")
def list_files(
    model: str, version: str, caller: FileReader, session: ReadSession, parts: PartsDep
) -> FilesView:
    """All files of a version, with their digests.

    Beside the weights: a model card, a CycloneDX bill of materials, and a signature over all of
    them in the form of OpenSSF Model Signing. They are made of what never changes about a version.
    """
    found = find_model(session, caller.tenant_id, model)
    wanted = find_version(session, found, version)
    _check_kept(wanted)
    place = f"{version_path(found, wanted)}/files"
    return FilesView(
        items=[
            FileView(
                name=file.name,
                media_type=file.media_type,
                size=file.size,
                sha256=file.sha256,
                href=f"{place}/{file.name}",
            )
            for file in files_of(session, parts.signer, found, wanted)
        ]
    )


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


def _check_kept(version: Version) -> None:
    if version.state == VersionState.PURGED:
        raise Problem(410, "purged", f"the files of version {version.number} were purged")


def _asked(
    session: Session, parts: Parts, model: Model, version: Version, name: str
) -> VersionFile:
    if name == WEIGHTS_FILE:
        return weights_of(version)
    files = files_of(session, parts.signer, model, version)
    return next(file for file in files if file.name == name)


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
