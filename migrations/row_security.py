"""Row-level security of tables that belong to tenants, on PostgreSQL; nothing on SQLite.

A transaction sees, writes and changes the rows of the tenant that the setting `expunge.tenant`
names, or all of them where it is `*`. Without the setting there is no row. The table's owner is
held to it too; superusers are not.
"""

from alembic import op

_TENANT = "(SELECT current_setting('expunge.tenant', true))"  # read once a query, not once a row


def protect(table: str, column: str = "tenant_id", owner: str | None = None) -> None:
    """Let rows be seen by the tenant that `column` names, or of which the row in `owner` is."""
    if op.get_bind().dialect.name != "postgresql":
        return
    theirs = f"{column} = {_TENANT}"
    if owner is not None:  # whose own policy says whether that row is there at all
        theirs = f"EXISTS (SELECT FROM {owner} WHERE {owner}.id = {table}.{column})"
    op.execute(f"CREATE POLICY tenant ON {table} USING ({_TENANT} = '*' OR {theirs})")
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")


def unprotect(table: str) -> None:
    """Undo `protect`."""
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY")
    op.execute(f"DROP POLICY tenant ON {table}")
