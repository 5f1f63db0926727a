"""Every knob of the service and the worker, read from `EXPUNGE_*`."""

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.oidc.trust import TrustedIssuer


class Settings(BaseSettings):
    """The embedded default is SQLite, a local folder and the loop without a broker."""

    model_config = SettingsConfigDict(env_prefix="EXPUNGE_", extra="ignore")

    state_dir: Path = Path(".expunge")
    """Where the defaults below live."""
    database_url: str = ""
    """SQLAlchemy URL; empty means `expunge.db` in `state_dir`."""
    storage_dir: Path | None = None
    """Content-addressed files; empty means `files` in `state_dir`."""
    signing_key_file: Path | None = None
    """Ed25519 private key, PEM; made at first use where it is absent."""
    api_key_pepper_file: Path | None = None
    """Secret that keys the hashes of API keys; made at first use where it is absent."""
    broker_url: str | None = None
    """Redis URL of Celery's broker; without it workers poll the database."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    public_url: str | None = None
    """How the outside reaches the service, for links in receipts."""
    max_body_bytes: int = Field(1_000_000, gt=0)
    """Of a JSON body; uploads have their own limit."""
    max_upload_bytes: int = Field(20_000_000_000, gt=0)

    delta_max_share: float = Field(0.8, ge=0, le=1)
    """A version is stored as a delta from its parent up to this share of its file; 0: never."""
    delta_max_chain: int = Field(8, ge=1)
    """After so many deltas in a row a version is stored whole."""
    restored_cache_bytes: int = Field(10_000_000_000, gt=0)
    """Of files restored from deltas, kept beside the stored ones."""

    lease_seconds: float = Field(60, gt=0)
    heartbeat_seconds: float = Field(15, gt=0)
    poll_seconds: float = Field(0.5, gt=0)
    """How often an idle loop looks for work."""
    max_attempts: int = Field(3, ge=1)
    retry_seconds: float = Field(5, ge=0)
    """Before a failed job's second attempt; twice as long before its third."""
    ring_again_seconds: float = Field(60, gt=0)
    """A job that waits for longer is announced to the broker once more."""
    purge_seconds: float = Field(60, gt=0)
    """How often a worker looks for versions whose files are to be deleted by their policy."""
    job_time_limit_seconds: float = Field(24 * 3600, gt=0)
    job_memory_bytes: int | None = Field(None, gt=0)
    """Of the engine's address space; none by default, as CUDA reserves more than it uses."""
    kill_grace_seconds: float = Field(5, ge=0)
    """Between SIGTERM and SIGKILL for the engine."""
    torch_threads: int | None = Field(None, ge=1)
    device: str = "cpu"
    """Of the engine: cpu, cuda or mps."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the forward passes whose gradients the default method takes."""
    engine_processes: int = Field(1, ge=1)
    """That share the mini-batches of a job; with `cuda`, each has a GPU."""
    state_every_steps: int = Field(50, ge=1)
    """A job writes down how far it is after so many, for another attempt to go on from."""

    oidc_issuers: list[TrustedIssuer] = []
    """JSON list of the OpenID Connect issuers whose tokens are taken beside API keys."""
    oidc_allow_loopback: bool = False
    """Also fetch issuers' keys from this machine itself, and there without TLS: to try it out."""

    rate_limit_requests: int | None = Field(None, ge=1)
    """Of one caller within `rate_limit_seconds`; none: as many as they like."""
    rate_limit_refusals: int | None = Field(None, ge=1)
    """Failed attempts to authenticate, after which an address is not listened to."""
    rate_limit_seconds: int = Field(60, ge=1, le=86400)
    """The window, which slides."""
    rate_limit_redis_url: str | None = Field(None, pattern="^(rediss?|redis\\+unix)://")
    """Where all processes count together; without it, and while it is away, each counts alone."""

    webhook_allow_loopback: bool = False
    """Also deliver to this machine itself, and there without TLS: to try webhooks out."""
    webhook_timeout_seconds: float = Field(15, gt=0, le=30)
    """For a whole delivery, from the look-up of the name to the answer."""
    webhook_max_attempts: int = Field(10, ge=1)
    """After so many a delivery is dead, until somebody replays it."""
    webhook_retry_seconds: float = Field(5, gt=0)
    """Before a delivery's second attempt; four times as long before each further one, to 12 h."""
    webhook_disable_after_seconds: float = Field(5 * 86400, gt=0)
    """An endpoint where nothing succeeded for so long is disabled when a delivery dies."""
    webhook_secret_overlap_seconds: float = Field(86400, ge=0)
    """How long deliveries are signed with the former secret too, after a rotation."""
    webhook_key_file: Path | None = None
    """Fernet keys, one a line, for the secrets in the database: the first seals, all open. The
    service and every worker need it. Without it secrets are stored as they are."""

    dsr_certificate_file: Path | None = None
    """X.509, PEM, of the domain of `public_url`: OpenDSR controllers check answers with it. Without
    it a self-signed one of the signing key is used, to try things out."""
    dsr_key_file: Path | None = None
    """The certificate's private key, PEM: RSA, ECDSA or Ed25519."""
    dsr_callback_keep_seconds: float = Field(30 * 86400, gt=0)
    """How long callbacks are kept on record that were delivered to OpenDSR controllers."""

    @field_validator("database_url")
    @classmethod
    def _use_psycopg(cls, url: str) -> str:
        """`postgresql://` names no driver; ours is psycopg 3."""
        for scheme in ("postgresql://", "postgres://"):
            if url.startswith(scheme):
                return "postgresql+psycopg://" + url.removeprefix(scheme)
        return url

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.state_dir.absolute() / 'expunge.db'}"

    @property
    def storage(self) -> Path:
        """The folder of content-addressed files."""
        return self.storage_dir or self.state_dir / "files"

    @property
    def restored_cache(self) -> Path:
        """The folder of files restored from deltas."""
        return self.storage / "cache"

    @property
    def signing_key(self) -> Path:
        """The file of the receipts' private key."""
        return self.signing_key_file or self.state_dir / "signing-key.pem"

    @property
    def api_key_pepper(self) -> Path:
        """The file of the API keys' pepper."""
        return self.api_key_pepper_file or self.state_dir / "api-key-pepper"


@lru_cache
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
