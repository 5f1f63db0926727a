"""What is installed: workloads and methods, found by the name of their entry point."""

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from pydantic import JsonValue

from engine.errors import EngineError, InvalidSpec, WorkloadError
from engine.problem import Method
from engine.workload import Workload

WORKLOADS = "expunge.workloads"
METHODS = "expunge.methods"


def installed(group: str) -> list[str]:
    """The names in an entry point group, sorted."""
    return sorted(entry_points(group=group).names)


def installed_versions(group: str) -> dict[str, str]:
    """The names in an entry point group, with the version of the package that brings each."""
    return {
        entry.name: entry.dist.version if entry.dist else "unknown"
        for entry in sorted(entry_points(group=group))
    }


def load_workload(name: str, options: Mapping[str, JsonValue]) -> Workload:
    """The workload called `name`, built with `options` as keywords.

    Raises `WorkloadError` where it is not installed, cannot be imported, does not know an option,
    or raises by itself.
    """
    entry = _find(WORKLOADS, name)
    if entry is None:
        raise WorkloadError(_not_installed("workload", name, WORKLOADS))
    try:
        factory = cast(Callable[..., Workload], entry.load())
        _check_options(name, factory, options)
        return factory(**options)
    except EngineError:
        raise
    except Exception as error:  # the border to somebody else's code
        raise WorkloadError(
            f"workload {name!r} cannot be built: {type(error).__name__}: {_first_line(error)}"
        ) from error


def load_method(name: str) -> Method:
    """The unlearning method called `name`.

    Raises `InvalidSpec` where it is not installed or cannot be imported.
    """
    entry = _find(METHODS, name)
    if entry is None:
        raise InvalidSpec(_not_installed("method", name, METHODS))
    try:
        return cast(Method, entry.load())
    except Exception as error:  # the border to somebody else's code
        raise InvalidSpec(
            f"method {name!r} cannot be loaded: {type(error).__name__}: {_first_line(error)}"
        ) from error


def _find(group: str, name: str) -> EntryPoint | None:
    return next(iter(entry_points(group=group, name=name)), None)


def _not_installed(what: str, name: str, group: str) -> str:
    return f"{what} {name!r} is not installed; installed are: {', '.join(installed(group))}"


def _check_options(
    name: str, factory: Callable[..., Workload], options: Mapping[str, JsonValue]
) -> None:
    parameters = inspect.signature(factory).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    known = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    for option in options:
        if option not in known:
            raise WorkloadError(
                f"workload {name!r} has no option {option!r}; its options are: {', '.join(known)}"
            )
    for parameter in parameters:
        if parameter.default is parameter.empty and parameter.name not in options:
            raise WorkloadError(f"workload {name!r} needs the option {parameter.name!r}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
