"""How the webhook secrets in the database are kept, and keeping all of them under the first key."""

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.tables import WebhookEndpoint
from app.webhooks.secret_box import SecretBox, SecretUnreadable


def unreadable(session: Session, box: SecretBox) -> Iterator[str]:
    """The endpoints that nothing can be sent to, each as a sentence."""
    for row in session.scalars(select(WebhookEndpoint).order_by(WebhookEndpoint.id)):
        try:
            _secrets(box, row)
        except SecretUnreadable as error:
            yield f"webhook endpoint {row.id}: {error}"


def outdated(session: Session, box: SecretBox) -> int:
    """How many endpoints' secrets are stored as they are, or under an older key."""
    rows = session.scalars(select(WebhookEndpoint)).all()
    return sum(not _is_current(box, row) for row in rows)


def seal_all(database: Database, box: SecretBox) -> int:
    """Seal with the first key what is not; how many endpoints that were.

    Raises SecretUnreadable, with nothing changed, where the key of one is not among the box's.
    """
    with database.write() as session, session.begin():
        rows = session.scalars(
            select(WebhookEndpoint).order_by(WebhookEndpoint.id).with_for_update()
        ).all()
        old = [row for row in rows if not _is_current(box, row)]
        for row in old:
            now, former = _secrets(box, row)
            row.secret = box.seal(now)
            row.former_secret = None if former is None else box.seal(former)
        return len(old)


def _secrets(box: SecretBox, row: WebhookEndpoint) -> tuple[bytes, bytes | None]:
    return box.open(row.secret), row.former_secret and box.open(row.former_secret)


def _is_current(box: SecretBox, row: WebhookEndpoint) -> bool:
    stored = [row.secret] if row.former_secret is None else [row.secret, row.former_secret]
    return all(box.is_sealed_by_first(one) for one in stored)
