"""Subjects' names in the ledger: keyed hashes, each under a key of its own that can be destroyed.

What the ledger holds of a row names no subject but a pseudonym. Erasing a subject puts the
pseudonym in the place of the name in every row and destroys the key: the ledger still verifies,
and nobody can tell any more whose pseudonym it is.
"""

import hmac
import re
import secrets
from collections.abc import Iterable

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.tables import SubjectKey

_CHUNK = 1000
_MOST_KEPT = 50_000
_ERASED = re.compile(r"erased:(sub_[0-9a-f]{32})")


def pseudonym(key: bytes, subject: str) -> str:
    """`sub_` and the first 16 bytes of HMAC-SHA256 in hex: 36 characters, as ids have."""
    return "sub_" + hmac.digest(key, subject.encode(), "sha256")[:16].hex()


def erased(name: str) -> str:
    """What stands in a row in the place of an erased subject."""
    return f"erased:{name}"


def erased_name(subject: str) -> str | None:
    """The pseudonym behind what `erased` gave, or None for a subject's own id."""
    match = _ERASED.fullmatch(subject)
    return match[1] if match else None


class Pseudonyms:
    """One tenant's pseudonyms, read many at a time; with `make`, new subjects get a key."""

    def __init__(self, session: Session, tenant_id: str, *, make: bool) -> None:
        self._session = session
        self._tenant_id = tenant_id
        self._make = make
        self._keys: dict[str, bytes] = {}

    def prepare(self, subjects: Iterable[str]) -> None:
        """Read, or make, the keys of these subjects."""
        if len(self._keys) > _MOST_KEPT:
            self._keys.clear()
        wanted = sorted({s for s in subjects if s not in self._keys and erased_name(s) is None})
        for start in range(0, len(wanted), _CHUNK):
            some = wanted[start : start + _CHUNK]
            rows = select(SubjectKey.subject, SubjectKey.key).where(
                SubjectKey.tenant_id == self._tenant_id, SubjectKey.subject.in_(some)
            )
            self._keys.update(dict(self._session.execute(rows).all()))
            fresh = [s for s in some if s not in self._keys]
            if fresh and self._make:
                made = {subject: secrets.token_bytes(32) for subject in fresh}
                self._session.execute(
                    insert(SubjectKey),
                    [
                        {"tenant_id": self._tenant_id, "subject": subject, "key": key}
                        for subject, key in made.items()
                    ],
                )
                self._keys.update(made)

    def of(self, subject: str) -> str:
        """The pseudonym of a prepared subject; one without a key matches nothing."""
        known = erased_name(subject)
        if known is not None:
            return known
        key = self._keys.get(subject)
        return pseudonym(key, subject) if key is not None else "no key"
