"""Who competes, what each may tune, and which pieces of the default method can be changed."""

from collections.abc import Mapping, Sequence
from itertools import product

from pydantic import JsonValue

from engine.methods.settings import Settings as DefaultSettings
from engine.registry import METHODS, installed

ORIGINAL = "original"
"""The untouched network: where every method starts."""
RETRAIN = "retrain"
OURS = "interference_aware"

Trial = dict[str, JsonValue]


def _grid(
    rates: Sequence[float], name: str, values: Sequence[JsonValue], **fixed: JsonValue
) -> list[Trial]:
    """Every rate with every value, the values of the first rate first."""
    return [{"learning_rate": rate, name: value, **fixed} for rate, value in product(rates, values)]


# Each has six, in the order in which a smaller budget takes them. All repair the kept tasks of the
# forgotten instances as the default method does; those without a retain term may repair as well.
_OWN_TASKS: Trial = {"self_retain": 2.0}
_TUNED: Mapping[str, list[Trial]] = {
    "finetune": [{"learning_rate": rate} for rate in (1.5e-3, 5e-3, 7e-4, 3e-3, 1e-2, 2e-4)],
    "gradient_ascent": _grid((7e-4, 2e-4), "repair", (2.0, 0.0, 6.0)),
    "neggrad_plus": _grid((7e-4, 2e-3), "beta", (0.87, 0.67, 0.95)),
    "scrub": _grid((7e-4, 2e-3), "max_share", (0.5, 0.2, 1.0)),
    "bad_teacher": _grid((7e-4, 2e-3), "repair", (2.0, 0.0, 6.0)),
    "salun": _grid((7e-4, 2e-3), "repair", (2.0, 1.0, 6.0)),
    "ssd": [
        {"alpha": alpha, "dampening": strength}
        for strength, alpha in product((1.0, 0.3), (10.0, 3.0, 30.0))
    ],
    "l1_sparse": _grid((1.5e-3, 5e-3), "gamma", (1e-4, 5e-4, 1e-5)),
    "random_label": _grid((7e-4, 2e-3), "repair", (2.0, 1.0, 6.0)),
    "orthograd": _grid((7e-4, 2e-3), "alpha", (0.87, 0.5, 0.7)),
    "pcgrad_unlearn": _grid((7e-4, 2e-3), "forget_weight", (0.3, 1.0, 0.1)),
    "interference_aware_paper": _grid((2e-3, 5e-3), "repair", (2.0, 0.0, 6.0)),
}
_STEPLESS = frozenset({"ssd"})

_ABLATIONS: Mapping[str, Trial] = {
    "metric off": {"metric": "none"},
    "mask on": {"mask_share": 0.5},
    "projection off": {"projection": "none"},
    "complement": {"projection": "complement"},
    "repair off": {"repair": 0.0},
    "self-retain off": {"self_retain": 0.0},
    "one round": {"rounds": 1},
}

KNOWN = (ORIGINAL, RETRAIN, OURS, *_TUNED, *(f"{OURS}[{piece}]" for piece in _ABLATIONS))
"""All labels that this benchmark has a word for."""


def trials(method: str, budget: int) -> list[Trial]:
    """The settings that a baseline may choose among; empty for a method that is not tuned."""
    if method not in _TUNED:
        return []
    common = {} if method in _STEPLESS else _OWN_TASKS
    return [{**trial, **common} for trial in _TUNED[method][:budget]]


def is_baseline(method: str) -> bool:
    """Whether it is tuned, and shown at its best step by test as well."""
    return method in _TUNED


def ablations() -> list[str]:
    """The default method with one piece off each, as far as its settings allow."""
    known = DefaultSettings.model_fields
    return [
        f"{OURS}[{piece}]"
        for piece, change in _ABLATIONS.items()
        if all(n in known for n in change)
    ]


def resolve(label: str) -> tuple[str, Trial]:
    """The method's installed name and its fixed settings, from a name or `name[piece]`.

    Raises `ValueError` for what is neither installed nor an ablation.
    """
    name, bracket, piece = label.partition("[")
    if bracket:
        if label not in ablations():
            raise ValueError(f"unknown ablation {label!r}; there are: {', '.join(ablations())}")
        return OURS, dict(_ABLATIONS[piece.removesuffix("]")])
    if name != ORIGINAL and name not in installed(METHODS):
        raise ValueError(
            f"method {name!r} is not installed; installed are: {', '.join(installed(METHODS))}"
        )
    return name, {}


def everyone() -> list[str]:
    """The default field: references, ours, its ablations, and every installed baseline."""
    baselines = [method for method in installed(METHODS) if method in _TUNED]
    return [ORIGINAL, RETRAIN, OURS, *baselines, *ablations()]
