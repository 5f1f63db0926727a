"""One question to an issuer, answered by JSON: at a checked address, in limits of time and size."""

import json
import time
from collections.abc import Collection, Mapping
from typing import Any

import httpx

from app.webhooks.addresses import AddressRefused, pinned
from app.webhooks.sending import trusted

_SECONDS = 5.0
_MOST_BYTES = 500_000


class NotFetched(Exception):
    """The issuer did not give what it should; the message says why."""


def fetch_json(
    url: str,
    *,
    allow_loopback: bool,
    private_hosts: Collection[str] = (),
    form: Mapping[str, str] | None = None,
    auth: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """The object at `url`, or the one that it answers to a form.

    A redirect is not followed, because nobody checked where it leads.
    """
    try:
        target = pinned(url, allow_loopback=allow_loopback, private_hosts=private_hosts)
        with (
            httpx.Client(verify=trusted(), trust_env=False, timeout=_SECONDS) as client,
            client.stream(
                "GET" if form is None else "POST",
                target.url,
                headers=target.headers,
                extensions=target.extensions,
                data=form,
                auth=auth,
            ) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise NotFetched(f"{url} answered {response.status_code}")
            found = json.loads(_body(url, response))
    except AddressRefused as refusal:
        raise NotFetched(f"{url} is not asked: {refusal}") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise NotFetched(f"{url}: {str(error) or type(error).__name__}") from None
    except (ValueError, RecursionError):
        raise NotFetched(f"{url} did not answer with JSON") from None
    if not isinstance(found, dict):
        raise NotFetched(f"{url} did not answer with a JSON object")
    return found


def _body(url: str, response: httpx.Response) -> bytes:
    until = time.monotonic() + _SECONDS
    read = b""
    for chunk in response.iter_bytes():
        read += chunk
        if len(read) > _MOST_BYTES:
            raise NotFetched(f"{url} answered more than {_MOST_BYTES} bytes")
        if time.monotonic() > until:
            raise NotFetched(f"{url} was not done within {_SECONDS:g} s")
    return read
