"""Digests of covered rows, column by column: what the ledger keeps of them.

A digest is keyed with the tenant's own key: it tells nothing to who lacks the key, and a value
cannot be guessed from it. Values are brought into one form that both databases give back alike.
"""

import binascii
import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring as _quoted
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.coverage import MEMBERS, NAMES_SUBJECTS, SETS, UNKNOWN_SUBJECT
from app.pseudonyms import Pseudonyms
from app.tables import Base, Instance
from expunge.canonical import canonical_json, canonical_text

_CHUNK = 2000
_BYTES = 12
_FOR_URLS = bytes.maketrans(b"+/", b"-_")

Seal = dict[str, str]
"""Digests by column."""


def fingerprint(seal_key: bytes) -> str:
    """What the ledger keeps of the key itself: 24 hex digits of its sha256."""
    return hashlib.sha256(seal_key).hexdigest()[:24]


def digest(seal_key: bytes, row: str, column: str, value: Any) -> str:
    """The first 12 bytes of an HMAC-SHA256, in base64url; `row` is `table/key`."""
    # The canonical JSON of [row, column, value], put together: it is made millions of times.
    content = f"[{_quoted(row)},{_quoted(column)},{_canonical(value)}]"
    return _short(hmac.digest(seal_key, content.encode(), "sha256"))


def seal_of(
    seal_key: bytes,
    table: str,
    key: str,
    values: Mapping[str, Any],
    pseudonyms: Pseudonyms,
) -> Seal:
    """The digests of some of a row's columns; subjects must be prepared."""
    row = f"{table}/{key}"
    return {
        column: digest(
            seal_key,
            row,
            column,
            _renamed(column, value, pseudonyms) if (table, column) in NAMES_SUBJECTS else value,
        )
        for column, value in values.items()
    }


def set_seal(
    session: Session, seal_key: bytes, table: type[Base], owner: str, pseudonyms: Pseudonyms
) -> Seal:
    """The digest over all members of a set, in their order, and how many there are."""
    columns = MEMBERS[table]
    members = select(*columns).where(SETS[table].column == owner).order_by(*columns)
    with session.execute(members.execution_options(yield_per=_CHUNK)) as rows:
        return seal_of_members(seal_key, table, owner, rows.partitions(_CHUNK), pseudonyms)


def seal_of_members(
    seal_key: bytes,
    table: type[Base],
    owner: str,
    members: Iterable[Sequence[Sequence[Any]]],
    pseudonyms: Pseudonyms,
) -> Seal:
    """The same over members that are at hand, in their order, some at a time."""
    mac = hmac.new(seal_key, f"{table.__tablename__}/{owner}\n".encode(), "sha256")
    count = 0
    for some in members:
        count += len(some)
        for member in _members(table, some, pseudonyms):
            mac.update(canonical_json(member) + b"\n")
    return {"count": str(count), "members": _short(mac.digest())}


def subjects_in(column: str, values: Any) -> list[str]:
    """The subjects that a request's `subjects` or `unknown_instances` names."""
    entries = [str(one) for one in values] if isinstance(values, list) else []
    if column == "subjects":
        return entries
    marked = [one for one in entries if one.startswith(UNKNOWN_SUBJECT)]
    return [one.removeprefix(UNKNOWN_SUBJECT) for one in marked]


def plain(value: Any) -> Any:
    """The value as JSON: whole floats as integers, times in UTC, bytes in hex."""
    match value:
        case None | bool() | int():
            return value
        case str():
            return str(value)
        case float():
            return int(value) if value.is_integer() else value
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="microseconds")
        case bytes():
            return value.hex()
        case Mapping():
            return {str(name): plain(part) for name, part in value.items()}
        case Sequence():
            return [plain(part) for part in value]
    raise TypeError(f"a {type(value).__name__} cannot be sealed")


def _canonical(value: Any) -> str:
    """The canonical JSON of a column's value; the frequent kinds without an encoder."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return _quoted(value)
    return canonical_text(plain(value))


def _renamed(column: str, values: Any, pseudonyms: Pseudonyms) -> Any:
    """The column's list with pseudonyms in the place of the subjects in it."""
    if not isinstance(values, list):
        return values
    names = {subject: pseudonyms.of(subject) for subject in subjects_in(column, values)}
    if column == "subjects":
        return [names[str(one)] for one in values]
    return [names.get(str(one).removeprefix(UNKNOWN_SUBJECT), one) for one in values]


def _members(
    table: type[Base], rows: Iterable[Sequence[Any]], pseudonyms: Pseudonyms
) -> Iterator[list[Any]]:
    found = [[plain(value) for value in row] for row in rows]
    if table is Instance:
        pseudonyms.prepare(row[-1] for row in found if row[-1] is not None)
        for row in found:
            row[-1] = None if row[-1] is None else pseudonyms.of(row[-1])
    yield from found


def _short(mac: bytes) -> str:
    text = binascii.b2a_base64(mac[:_BYTES], newline=False)
    return text.translate(_FOR_URLS).decode()
