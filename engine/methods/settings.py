"""The constants of `interference_aware`."""

from typing import Literal

from pydantic import Field

from engine.change_bits import MOST_BITS
from engine.methods.method_settings import MethodSettings


class Settings(MethodSettings):
    """None of them depends on the request; what does is derived from the model's own statistics."""

    learning_rate: float = Field(0.05, gt=0, le=1)
    """Share of its own size by which a step moves a layer; falls by a cosine to a twentieth in each
    round."""
    steps_per_instance: float = Field(1.5, gt=0)
    min_steps: int = Field(60, ge=2)
    """A round takes the larger of these and `steps_per_instance` times the forget instances."""
    rounds: int = Field(2, ge=1)
    """At most; another one starts only while the bar is unmet on the calibrating half."""
    forget_batch: int = Field(20, ge=1)
    retain_batch: int = Field(32, ge=1)
    repair: float = Field(2.0, ge=0)
    """Weight of the retain gradient; it rises while too much is lost, and fades while the retain
    data gain by it."""
    self_retain: float = Field(2.0, ge=0)
    """Weight of keeping the forgotten instances' other tasks where they were."""
    mask_share: float = Field(1.0, gt=0, le=1)
    """Share of the weights that may change: those that speak most of the forget set; 1 takes no
    mask, and no gradients to find one."""
    metric: Literal["retained_inputs", "none"] = "retained_inputs"
    """In which the steps are taken: sparing what retain data reach, or every weight alike."""
    projection: Literal["cone", "complement", "none"] = "cone"
    """How the forget direction is kept from harming retain data."""
    row_chunks: int = Field(2, ge=1)
    """Retain gradients a step, each of a chunk of the retain batch."""
    row_memory: int = Field(1, ge=1)
    """Steps for which such a gradient constrains the forget direction."""
    row_bytes: int = Field(2**31, ge=0)
    """If such gradients take more in all, they lie in a temporary file, read a layer at a time."""
    change_bits: int | None = Field(7, ge=3, le=MOST_BITS)
    """In the end each weight's change is rounded to so many bits, with a step of its row's own, so
    that a version is stored in a fifth of its size; none for no rounding."""
    check_every: int = Field(10, ge=1)
    """Steps between looks at the calibrating half."""
