"""Digests of covered rows, column by column: what the ledger keeps of them.

A digest is keyed with the tenant's own key: it tells nothing to who lacks the key, and a value
cannot be guessed from it. Values are brought into one form that both databases give back alike.
"""

import binascii
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring as _quoted
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.coverage import MEMBERS, NAMES_SUBJECTS, SETS, UNKNOWN_SUBJECT
from app.pseudonyms import Pseudonyms
from app.tables import Base, Instance
from expunge.canonical import canonical_text

_CHUNK = 2000
_BYTES = 12
_LETTERS = 16
"""Of a digest: as 12 bytes are whole groups of three, many digests are encoded at once."""
_FOR_URLS = bytes.maketrans(b"+/", b"-_")

_sha256 = hashlib.sha256
_BLOCK = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))

_NAMING: dict[str, set[str]] = defaultdict(set)
"""The columns of a table that name subjects."""
for _table, _column in NAMES_SUBJECTS:
    _NAMING[_table].add(_column)

Seal = dict[str, str]
"""Digests by column."""


def fingerprint(seal_key: bytes) -> str:
    """What the ledger keeps of the key itself: 24 hex digits of its sha256."""
    return hashlib.sha256(seal_key).hexdigest()[:24]


def seal_of(
    seal_key: bytes,
    table: str,
    key: str,
    values: Mapping[str, Any],
    pseudonyms: Pseudonyms,
) -> Seal:
    """The digests of some of a row's columns; subjects must be prepared.

    Each is the first 12 bytes, in base64url, of the HMAC-SHA256 of the canonical JSON of
    [table/key, column, value].
    """
    inner, outer = _pads(seal_key)
    begin = inner + f"[{_quoted(f'{table}/{key}')},".encode()
    naming = _NAMING.get(table, ())
    macs = bytearray()
    for column, value in values.items():
        if value is None:
            told = "null"
        elif column in naming:
            told = _canonical(_renamed(column, value, pseudonyms))
        else:
            told = _canonical(value)
        hashed = _sha256(begin + f'"{column}",{told}]'.encode()).digest()
        macs += _sha256(outer + hashed).digest()[:_BYTES]
    text = _base64url(macs)
    starts = range(0, len(text), _LETTERS)
    return {column: text[at : at + _LETTERS] for column, at in zip(values, starts, strict=True)}


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
    inner, outer = _pads(seal_key)
    mac = _sha256(inner + f"{table.__tablename__}/{owner}\n".encode())
    count = 0
    for some in members:
        count += len(some)
        for member in _members(table, some, pseudonyms):
            mac.update(f"{_canonical(member)}\n".encode())
    digest = _sha256(outer + mac.digest()).digest()
    return {"count": str(count), "members": _base64url(digest[:_BYTES])}


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
            return _stamp(value)
        case bytes():
            return value.hex()
        case Mapping():
            return {str(name): plain(part) for name, part in value.items()}
        case Sequence():
            return [plain(part) for part in value]
    raise TypeError(f"a {type(value).__name__} cannot be sealed")


def _canonical(value: Any) -> str:
    """The canonical JSON of `plain(value)`; the frequent kinds are put together here."""
    kind = type(value)
    if value is None:
        return "null"
    if kind is str:
        return _quoted(value)
    if kind is int:
        return str(value)
    if kind is datetime:
        return f'"{_stamp(value)}"'
    if kind is list:
        return f"[{','.join([_canonical(part) for part in value])}]"
    if kind is dict:
        members = [f"{_quoted(name)}:{_canonical(part)}" for name, part in sorted(value.items())]
        return f"{{{','.join(members)}}}"
    return canonical_text(plain(value))


def _stamp(at: datetime) -> str:
    return (at if at.tzinfo is UTC else at.astimezone(UTC)).isoformat(timespec="microseconds")


@lru_cache(maxsize=64)
def _pads(key: bytes) -> tuple[bytes, bytes]:
    """What HMAC (RFC 2104) hashes before a message, and before the hash of that.

    `hmac.digest` looks its algorithm up at each call, which takes longer than hashing a column.
    """
    block = (_sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    return block.translate(_INNER), block.translate(_OUTER)


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
    found = [list(row) for row in rows]
    if table is Instance:
        pseudonyms.prepare(row[-1] for row in found if row[-1] is not None)
        for row in found:
            row[-1] = None if row[-1] is None else pseudonyms.of(row[-1])
    yield from found


def _base64url(content: bytes | bytearray) -> str:
    text = binascii.b2a_base64(content, newline=False)
    return text.translate(_FOR_URLS).decode()
