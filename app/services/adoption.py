"""Rows, and columns, that came before the ledger sealed them: taken up after an upgrade.

What is sealed already stays as it is sealed: an upgrade cannot hide that a row was changed.
"""

from collections.abc import Iterator

from sqlalchemy import select

from app import ledger, ledger_check, ledger_tree
from app.db import Database
from app.tables import LedgerHead, LedgerTile, Tenant


def adopt(database: Database, former: str) -> Iterator[tuple[str, int]]:
    """Seal what is not sealed yet; each tenant and how many rows that were.

    `former` is the revision that the schema was at. Raises ValueError where a chain is broken.
    """
    with database.read() as session:
        tenants = session.scalars(select(Tenant.id).order_by(Tenant.id)).all()
    for tenant_id in tenants:
        with database.write() as session, session.begin():
            head = session.get_one(LedgerHead, tenant_id, with_for_update=True)
            ledger.seal_key_of(head)
            known = select(LedgerTile).where(LedgerTile.tenant_id == tenant_id).limit(1)
            if session.scalar(known) is None:
                ledger_tree.add_tiles(session, tenant_id, 0, head.seq)
            seals = ledger_check.unsealed(session, tenant_id)
            if seals:
                actor = f"upgrade:{former}"
                ledger.seal_rows(session, tenant_id, seals, actor)
                yield tenant_id, len(seals)
