"""HTTP with the service: authorisation, retries, pages, and errors as the tree of `errors`.

A request is tried again when the connection fails and when the service answers 429, 502, 503 or
504. That is safe for a POST too: each carries an `Idempotency-Key`, the same on all its tries, and
the service carries it out once.
"""

import email.utils
import json
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx
from pydantic import ValidationError

from expunge.answers import Answer
from expunge.errors import ApiProblem, ExpungeError, UnexpectedAnswer, Unreachable, problem

A = TypeVar("A", bound=Answer)
Params = Mapping[str, str | int | float | bool | None]
BodyFactory = Callable[[], Mapping[str, Any]]
"""Makes httpx's body arguments afresh for each try, because a stream can be read only once."""

RETRIED_STATUSES: Final = frozenset({429, 502, 503, 504})
_STILL_RUNNING: Final = "still-running"
"""The 409 that says that an earlier try with the same Idempotency-Key is still at work."""
_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 8.0
_LONGEST_RETRY_AFTER: Final = 60.0


def pause(tries: int, retry_after: float | None) -> float:
    """Seconds before the next try, after `tries` failed ones.

    What the service asked for, or else between half and the whole of a pause that doubles each
    time, so that many clients do not come back at the same moment.
    """
    if retry_after is not None:
        return min(retry_after, _LONGEST_RETRY_AFTER)
    longest = min(_FIRST_PAUSE * 2.0 ** (tries - 1), _LONGEST_PAUSE)
    return random.uniform(longest / 2, longest)


class Transport:
    """One connection pool to one service."""

    def __init__(self, base_url: str, api_key: str | None, timeout: float, tries: int) -> None:
        self.base_url = base_url.rstrip("/")
        self.timeout = timeout
        self.tries = tries
        headers = {"User-Agent": "expunge-client"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        try:
            self._http = httpx.Client(base_url=self.base_url, headers=headers, timeout=timeout)
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise ExpungeError(f"cannot use {base_url!r} with this API key: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def get(self, path: str, kind: type[A], params: Params | None = None) -> A:
        """GET as one value of `kind`."""
        return self.read(self.send("GET", path, params=params), kind)

    def post(self, path: str, kind: type[A], body: Mapping[str, Any] | None = None) -> A:
        """POST a JSON body, answered with one value of `kind`."""
        return self.read(self.send("POST", path, body=lambda: {"json": body or {}}), kind)

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: BodyFactory | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        accepted: frozenset[int] = frozenset(),
        tries: int | None = None,
    ) -> httpx.Response:
        """The answer; a status from 300 on raises ApiProblem unless it is in `accepted`."""
        sent = dict(headers or {})
        if method == "POST":
            sent["Idempotency-Key"] = uuid.uuid4().hex
        given = {name: value for name, value in (params or {}).items() if value is not None}
        tried = 0
        while True:
            tried += 1
            failure: ExpungeError
            try:
                response = self._http.request(
                    method,
                    path,
                    params=given,
                    headers=sent,
                    timeout=timeout or self.timeout,
                    **(body() if body else {}),
                )
            except httpx.TransportError as error:
                failure, after = self.unreachable(error), None
                again = not isinstance(error, httpx.UnsupportedProtocol)
            else:
                if response.status_code < 300 or response.status_code in accepted:
                    return response
                refusal = refusal_of(response)
                failure, after = refusal, refusal.retry_after
                again = refusal.status in RETRIED_STATUSES or refusal.slug == _STILL_RUNNING
            if not again or tried >= (tries or self.tries):
                raise failure
            time.sleep(pause(tried, after))

    def stream(
        self, method: str, path: str, headers: Mapping[str, str], timeout: float | None = None
    ) -> AbstractContextManager[httpx.Response]:
        """One try whose body the caller reads as it comes, whatever its status."""
        read = timeout or self.timeout
        return self._http.stream(
            method, path, headers=headers, timeout=httpx.Timeout(self.timeout, read=read)
        )

    def pages(self, path: str, kind: type[A], params: Params | None = None) -> Iterator[A]:
        """Every item of a list, fetching a page when the one before is used up."""
        after: str | None = None
        while True:
            answer = self.json(self.send("GET", path, params={**(params or {}), "after": after}))
            try:
                items = [kind.model_validate(item) for item in answer["items"]]
                after = answer.get("next")
            except (KeyError, TypeError, AttributeError, ValidationError) as error:
                raise self._unexpected(path, error) from None
            yield from items
            if after is None:
                return

    def read(self, response: httpx.Response, kind: type[A]) -> A:
        """The answer's body as one value of `kind`."""
        try:
            return kind.model_validate(self.json(response))
        except ValidationError as error:
            raise self._unexpected(response.request.url.path, error) from None

    def json(self, response: httpx.Response) -> Any:
        """The answer's body as plain data."""
        try:
            return json.loads(response.content)
        except ValueError as error:
            raise self._unexpected(response.request.url.path, error) from None

    def unreachable(self, error: httpx.TransportError) -> Unreachable:
        """What a failed connection means to people."""
        if isinstance(error, httpx.UnsupportedProtocol):
            return Unreachable(f"{self.base_url!r} is no address: it must begin with http://")
        if isinstance(error, httpx.TimeoutException):
            return Unreachable(f"no answer from {self.base_url} within {self.timeout:g} s")
        return Unreachable(f"no service answers at {self.base_url} ({error or 'connection lost'})")

    def _unexpected(self, path: str, error: Exception) -> UnexpectedAnswer:
        first = str(error).splitlines()
        return UnexpectedAnswer(
            f"{self.base_url}{path} does not answer like this version of Expunge: "
            + "; ".join(line.strip() for line in first[:3])
        )


def refusal_of(response: httpx.Response) -> ApiProblem:
    """The error that an answer stands for; its body must have been read."""
    try:
        body = json.loads(response.content)
    except ValueError:
        body = {}
    return problem(
        response.status_code,
        response.reason_phrase,
        body if isinstance(body, dict) else {},
        retry_after(response.headers.get("Retry-After")),
    )


def retry_after(header: str | None) -> float | None:
    """Seconds from a `Retry-After` header, which holds seconds or a date; None if unreadable."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        at = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
