"""Signatures over a folder with a model in it: OpenSSF Model Signing 1.0, made and checked.

A Sigstore bundle around a DSSE envelope around an in-toto statement, whose predicate names every
file with its sha256; its subject is the sha256 over those digests.
https://github.com/sigstore/model-transparency. The key is Ed25519, the one that signs the ledger:
the project's own command takes keys of other kinds only, so that the folder is checked here.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from expunge import dsse
from expunge.canonical import canonical_json
from expunge.errors import ModelSignatureInvalid

SIGNATURE_FILE: Final = "model.sig"
BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
"""The media type of the file."""
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_PREDICATE: Final = "https://model_signing/signature/v1.0"
_ALGORITHM: Final = "sha256"


@dataclass(frozen=True)
class VerifiedModel:
    """What holds of a folder."""

    name: str
    """As it was signed, such as `street-parsing/ver_...`."""
    key_id: str
    """Of the key that signed."""
    files: Mapping[str, str]
    """Hex sha256 by name."""


def sign_files(
    name: str,
    files: Mapping[str, str],
    public_key: Ed25519PublicKey,
    sign: Callable[[bytes], bytes],
) -> bytes:
    """The content of `model.sig` for files with these hex digests."""
    resources = [
        {"name": file, "algorithm": _ALGORITHM, "digest": digest}
        for file, digest in sorted(files.items())
    ]
    statement = {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": _root(resources)}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": _ALGORITHM,
                "allow_symlinks": False,
                "ignore_paths": [SIGNATURE_FILE],
            },
            "resources": resources,
        },
    }
    payload = canonical_json(statement)
    bundle = {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": _hint(public_key)}, "tlogEntries": []},
        "dsseEnvelope": dsse.envelope(dsse.IN_TOTO, payload, dsse.key_id(public_key), sign),
    }
    return canonical_json(bundle)


def verify_folder(folder: Path, keys: Mapping[str, Ed25519PublicKey]) -> VerifiedModel:
    """What `model.sig` in the folder says, once every file is seen to be as it was signed.

    Raises ModelSignatureInvalid with one sentence for the first thing that is wrong: the signature,
    a file that is missing or altered, one that was not signed.
    """
    from expunge.transfers import sha256_of  # noqa: PLC0415 - who signs needs no HTTP client

    file = folder / SIGNATURE_FILE
    if not file.is_file():
        raise ModelSignatureInvalid(f"there is no {SIGNATURE_FILE} in {folder}")
    name, key_id, signed = _opened(file.read_bytes(), keys)
    for found, digest in signed.items():
        if not (folder / found).is_file():
            raise ModelSignatureInvalid(f"{found} was signed, but it is not in {folder}")
        if sha256_of(folder / found) != digest:
            raise ModelSignatureInvalid(f"{found} is not the file that was signed")
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
    foreign = sorted(there - set(signed) - {SIGNATURE_FILE})
    if foreign:
        raise ModelSignatureInvalid(f"{foreign[0]} is in {folder}, but it was not signed")
    return VerifiedModel(name, key_id, signed)


def _opened(
    content: bytes, keys: Mapping[str, Ed25519PublicKey]
) -> tuple[str, str, dict[str, str]]:
    """The model's name, the key's id and the digests by name."""
    try:
        bundle = json.loads(content)
        if bundle["mediaType"] != BUNDLE:
            raise KeyError
        payload, key_id = dsse.open_envelope(bundle["dsseEnvelope"], keys)
        hint = bundle["verificationMaterial"]["publicKey"]["hint"]
    except dsse.InvalidEnvelope as error:
        raise ModelSignatureInvalid(f"{SIGNATURE_FILE}: {error}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ModelSignatureInvalid(f"{SIGNATURE_FILE} is no Sigstore bundle") from None
    if hint != _hint(keys[key_id]):
        raise ModelSignatureInvalid(f"{SIGNATURE_FILE} names another key than the one that signed")
    return _read(payload, key_id)


def _read(payload: bytes, key_id: str) -> tuple[str, str, dict[str, str]]:
    try:
        statement = json.loads(payload)
        if (statement["_type"], statement["predicateType"]) != (_STATEMENT, _PREDICATE):
            raise KeyError
        (subject,) = statement["subject"]
        resources = statement["predicate"]["resources"]
        if {resource["algorithm"] for resource in resources} != {_ALGORITHM}:
            raise KeyError
        files = {str(resource["name"]): str(resource["digest"]) for resource in resources}
        holds = subject["digest"]["sha256"] == _root(resources)
        name = str(subject["name"])
    except (ValueError, KeyError, TypeError):
        raise ModelSignatureInvalid("signed, but not a statement about a model") from None
    if not holds or any(Path(file).is_absolute() or ".." in Path(file).parts for file in files):
        raise ModelSignatureInvalid("signed, but the statement contradicts itself")
    return name, key_id, files


def _root(resources: list[dict[str, Any]]) -> str:
    """The sha256 over the resources' digests, in their order."""
    return hashlib.sha256(b"".join(bytes.fromhex(one["digest"]) for one in resources)).hexdigest()


def _hint(public_key: Ed25519PublicKey) -> str:
    """The sha256 of the key's PEM, as the specification's own signer has it."""
    pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()
