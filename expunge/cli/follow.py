"""A request followed live to its end: its state, and its job's phase, step and time left."""

import time
from typing import Final

from expunge.answers import DeletionRequest
from expunge.cli.progress import bar
from expunge.client import Client
from expunge.errors import WaitTimeout

_TICK: Final = 0.5
_HELD: Final = frozenset({"awaiting_approval", "on_hold"})


def follow(
    client: Client, request: DeletionRequest, timeout: float | None = None
) -> DeletionRequest:
    """The request once nothing more happens by itself; raises WaitTimeout after `timeout` s."""
    until = None if timeout is None else time.monotonic() + timeout
    with bar(request.state) as on_step:
        while not request.finished:
            job = client.jobs.get(request.job) if request.job else None
            state = request.state.replace("_", " ")
            if job and job.progress and request.state not in _HELD:
                at = job.progress
                on_step(f"{state}: {at.phase}", at.step, at.of, at.eta_seconds)
            else:
                on_step(state, 0, None, None)
            if until is not None and time.monotonic() > until:
                raise WaitTimeout(f"request {request.id} is still {state} after {timeout:g} s")
            time.sleep(_TICK)
            request = client.requests.get(request.id)
    return request
