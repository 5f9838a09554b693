"""How much work fits and joint refinement take: one frozen value instead of constants all over the code."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

EffortName = Literal["quick", "normal", "thorough"]
OnStep = Callable[[int, int], None]


@dataclass(frozen=True)
class Effort:
    """Budgets of every stage that moves weights; none of them depends on the clock.

    `compress` at "quick" costs a quarter to a half of "normal", "thorough" two to three times as much;
    `benchmarks/passes.md` has the cost of each aim in forward passes over the calibration.

    Parameters
    ----------
    node_steps : int
        Adam steps in which the neurons of one layer move for `preserve="dynamics"`, for each start.
    node_batches : int
        Minibatches of calibration rows for which the wide layer's outputs and kernel actions are stored.
    projection_evaluations : int
        Most evaluations of the loss in variable projection, which moves the neurons of small layers for
        `preserve="function"`.
    projection_flops : float
        Most floating-point operations of one variable projection; layers for which fewer than 20 evaluations
        are affordable are moved by Adam instead.
    output_steps : int
        Adam steps of large layers, and of those that are followed by a norm, for `preserve="function"`.
    mixed_rows : int
        Synthetic rows between calibration rows that variable projection fits too.
    trial_steps, trial_batches : int
        Adam steps and minibatches of the trial fit by which `sweep` sets the level of its forecasts.
    state_passes, state_steps : int
        Joint distillation where only hidden states or outputs are matched: passes over the batches, and the
        most steps in all.
    gradient_passes, gradient_steps : int
        The same where back-propagated gradients are matched too.
    kernel_steps : int
        The most steps, in `gradient_passes`, where the tangent kernels of blocks are matched too.
    image_passes, image_steps : int
        The same for channels of convolutions without gradients, whose steps are cheap.
    matching_steps : int
        Joint NTK matching: steps where the layers have few weights.
    matching_batches : int
        Joint NTK matching of images and tokens: batches for which the original model's answer is stored.

    Raises
    ------
    TypeError
        If a budget is no whole number, or `projection_flops` no number.
    ValueError
        If one is not positive, or not finite.

    Examples
    --------
    >>> Effort(node_steps=50).trial_steps
    500
    """

    node_steps: int = 1000
    node_batches: int = 100
    projection_evaluations: int = 150
    projection_flops: float = 1e11
    output_steps: int = 400
    mixed_rows: int = 3000
    trial_steps: int = 500
    trial_batches: int = 25
    state_passes: int = 10
    state_steps: int = 200
    gradient_passes: int = 25
    gradient_steps: int = 700
    kernel_steps: int = 1000
    image_passes: int = 60
    image_steps: int = 2000
    matching_steps: int = 800
    matching_batches: int = 64

    def __post_init__(self) -> None:
        for field in fields(self):
            value, known = getattr(self, field.name), getattr(type(self), field.name)
            if isinstance(value, bool) or not isinstance(value, int | type(known)):
                kind = "number" if isinstance(known, float) else "whole number"
                raise TypeError(f"Effort: {field.name} must be a {kind} such as {known}; got {value!r}")
            if not 0 < value < math.inf:
                raise ValueError(f"Effort: {field.name} must be positive and finite; got {value}")


NORMAL = Effort()
QUICK = Effort(
    node_steps=250,
    node_batches=50,
    projection_evaluations=40,
    projection_flops=2.5e10,
    output_steps=100,
    mixed_rows=1000,
    trial_steps=150,
    trial_batches=25,
    state_passes=4,
    state_steps=60,
    gradient_passes=8,
    gradient_steps=175,
    kernel_steps=250,
    image_passes=15,
    image_steps=500,
    matching_steps=200,
    matching_batches=32,
)
THOROUGH = Effort(
    node_steps=3000,
    node_batches=200,
    projection_evaluations=450,
    projection_flops=3e11,
    output_steps=1200,
    mixed_rows=3000,
    trial_steps=500,
    trial_batches=25,
    state_passes=30,
    state_steps=600,
    gradient_passes=75,
    gradient_steps=2100,
    kernel_steps=3000,
    image_passes=180,
    image_steps=6000,
    matching_steps=2400,
    matching_batches=128,
)

EFFORTS: dict[EffortName, Effort] = {"quick": QUICK, "normal": NORMAL, "thorough": THOROUGH}


def read_effort(effort: EffortName | Effort) -> Effort:
    """Return the budgets that a caller's `effort` names, or the `Effort` itself.

    Raises
    ------
    ValueError
        If it is neither one of the three names nor an `Effort`.

    Examples
    --------
    >>> read_effort("quick").node_steps
    250
    """
    if isinstance(effort, Effort):
        return effort
    for name, budgets in EFFORTS.items():
        if effort == name:
            return budgets
    raise ValueError(f'effort: expected "quick", "normal", "thorough" or an Effort, got {effort!r}')


def step_counter(progress: OnStep | None, total: int) -> Callable[[], None]:
    """Return a callable that reports one more step of `total` each time it is called."""
    done = 0

    def count() -> None:
        nonlocal done
        done = min(done + 1, total)
        if progress is not None:
            progress(done, total)

    return count
