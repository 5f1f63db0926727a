"""The installation's signing key."""

import base64
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.signing import Signer, jwk, prepare, put_in_place, thumbprint


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "signing.pem"
    first = Signer.load_or_create(file)
    assert Signer.load_or_create(file).key_id == first.key_id
    assert file.stat().st_mode & 0o777 == 0o600
    assert Signer.load_or_create(tmp_path / "other.pem").key_id != first.key_id


def test_signatures_verify_under_the_published_key(tmp_path: Path) -> None:
    signer = Signer.load_or_create(tmp_path / "signing.pem")
    jwk = signer.public_jwk()
    assert jwk["kid"] == signer.key_id
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(jwk["x"] + "="))
    public.verify(signer.sign(b"message"), b"message")
    with pytest.raises(InvalidSignature):
        public.verify(signer.sign(b"message"), b"massage")


def test_the_key_id_is_the_rfc_8037_thumbprint() -> None:
    """Appendix A.3 of RFC 8037."""
    secret = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    signer = Signer(Ed25519PrivateKey.from_private_bytes(secret))
    assert signer.key_id == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "signing.pem"
    other = generate_private_key(SECP256R1())
    file.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ValueError, match="no Ed25519 private key"):
        Signer.load_or_create(file)


def test_whoever_signs_sees_that_another_key_took_the_place(tmp_path: Path) -> None:
    file = tmp_path / "signing.pem"
    first = Signer.load_or_create(file)
    assert first.current().key_id == first.key_id
    fresh, beside = prepare(file)
    assert beside.stat().st_mode & 0o777 == 0o600
    assert first.current().key_id == first.key_id
    put_in_place(beside, file)
    assert first.current().key_id == fresh.key_id != first.key_id
    assert list(tmp_path.iterdir()) == [file]
    assert jwk(fresh.public_key)["kid"] == thumbprint(fresh.public_key) == fresh.key_id
