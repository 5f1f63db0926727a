"""Webhook secrets as the database keeps them: sealed under a key that is not in it.

The key file holds Fernet keys, one a line. The first seals; all open, so that a new key is put
before the old one, and the old one taken away when every row was sealed anew. Without a file
secrets are stored as they are; those stay readable when there is one.
"""

from pathlib import Path
from typing import Self

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from app.settings import Settings

PLAIN_SECRETS = "webhook secrets are stored as they are: EXPUNGE_WEBHOOK_KEY_FILE names no key"
_PLAIN_BYTES = 32
"""The length of a secret; what is sealed is longer."""


class KeyFault(Exception):
    """The key file cannot be used; the message says why."""


class SecretUnreadable(Exception):
    """A stored secret was sealed with a key that the key file lacks."""


class SecretBox:
    """Seals and opens secrets with the keys of a file."""

    def __init__(self, keys: list[Fernet]) -> None:
        self._keys = keys

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """With the keys that the file holds now; KeyFault where it cannot be used."""
        if settings.webhook_key_file is None:
            return cls([])
        return cls(_read(settings.webhook_key_file))

    @property
    def seals(self) -> bool:
        """Whether there is a key at all."""
        return bool(self._keys)

    def seal(self, secret: bytes) -> bytes:
        """What is to be stored of a secret."""
        return self._keys[0].encrypt(secret) if self._keys else secret

    def open(self, stored: bytes) -> bytes:
        """The secret; SecretUnreadable where its key is not here."""
        if len(stored) == _PLAIN_BYTES:
            return stored
        try:
            return MultiFernet(self._keys).decrypt(stored) if self._keys else _refuse()
        except InvalidToken:
            return _refuse()

    def is_sealed_by_first(self, stored: bytes) -> bool:
        """Whether the older keys are not needed for it."""
        try:
            self._keys[0].decrypt(stored)
        except InvalidToken:
            return False
        return True


def fault_of(settings: Settings) -> str | None:
    """Why secrets cannot be sealed and opened as the settings say, as one sentence."""
    try:
        SecretBox.load(settings)
    except KeyFault as fault:
        return str(fault)
    return None


def _read(file: Path) -> list[Fernet]:
    try:
        lines = file.read_text("ascii").split()
    except OSError as error:
        raise KeyFault(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise KeyFault(f"{file} holds no Fernet keys, one a line") from None
    try:
        keys = [Fernet(line) for line in lines]
    except ValueError:
        keys = []
    if not keys:
        raise KeyFault(f"{file} holds no Fernet keys, one a line")
    return keys


def _refuse() -> bytes:
    raise SecretUnreadable("the secret was sealed with a key that EXPUNGE_WEBHOOK_KEY_FILE lacks")
