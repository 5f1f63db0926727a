"""Unlearning as a service: the Python client, and the `expunge` command.

`Client` talks to a service over HTTP; `expunge.verify` checks receipts without one.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expunge.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    """`Client`, imported when asked for: the service uses parts of this package without it."""
    if name == "Client":
        from expunge.client import Client  # noqa: PLC0415

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
