"""Jobs: engine runs, each serving one or more requests."""

from collections.abc import Iterator
from urllib.parse import quote

from expunge.answers import Job
from expunge.transport import Transport


class Jobs:
    """`client.jobs`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, job: str) -> Job:
        """One job with its progress, attempts and cost."""
        return self._transport.get(_path(job), Job)

    def list(
        self, *, state: str | None = None, model: str | None = None, limit: int | None = None
    ) -> Iterator[Job]:
        """Jobs, newest first; `limit` is the size of a page."""
        chosen = {"state": state, "model": model, "limit": limit}
        return self._transport.pages("/v1/jobs", Job, chosen)

    def cancel(self, job: str) -> Job:
        """Ask that a job stop; it does so within seconds."""
        return self._transport.post(f"{_path(job)}/cancel", Job)

    def log(self, job: str) -> str:
        """The last lines that its engine wrote to standard error."""
        return self._transport.send("GET", f"{_path(job)}/log").text


def _path(job: str) -> str:
    return f"/v1/jobs/{quote(job, safe='')}"
