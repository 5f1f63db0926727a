"""The client: one object, its calls grouped by resource.

```python
from expunge import Client

with Client("http://127.0.0.1:8000", api_key="...") as client:
    request = client.requests.create("street-parsing", subjects=["person-19"])
    done = client.requests.wait(request.id)
```
"""

from types import TracebackType
from typing import Self

from expunge.resources.health import Health
from expunge.resources.holds import Holds
from expunge.resources.jobs import Jobs
from expunge.resources.keys import Keys
from expunge.resources.ledger import Ledger
from expunge.resources.models import Models
from expunge.resources.requests import Requests
from expunge.resources.subjects import Subjects
from expunge.resources.versions import Versions
from expunge.resources.webhooks import Webhooks
from expunge.transport import Transport


class Client:
    """Talks to one service with one API key; safe to share between threads.

    Every call raises `ApiProblem` (see `expunge.errors`) if the service refuses, `Unreachable` if
    nothing answers after several tries.
    """

    def __init__(
        self, base_url: str, api_key: str | None = None, timeout: float = 30.0, tries: int = 8
    ) -> None:
        """`timeout` is in seconds, for connecting and for each silence of the service.

        `tries` is how often a call is made before a lost connection, or an answer that says to
        come back later, becomes an error.
        """
        self._transport = Transport(base_url, api_key, timeout, tries)
        self.base_url = self._transport.base_url
        self.models = Models(self._transport)
        self.versions = Versions(self._transport)
        self.requests = Requests(self._transport)
        self.holds = Holds(self._transport)
        self.jobs = Jobs(self._transport)
        self.keys = Keys(self._transport)
        self.ledger = Ledger(self._transport)
        self.subjects = Subjects(self._transport)
        self.webhooks = Webhooks(self._transport)
        self.health = Health(self._transport)

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
        self._transport.close()
