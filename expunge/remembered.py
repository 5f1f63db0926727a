"""The last head that was seen of each ledger: what makes it show if the past is rewritten."""

import json
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from expunge.answers import LedgerHead
from expunge.errors import ExpungeError


class RememberedHeads:
    """A file of heads by the service's address."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def of(self, url: str) -> LedgerHead | None:
        """The head seen last, or None; raises ExpungeError where the file cannot be read."""
        found = self._read().get(url)
        try:
            return None if found is None else LedgerHead.model_validate(found)
        except ValidationError:
            raise self._broken() from None

    def keep(self, url: str, head: LedgerHead) -> None:
        """Remember a head that was verified, in the place of the one before."""
        heads = {**self._read(), url: head.model_dump()}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        fresh.write_text(json.dumps(heads, indent=2) + "\n", encoding="utf-8")
        os.replace(fresh, self._file)

    def _read(self) -> dict[str, Any]:
        try:
            heads = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            raise self._broken() from None
        if not isinstance(heads, dict):
            raise self._broken()
        return heads

    def _broken(self) -> ExpungeError:
        return ExpungeError(
            f"{self._file} holds no heads of a ledger: restore it, or remove it and lose what"
            " it could have shown"
        )
