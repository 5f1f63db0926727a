"""Ids that sort by the time they were made: a prefix that says what, then a UUIDv7."""

from typing import Literal

import uuid_utils

Prefix = Literal[
    "ten",
    "key",
    "mod",
    "ver",
    "req",
    "job",
    "att",
    "aud",
    "rcp",
    "evt",
    "dlv",
    "hold",
    "wrk",
    "whk",
    "dsr",
    "cbk",
]


def new_id(prefix: Prefix) -> str:
    """A fresh id, such as `req_0192f1c07b3a7c1e9f...` (36 characters)."""
    return f"{prefix}_{uuid_utils.uuid7().hex}"
