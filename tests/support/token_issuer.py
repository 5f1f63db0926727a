"""An OpenID Connect issuer on loopback: discovery, keys that rotate, and tokens that it signs."""

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from app.settings import Settings
from running_service import Service
from scripted_server import Reply, Script, Seen, scripted

AUDIENCE = "https://expunge.example"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def new_key(algorithm: str) -> PrivateKey:
    """A private key that can sign with this algorithm."""
    if algorithm.startswith("ES"):
        curve = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}[algorithm]
        return ec.generate_private_key(curve())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Issuer:
    """What a test says to a running issuer, and asks it for."""

    def __init__(self, server: Script) -> None:
        self.url = server.url
        self.configuration = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
        }
        self.granted: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        self.published: list[dict[str, Any]] = []
        self.server = server
        self.is_away = False
        self._keys: dict[str, tuple[str, PrivateKey]] = {}
        server.say(self._answer)

    def rotate(
        self, key_id: str, algorithm: str = "RS256", *, key: PrivateKey | None = None
    ) -> None:
        """Sign with a fresh key from now on, and publish it alone."""
        key = key or new_key(algorithm)
        self._keys[key_id] = (algorithm, key)
        self._newest = key_id
        self.published = [public_jwk(key, algorithm) | {"kid": key_id, "use": "sig"}]

    def token(self, key_id: str | None = None, **claims: Any) -> str:
        """A token of the key that was made as `key_id`, or the newest; None leaves a claim out."""
        key_id = key_id or self._newest
        algorithm, key = self._keys[key_id]
        now = int(time.time())
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 3600}
        told = {name: value for name, value in (usual | claims).items() if value is not None}
        return jwt.encode(told, key, algorithm, headers={"kid": key_id})

    def trust(self, **more: Any) -> dict[str, Any]:
        """An entry of the service's settings that trusts this issuer."""
        tenant = {} if "tenant_claim" in more else {"tenant": "default"}
        return {"issuer": self.url, "audience": AUDIENCE} | tenant | more

    def grant(self, asked: dict[str, str], **tokens: Any) -> str:
        """The code for whoever was sent here with these parameters; `tokens` it is worth."""
        code = f"code-{len(self.granted)}"
        self.granted[code] = asked, tokens
        return code

    def _exchange(self, form: dict[str, str]) -> Reply:
        """A code's tokens, once, for whoever began and asks as before."""
        asked, tokens = self.granted.pop(form["code"], ({}, {}))
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        same = all(asked.get(name) == form[name] for name in ("client_id", "redirect_uri"))
        if not same or asked["code_challenge"] != challenge:
            return Reply(400, b'{"error": "invalid_grant"}')
        return Reply(200, json.dumps(tokens).encode())

    @property
    def fetches(self) -> int:
        """How often the keys were asked for."""
        return sum(seen.path == "/keys" for seen in self.server.seen)

    def _answer(self, seen: Seen) -> Reply:
        if self.is_away:
            return Reply(503)
        if seen.path == "/.well-known/openid-configuration":
            return Reply(200, json.dumps(self.configuration).encode())
        if seen.path == "/token":
            return self._exchange(dict(parse_qsl(seen.body.decode())))
        return Reply(200, json.dumps({"keys": self.published}).encode())


def public_jwk(key: PrivateKey, algorithm: str) -> dict[str, Any]:
    """The public half, as an issuer publishes it."""
    made = jwt.get_algorithm_by_name(algorithm)
    found = made.to_jwk(key.public_key(), as_dict=True)
    return {name: value for name, value in found.items() if name != "key_ops"} | {"alg": algorithm}


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    """An issuer with one RSA key, `first`."""
    with scripted() as server:
        issuer = Issuer(server)
        issuer.rotate("first")
        yield issuer


def trusting_settings(folder: Path, database_url: str, *issuers: dict[str, Any]) -> Settings:
    """Of a service that trusts these issuers, also on loopback."""
    return Settings(
        state_dir=folder / "state",
        database_url=database_url,
        oidc_issuers=issuers,  # type: ignore[arg-type]  # validated, as those of the environment
        oidc_allow_loopback=True,
    )


def who(service: Service, token: str) -> httpx.Response:
    """What the service answers to a caller with this token."""
    with service.client(token) as client:
        return client.get("/v1/whoami")
