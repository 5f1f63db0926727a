"""Data subjects, as far as the service itself keeps their ids."""

from expunge.answers import ErasedSubject
from expunge.transport import Transport


class Subjects:
    """`client.subjects`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def erase(self, subject: str) -> ErasedSubject:
        """Replace the subject's id by a pseudonym in every row of the service, for good.

        Its instances cannot be found by it any more: have them forgotten first.
        """
        return self._transport.post("/v1/subjects/erase", ErasedSubject, {"subject": subject})
