"""One byte string for one JSON value, so that hashes and signatures can be checked anywhere.

Sorted keys, no white space, UTF-8: RFC 8785 for what the ledger and the receipts hold (strings,
integers, booleans, null, arrays, objects, and finite floats in Python's shortest form).
"""

import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """The canonical bytes of `value`; raises ValueError for NaN and infinities."""
    return canonical_text(value).encode()


canonical_text = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode
"""The same as text."""
