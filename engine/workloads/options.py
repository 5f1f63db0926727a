"""Checks of a workload's options, which arrive as JSON."""

from engine.errors import WorkloadError


def whole_number(option: str, value: object, lowest: int) -> int:
    """`value` as an int of at least `lowest`; raises `WorkloadError` naming the option."""
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise WorkloadError(
            f"option {option!r} must be a whole number of at least {lowest}, not {value!r}"
        )
    return value


def share(option: str, value: object, highest: float) -> float:
    """`value` as a float between 0 and `highest`; raises `WorkloadError` naming the option."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= highest:
        raise WorkloadError(
            f"option {option!r} must be a number between 0 and {highest}, not {value!r}"
        )
    return float(value)


def multiple(option: str, value: object, of: int) -> int:
    """`value` as a positive multiple of `of`; raises `WorkloadError` naming the option."""
    number = whole_number(option, value, of)
    if number % of:
        raise WorkloadError(f"option {option!r} must be a multiple of {of}, not {number}")
    return number
