"""Tiles make no difference to roots and proofs, only to how much is read."""

from collections.abc import Iterator

import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app import ledger, ledger_check, ledger_tree
from app.db import Database
from app.merkle import consistency_path, inclusion_path, merkle_root
from app.tables import DEFAULT_TENANT, LedgerEvent, LedgerTile
from expunge.tree import leaf_hash

EVENTS = 700


@pytest.fixture
def told(database: Database) -> Iterator[Session]:
    for count in (100, 412, 188):  # the second passes one tile and reaches the end of another
        with database.write() as session, session.begin():
            for number in range(count):
                ledger.append(session, DEFAULT_TENANT, "test.told", f"x{number}", "test")
    with database.read() as session:
        yield session


def _leaves(session: Session) -> list[bytes]:
    bodies = session.scalars(select(LedgerEvent.body).order_by(LedgerEvent.seq))
    return [leaf_hash(body.encode()) for body in bodies]


def test_roots_and_proofs_are_those_of_the_whole_tree(told: Session) -> None:
    leaves = _leaves(told)
    assert len(leaves) == EVENTS

    def subtree(begin: int, end: int) -> bytes:
        return merkle_root(leaves[begin:end])

    assert told.scalar(select(func.count()).select_from(LedgerTile)) == 2
    for size in (0, 1, 255, 256, 257, 511, 512, 513, EVENTS):
        assert ledger_tree.root(told, DEFAULT_TENANT, size) == subtree(0, size)
        grown = ledger_tree.consistency(told, DEFAULT_TENANT, size, EVENTS)
        assert grown == consistency_path(size, EVENTS, subtree)
    for seq in (1, 2, 256, 257, 300, 512, 513, EVENTS):
        found = ledger_tree.inclusion(told, DEFAULT_TENANT, seq, EVENTS)
        assert found == inclusion_path(seq - 1, EVENTS, subtree)
    assert ledger_check.verify(told, DEFAULT_TENANT) is None


def test_a_tile_that_is_not_kept_is_computed(told: Session) -> None:
    root = ledger_tree.root(told, DEFAULT_TENANT, EVENTS)
    told.execute(delete(LedgerTile))
    assert ledger_tree.root(told, DEFAULT_TENANT, EVENTS) == root
