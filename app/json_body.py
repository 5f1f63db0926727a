"""What every JSON body must be before a route sees it: JSON, not too deep, of storable strings.

PostgreSQL stores no NUL and no lone surrogate, and no NaN; deep nesting is an attack on parsers.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from app.problems import Invalid, Problem, not_json

MAX_DEPTH = 32
_SUSPECT = re.compile(rb"\\u(0000|[dD][89a-fA-F])|NaN|Infinity|\d[eE]|\d{300}")
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"|([\[{])|[\]}]', re.DOTALL)


def check(body: bytes) -> None:
    """Raise a `Problem` of 400 or 422 for a body that no route should see."""
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _depth(body) > MAX_DEPTH:
        raise Problem(400, "too-deep", f"the body nests deeper than {MAX_DEPTH} levels")
    try:
        value = json.loads(body)
    except UnicodeDecodeError as error:
        raise not_json(f"it is not UTF-8 ({error.reason} at byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise not_json(f"{error.msg} at character {error.pos}") from None
    except ValueError:  # an integer of more digits than Python converts
        raise not_json("it holds a number of thousands of digits") from None
    if _SUSPECT.search(body):
        for pointer, why in _faults(value, "#"):
            raise Invalid(pointer, f"{pointer} {why}")


def _depth(body: bytes) -> int:
    deepest = now = 0
    for match in _BRACKETS.finditer(body):
        if match[1]:
            now += 1
            deepest = max(deepest, now)
        elif match[0] in b"]}":
            now -= 1
    return deepest


def _faults(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    match value:
        case str():
            if "\0" in value:
                yield pointer, "holds a NUL character, which cannot be stored"
            elif any("\ud800" <= character <= "\udfff" for character in value):
                yield pointer, "holds a lone surrogate, which is not text"
        case float():
            if not math.isfinite(value):
                yield pointer, "is not a finite number"
        case int():
            if abs(value) >= 1 << 63:
                yield pointer, "is a number beyond 64 bits"
        case list():
            for index, item in enumerate(value):
                yield from _faults(item, f"{pointer}/{index}")
        case dict():
            for key, item in value.items():
                for _, why in _faults(key, pointer):
                    yield pointer, f"has a name that {why}"
                escaped = key.replace("~", "~0").replace("/", "~1")
                yield from _faults(item, f"{pointer}/{escaped}")
