"""Sessions and clocks on both databases."""

import threading
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from app.db import Database, database_now


def test_writers_of_one_process_take_turns_and_a_failed_one_gives_its_turn_up(
    database: Database,
) -> None:
    began: list[int] = []

    def write(number: int) -> None:
        with database.write() as session, session.begin():
            session.execute(text("UPDATE tenants SET name = name"))
            began.append(number)

    with database.write() as session, session.begin():
        session.execute(text("UPDATE tenants SET name = name"))
        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        assert not began
        session.rollback()
    for thread in threads:
        thread.join()
    assert sorted(began) == [0, 1, 2, 3]


def test_the_clock_goes_on_within_a_transaction(database: Database) -> None:
    with database.read() as session:
        first = database_now(session)
        second = database_now(session)
    assert first <= second
    assert abs(datetime.now(UTC) - first) < timedelta(minutes=1)
