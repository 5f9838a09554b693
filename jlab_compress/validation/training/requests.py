"""What a caller may ask of a validation, read and refused once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from jlab_compress.validation.training.references import REFERENCES
from jlab_compress.validation.training.steps import Loss, Step, default_step


def choose_step(step: Step | None, loss_fn: Loss | None) -> Step:
    """Return the caller's own training step, or the plain one of a loss.

    Raises
    ------
    TypeError
        If there is neither, or one is not a function.
    """
    if step is None and loss_fn is None:
        raise TypeError("loss_fn: expected a function of (outputs, targets), got None; or give your own step")
    for name, value in (("step", step), ("loss_fn", loss_fn)):
        if value is not None and not callable(value):
            raise TypeError(f"{name}: expected a function, got {type(value).__name__}")
    return step or default_step(loss_fn)  # type: ignore[arg-type]


def check_budget(steps: Any, seconds: Any, seeds: Sequence[int], references: Sequence[str]) -> None:
    """Refuse a budget, seeds or references that mean nothing.

    Raises
    ------
    ValueError
        Naming the argument.
    """
    if steps is not None and (not isinstance(steps, int) or isinstance(steps, bool) or steps < 1):
        raise ValueError(f"steps: expected a whole number of at least 1, got {steps!r}")
    if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds < math.inf):
        raise ValueError(f"seconds: expected a positive number, got {seconds!r}")
    if not seeds or not all(isinstance(seed, int) for seed in seeds) or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds: expected different whole numbers, got {tuple(seeds)!r}")
    unknown = [name for name in references if name not in REFERENCES]
    if unknown:
        raise ValueError(f"references: {unknown[0]!r} is unknown; choose from {', '.join(REFERENCES)}")
