"""`/dsr/v2`: OpenDSR, so that a privacy platform can ask for erasure without an adapter.

After https://github.com/opengdpr/OpenDSR. Answers are signed; errors have the shape that it gives
them, with 400 for whatever is wrong with a request.
"""

import base64
import logging
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.routing import APIRoute
from sqlalchemy.orm import Session

from app.dsr_tables import DsrRequest
from app.http import OperationDep, PartsDep, ReadSession, answer
from app.opendsr.processor import Processor, ProcessorFault
from app.problems import Problem, field_errors
from app.routes.deletion_requests import Caller, Writer
from app.schemas.fields import Text
from app.schemas.opendsr import (
    API_VERSION,
    IDENTITY_FORMATS,
    IDENTITY_TYPES,
    Discovery,
    DsrCancelled,
    DsrError,
    DsrErrorBody,
    DsrErrorDetail,
    DsrReceived,
    DsrStatus,
    NewDsrRequest,
    SupportedIdentity,
)
from app.services import opendsr
from app.states import IllegalTransition
from app.webhooks.addresses import AddressRefused, checked

_log = logging.getLogger(__name__)
_MALFORMED = (409, 422)
"""Statuses for which the specification has 400."""


class _DsrRoute(APIRoute):
    """Tells errors as OpenDSR does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with its errors in that shape."""
        handle = super().get_route_handler()

        async def told(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                # Without the values: they may name the data subject.
                errors = field_errors([{**one, "input": []} for one in error.errors()])
                return _error(Problem(400, "validation", errors[0]["detail"], errors=errors))
            except IllegalTransition as error:
                return _error(Problem(400, "illegal-state", str(error), state=error.now))
            except ProcessorFault as fault:
                _log.error("OpenDSR's answers cannot be signed: %s", fault)
                detail = "answers cannot be signed at the moment: readyz says why"
                return _error(Problem(503, "opendsr-cannot-sign", detail))
            except Problem as problem:
                return _error(problem)

        return told


router = APIRouter(
    prefix="/dsr/v2",
    tags=["OpenDSR"],
    route_class=_DsrRoute,
    responses={"default": {"model": DsrError, "description": "An error in OpenDSR's shape"}},
)


async def _content(request: Request) -> bytes:
    return await request.body()


Content = Annotated[bytes, Depends(_content)]


def _processor(parts: PartsDep) -> Processor:
    return Processor.load(parts.settings)


ProcessorDep = Annotated[Processor, Depends(_processor)]
"""Who signs: without whom nothing is begun that could not be answered."""


@router.get("/discovery", response_model=Discovery)
def discovery(http: Request, parts: PartsDep, processor: ProcessorDep) -> Response:
    """What this processor can do, and where its certificate is."""
    told = Discovery(
        api_version=API_VERSION,
        supported_identities=[
            SupportedIdentity(identity_type=one, identity_format=form)
            for one in IDENTITY_TYPES
            for form in IDENTITY_FORMATS
        ],
        supported_subject_request_types=["erasure"],
        processor_certificate=f"{_base_url(http, parts)}/dsr/v2/certificate",
    )
    return _signed(processor, answer(told))


@router.get("/certificate", response_class=PlainTextResponse)
def certificate(processor: ProcessorDep) -> str:
    """The X.509 certificate, in PEM, with which answers and callbacks are checked."""
    return processor.certificate.decode()


@router.post("/requests", status_code=201, response_model=DsrReceived)
def create(
    body: NewDsrRequest,
    content: Content,
    caller: Writer,
    operation: OperationDep,
    parts: PartsDep,
    processor: ProcessorDep,
) -> Response:
    """Ask for the erasure of a data subject in all models that know them.

    An identity's value is the subject's id in the manifests, or a hash of that in hex: the first
    one by an algorithm has all manifests hashed and takes longer. Sending the same again is safe.
    """
    for url in body.status_callback_urls:
        try:
            checked(url, allow_loopback=parts.settings.webhook_allow_loopback)
        except AddressRefused as refusal:
            detail = f"status_callback_urls: {url!r:.200}: {refusal}"
            raise Problem(400, "callback-url-refused", detail) from None

    opendsr.prepare(parts.database, caller.tenant_id, body)

    def work(session: Session) -> Response:
        return answer(
            _received(opendsr.receive(session, caller.tenant_id, body, content, caller.name), ""),
            201,
        )

    first = operation.run(work)
    # What names the data subject is not kept with the answer that a repetition gets.
    told = DsrReceived.model_validate_json(bytes(first.body))
    told = told.model_copy(update={"encoded_request": base64.b64encode(content).decode()})
    replayed = {k: v for k, v in first.headers.items() if k == "idempotency-replayed"}
    return _signed(processor, answer(told, 201, **replayed))


@router.get("/requests/{dsr_request}", response_model=DsrStatus)
def get(
    dsr_request: Text,
    http: Request,
    caller: Caller,
    session: ReadSession,
    parts: PartsDep,
    processor: ProcessorDep,
) -> Response:
    """How far a request is.

    `in_progress` also where something failed or did not meet its thresholds: it is not fulfilled.
    """
    row = opendsr.find(session, caller.tenant_id, dsr_request)
    return _signed(processor, answer(opendsr.view(session, row, _base_url(http, parts))))


@router.delete("/requests/{dsr_request}", status_code=202, response_model=DsrCancelled)
def cancel(
    dsr_request: Text, caller: Writer, operation: OperationDep, processor: ProcessorDep
) -> Response:
    """Withdraw a request that is still `pending`."""

    def work(session: Session) -> Response:
        row = opendsr.cancel(session, caller.tenant_id, dsr_request, caller.name)
        told = DsrCancelled(
            controller_id=row.tenant_id,
            subject_request_id=row.subject_request_id,
            received_time=row.received_time,
        )
        return answer(told, 202)

    return _signed(processor, operation.run(work))


def _received(row: DsrRequest, encoded: str) -> DsrReceived:
    return DsrReceived(
        controller_id=row.tenant_id,
        expected_completion_time=row.expected_completion_time,
        received_time=row.received_time,
        encoded_request=encoded,
        subject_request_id=row.subject_request_id,
    )


def _signed(processor: Processor, response: Response) -> Response:
    response.headers.update(processor.headers(bytes(response.body)))
    return response


def _base_url(http: Request, parts: PartsDep) -> str:
    return (parts.settings.public_url or str(http.base_url)).rstrip("/")


def _error(problem: Problem) -> Response:
    code = 400 if problem.status in _MALFORMED else problem.status
    found = problem.errors or [{"pointer": "", "detail": problem.detail}]
    told = DsrError(
        error=DsrErrorBody(
            code=code,
            message=problem.detail,
            errors=[
                DsrErrorDetail(
                    domain="Validation" if code == 400 else "Request",
                    reason=problem.slug,
                    message=one["detail"],
                )
                for one in found
            ],
        )
    )
    return JSONResponse(
        {**told.model_dump(mode="json"), **problem.extensions}, code, headers=problem.headers
    )
