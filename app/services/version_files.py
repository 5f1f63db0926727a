"""The files of a version: its weights, and the documents that are made of the database."""

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy.orm import Session

from app.documents import bom, card
from app.services.signing_keys import signing_now
from app.services.version_facts import facts_of
from app.signing import Signer
from app.tables import Model, Version
from engine.spec import WEIGHTS_FILE
from expunge.model_signature import BUNDLE, SIGNATURE_FILE, sign_files

CARD_FILE = "README.md"
BOM_FILE = "ml-bom.cdx.json"
CARD = "text/markdown; charset=utf-8"
WEIGHTS = "application/octet-stream"
NAMES = (WEIGHTS_FILE, CARD_FILE, BOM_FILE, SIGNATURE_FILE)


@dataclass(frozen=True)
class VersionFile:
    """One file of a version."""

    name: str
    media_type: str
    size: int
    sha256: str
    content: bytes | None
    """None for the weights, which are in storage."""


def weights_of(version: Version) -> VersionFile:
    """The file that all others are about."""
    size, sha256 = version.weights_size, version.weights_sha256
    return VersionFile(WEIGHTS_FILE, WEIGHTS, size, sha256, None)


def files_of(session: Session, signer: Signer, model: Model, version: Version) -> list[VersionFile]:
    """All files; the last one is the signature over the others.

    The same bytes each time, as long as the model's name and the signing key are the same.
    """
    facts = facts_of(session, model, version)
    files = [
        weights_of(version),
        _file(CARD_FILE, CARD, card.render(facts).encode()),
        _file(BOM_FILE, bom.MEDIA_TYPE, bom.render(facts)),
    ]
    signer = signing_now(session, signer)
    signature = sign_files(
        f"{model.name}/{version.id}",
        {file.name: file.sha256 for file in files},
        Ed25519PublicKey.from_public_bytes(signer.public_key),
        signer.sign,
    )
    return [*files, _file(SIGNATURE_FILE, BUNDLE, signature)]


def _file(name: str, media_type: str, content: bytes) -> VersionFile:
    sha256 = hashlib.sha256(content).hexdigest()
    return VersionFile(name, media_type, len(content), sha256, content)
