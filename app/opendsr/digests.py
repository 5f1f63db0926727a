"""A manifest's subjects by their hashes, for controllers that do not send a subject's id as it is.

Whoever first asks by an algorithm has the manifest's subjects hashed once. What is kept of each is
the beginning of its hash and one of its instances, in buckets of which a look-up reads one. Whoever
is found is read from the manifest and hashed again: what stands there for an erased subject matches
no hash, and erasing one takes its entries out.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from app.db import Database
from app.dsr_tables import SubjectDigests
from app.pseudonyms import erased_name
from app.schemas.opendsr import HASH_FORMATS, HashFormat
from app.services.attempts import lock_ledger
from app.tables import Instance, LedgerEvent, LedgerHead, Version

_BUCKET_BITS = 12
"""4096 buckets: at a million subjects each has about 244 entries, or 4 kB."""
_ENTRY = np.dtype([("digest", "<u8"), ("instance", "<i8")])
"""The first 8 bytes of a subject's hash, and the key of an instance of theirs."""
_CHUNK = 10_000

Entries = npt.NDArray[np.void]


def is_ready(session: Session, root_id: str, algorithm: HashFormat) -> bool:
    """Whether a root version's subjects were hashed with this algorithm."""
    first = exists().where(
        SubjectDigests.root_id == root_id,
        SubjectDigests.algorithm == algorithm,
        SubjectDigests.bucket == 0,
    )
    return bool(session.scalar(select(first)))


def prepare(database: Database, tenant_id: str, root_id: str, algorithm: HashFormat) -> None:
    """Hash a root version's subjects, unless that was done before.

    They are read while others write. If a subject was erased meanwhile, they are read again.
    """
    while True:
        with database.read() as session:
            if is_ready(session, root_id, algorithm):
                return
            seen = session.get_one(LedgerHead, tenant_id).seq
            entries = _hashed(session, root_id, algorithm)
        with database.write() as session, session.begin():
            lock_ledger(session, tenant_id)
            if is_ready(session, root_id, algorithm):
                return
            if not _erased_since(session, tenant_id, seen):
                session.add_all(_buckets(root_id, algorithm, entries))
                return


def subjects_of(
    session: Session, root_id: str, algorithm: HashFormat, hashes: Collection[bytes]
) -> list[str]:
    """The subjects of a prepared root version that have one of these hashes, in order."""
    starts = {int.from_bytes(one[:8], "big") for one in hashes}
    buckets = session.scalars(
        select(SubjectDigests.entries).where(
            SubjectDigests.root_id == root_id,
            SubjectDigests.algorithm == algorithm,
            SubjectDigests.bucket.in_({_bucket(start) for start in starts}),
        )
    )
    keys = [
        int(entry["instance"])
        for stored in buckets
        for entry in _read(stored)
        if int(entry["digest"]) in starts
    ]
    found = session.scalars(
        select(Instance.subject).where(Instance.pk.in_(keys), Instance.root_id == root_id)
    )
    return sorted({one for one in found if one is not None and hashed(algorithm, one) in hashes})


def forget(session: Session, tenant_id: str, subject: str) -> None:
    """Take a subject's entries out, as long as instances still name it."""
    for algorithm in HASH_FORMATS:
        start = int.from_bytes(hashed(algorithm, subject)[:8], "big")
        rows = session.scalars(
            select(SubjectDigests)
            .join(Version, Version.id == SubjectDigests.root_id)
            .where(
                Version.tenant_id == tenant_id,
                SubjectDigests.algorithm == algorithm,
                SubjectDigests.bucket == _bucket(start),
            )
        ).all()
        for row in rows:
            entries = _read(row.entries)
            same = [int(key) for key in entries["instance"][entries["digest"] == start]]
            theirs = session.scalars(
                select(Instance.pk).where(Instance.pk.in_(same), Instance.subject == subject)
            ).all()
            row.entries = entries[~np.isin(entries["instance"], theirs)].astype(_ENTRY).tobytes()


def hashed(algorithm: HashFormat, subject: str) -> bytes:
    """The hash of a subject's id as the manifest has it, in UTF-8."""
    return hashlib.new(algorithm, subject.encode(), usedforsecurity=False).digest()


def _hashed(session: Session, root_id: str, algorithm: HashFormat) -> Entries:
    """An entry for each of a root version's subjects, by hash."""
    rows = (
        select(func.min(Instance.pk), Instance.subject)
        .where(Instance.root_id == root_id, Instance.subject.is_not(None))
        .group_by(Instance.subject)
    )
    parts: list[Entries] = []
    with session.execute(rows.execution_options(yield_per=_CHUNK)) as found:
        for some in found.partitions(_CHUNK):
            known = [(key, one) for key, one in some if one and erased_name(one) is None]
            entries = np.empty(len(known), _ENTRY)
            starts = b"".join(hashed(algorithm, one)[:8] for _, one in known)
            entries["digest"] = np.frombuffer(starts, ">u8")
            entries["instance"] = [key for key, _ in known]
            parts.append(entries)
    entries = np.concatenate(parts) if parts else np.empty(0, _ENTRY)
    return entries[entries["digest"].astype(np.uint64).argsort()]


def _buckets(root_id: str, algorithm: HashFormat, entries: Entries) -> Iterator[SubjectDigests]:
    """The rows of sorted entries; the first is there in any case and says that all are."""
    numbers = entries["digest"].astype(np.uint64) >> np.uint64(64 - _BUCKET_BITS)
    edges = np.searchsorted(numbers, np.arange(2**_BUCKET_BITS + 1, dtype=np.uint64))
    for bucket in range(2**_BUCKET_BITS):
        inside = entries[edges[bucket] : edges[bucket + 1]]
        if len(inside) or bucket == 0:
            yield SubjectDigests(
                root_id=root_id,
                algorithm=algorithm,
                bucket=bucket,
                entries=inside.astype(_ENTRY).tobytes(),
            )


def _bucket(start: int) -> int:
    return start >> (64 - _BUCKET_BITS)


def _read(stored: bytes) -> Entries:
    return np.frombuffer(stored, _ENTRY)


def _erased_since(session: Session, tenant_id: str, seq: int) -> bool:
    events: Sequence[str] = session.scalars(
        select(LedgerEvent.kind)
        .where(
            LedgerEvent.tenant_id == tenant_id,
            LedgerEvent.seq > seq,
            LedgerEvent.kind == "subject.erased",
        )
        .limit(1)
    ).all()
    return bool(events)
