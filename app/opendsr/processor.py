"""The processor that OpenDSR controllers speak to: its domain, its certificate, its signature.

A controller takes the certificate from `/dsr/v2/discovery` and checks with it the base64 signature
of every answer's and callback's body: RSA (PKCS #1 v1.5) and ECDSA over its SHA-256, or Ed25519.
"""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from app.settings import Settings

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

DOMAIN_HEADER = "X-OpenDSR-Processor-Domain"
SIGNATURE_HEADER = "X-OpenDSR-Signature"
_BEGIN, _END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, tzinfo=UTC)


class ProcessorFault(Exception):
    """The façade cannot sign; the message says why."""


@dataclass(frozen=True)
class Processor:
    """Who signs."""

    domain: str
    certificate: bytes
    """PEM."""
    key: Key

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """As the settings have it; without a certificate of theirs, one of the signing key.

        Raises ProcessorFault where a file cannot be read or holds something else.
        """
        domain = urlsplit(settings.public_url or "").hostname or "localhost"
        file = settings.dsr_key_file or settings.signing_key
        key = _key(file)
        if settings.dsr_certificate_file is None:
            return cls(domain, _self_signed(domain, key), key)
        from cryptography import x509  # noqa: PLC0415 - takes a while, and most do without

        pem = _content(settings.dsr_certificate_file)
        try:
            certified = x509.load_pem_x509_certificate(pem).public_key()
        except (ValueError, UnsupportedAlgorithm):
            fault = f"{settings.dsr_certificate_file} holds no X.509 certificate in PEM"
            raise ProcessorFault(fault) from None
        if certified != key.public_key():
            fault = (
                f"the certificate in {settings.dsr_certificate_file} is not of the key in {file}"
            )
            raise ProcessorFault(fault)
        return cls(domain, pem, key)

    def headers(self, body: bytes) -> dict[str, str]:
        """What tells a controller that a body is ours."""
        signature = base64.b64encode(self._sign(body)).decode()
        return {DOMAIN_HEADER: self.domain, SIGNATURE_HEADER: signature}

    def _sign(self, body: bytes) -> bytes:
        match self.key:
            case rsa.RSAPrivateKey():
                return self.key.sign(body, padding.PKCS1v15(), SHA256())
            case ec.EllipticCurvePrivateKey():
                return self.key.sign(body, ec.ECDSA(SHA256()))
            case _:
                return self.key.sign(body)


def fault_of(settings: Settings) -> str | None:
    """Why OpenDSR's answers could not be signed, as one sentence."""
    try:
        if settings.dsr_certificate_file is None:  # then one is made when it is asked for
            _key(settings.dsr_key_file or settings.signing_key)
        else:
            Processor.load(settings)
    except ProcessorFault as fault:
        return str(fault)
    return None


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ProcessorFault(f"{file} cannot be read: {error.strerror}") from None


def _key(file: Path) -> Key:
    try:
        key = load_pem_private_key(_content(file), password=None)
    except TypeError:
        raise ProcessorFault(f"the key in {file} is locked by a password: unlock it") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ProcessorFault(f"{file} holds no private key in PEM") from None
    if not isinstance(key, Key):
        raise ProcessorFault(f"{file} holds no RSA, ECDSA or Ed25519 key")
    return key


def _self_signed(domain: str, key: Key) -> bytes:
    """The same from every process: an Ed25519 signature is a function of what it signs."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_BEGIN)
        .not_valid_after(_END)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)
