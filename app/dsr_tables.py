"""The tables of the OpenDSR façade, beside those of `app.tables`."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.tables import Base


class DsrRequest(Base):
    """An erasure that an OpenDSR controller asked for, carried out by deletion requests."""

    __tablename__ = "dsr_requests"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    subject_request_id: Mapped[str] = mapped_column(String(36))
    """The controller's UUID."""
    body_sha256: Mapped[str] = mapped_column(String(64))
    """Of what was sent, which is not kept: it names the data subject."""
    received_time: Mapped[datetime]
    expected_completion_time: Mapped[datetime]
    callback_urls: Mapped[list[str]]
    deletion_requests: Mapped[list[str]]
    """Their ids; none where no model knows the subject."""
    told_status: Mapped[str] = mapped_column(String(20))
    """The last status that the controller was told of, or is being told of."""

    __table_args__ = (UniqueConstraint("tenant_id", "subject_request_id"),)


class DsrCallback(Base):
    """A change of status on its way to a controller; workers claim it by lease and fence."""

    __tablename__ = "dsr_callbacks"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    dsr_id: Mapped[str] = mapped_column(ForeignKey("dsr_requests.id"), index=True)
    url: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(10))
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime]
    """After a claim: when its lease runs out."""
    last_answer: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index("ix_dsr_callbacks_state_next_attempt_at", "state", "next_attempt_at"),)


class DsrCursor(Base):
    """Up to where the changes of a tenant's requests were looked at for OpenDSR controllers."""

    __tablename__ = "dsr_cursors"
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    """The number of a ledger event."""


class SubjectDigests(Base):
    """Some of a manifest's subjects, found by their hashes: see `app.opendsr.digests`."""

    __tablename__ = "dsr_subject_digests"
    root_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    algorithm: Mapped[str] = mapped_column(String(10), primary_key=True)
    bucket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """The first bits of their hashes."""
    entries: Mapped[bytes] = mapped_column(LargeBinary)
