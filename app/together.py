"""Writes of one tenant that wait at the same moment share one transaction.

A tenant's writers take turns by its ledger, so that each would wait for the commits of all before
it. Here who waits is taken along: the head of the ledger is locked once, its events are written and
sealed once, and one commit reaches the disk. Nobody is answered before that.

Where one of them is refused, or fails, nothing of that transaction is kept, and each of them is
carried out by itself: no answer shows who else was waiting.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field

from fastapi import Response
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app import tenancy
from app.db import Database

_MOST = 32
"""Taken along at once: what the first of them waits for."""

Work = Callable[[Session], Response]
_Outcome = Response | Exception


@dataclass(frozen=True)
class _Waiting:
    """A write, and who waits for its answer."""

    work: Work
    context: Context = field(default_factory=copy_context)
    answer: asyncio.Future[Response] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def do(self, session: Session) -> Response:
        """The work, as if it were still on its own request's way."""
        return self.context.run(self.work, session)

    def tell(self, outcome: _Outcome) -> None:
        """Answer, unless the caller went away."""
        if self.answer.done():
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


class Together:
    """One process's writes that may share transactions; all but the writing is on its loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[str, list[_Waiting]] = {}
        """By tenant; a tenant stands here for as long as somebody writes for it."""
        self._writing: set[asyncio.Task[None]] = set()

    async def write(self, tenant_id: str, work: Work) -> Response:
        """What `work` answers, once it is committed, or what it raises, with nothing written.

        It may be called again with a fresh session after a rollback: it must do nothing outside.
        """
        one = _Waiting(work)
        if tenant_id in self._waiting:
            self._waiting[tenant_id].append(one)
        else:
            self._waiting[tenant_id] = [one]
            task = asyncio.create_task(self._write_all(tenant_id))
            self._writing.add(task)  # the loop itself would let go of it
            task.add_done_callback(self._writing.discard)
        return await one.answer

    async def _write_all(self, tenant_id: str) -> None:
        waiting = self._waiting[tenant_id]
        taken: list[_Waiting] = []
        try:
            while waiting:
                await asyncio.sleep(0)  # who has sent a request by now is taken along
                taken = waiting[:_MOST]
                del waiting[:_MOST]
                outcomes = await run_in_threadpool(self._outcomes, tenant_id, taken)
                for one, outcome in zip(taken, outcomes, strict=True):
                    one.tell(outcome)
        finally:
            del self._waiting[tenant_id]
            for one in (*taken, *waiting):  # left over where the server is being ended
                one.answer.cancel()

    def _outcomes(self, tenant_id: str, taken: Sequence[_Waiting]) -> Sequence[_Outcome]:
        tenancy.enter(tenant_id)  # in the context of this thread's turn, which ends with it
        try:
            return self._committed(taken)
        except Exception as error:
            # Where the connection was lost, all of it may be committed: once more is too much.
            lost = isinstance(error, DBAPIError) and error.connection_invalidated
            if lost or len(taken) == 1:
                return [error] * len(taken)
        return [outcome for one in taken for outcome in self._by_itself(one)]

    def _by_itself(self, one: _Waiting) -> Iterator[_Outcome]:
        try:
            yield from self._committed([one])
        except Exception as error:
            yield error

    def _committed(self, taken: Sequence[_Waiting]) -> Sequence[Response]:
        answers: list[Response] = []
        with self._database.write() as session, session.begin():
            for one in taken:
                answers.append(one.do(session))
                session.flush()  # statements that are prepared read past what is not written
        return answers
