"""Which of several forms of an answer the caller likes best (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence


def preferred(accept: str | None, offered: Sequence[str]) -> str:
    """The offered media type of the highest quality; the first one where none is liked better."""
    best, quality = offered[0], 0.0
    for offer in offered:
        found = _quality(accept or "*/*", offer)
        if found > quality:
            best, quality = offer, found
    return best


def _quality(accept: str, offer: str) -> float:
    """By the most specific range that matches, 0 if none does."""
    matches: list[tuple[int, float]] = []
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if name in (offer, offer.split("/", maxsplit=1)[0] + "/*", "*/*"):
            matches.append((len(name.replace("*", "")), _given(parameters)))
    return max(matches)[1] if matches else 0.0


def _given(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                return 0.0
    return 1.0
