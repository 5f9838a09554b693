"""What all models of a validation share: data, step, optimizer and judges, read and tried out once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from jlab_compress.validation.training.batches import Batch, materialise, materialise_held_out
from jlab_compress.validation.training.steps import (
    Loss,
    OptimizerFactory,
    Step,
    check_batches,
    check_judge,
    choose_step,
    make_optimizer,
)

Metric = Callable[[Any, Any], float]


@dataclass(frozen=True)
class Contest:
    """What all models of a run share.

    Parameters
    ----------
    batches, held_out : tuple of (inputs, targets)
        Materialised data.
    step : callable
        ``step(model, batch, optimizer) -> loss``, one training step.
    optimizer : callable
        ``optimizer(parameters) -> torch.optim.Optimizer``.
    loss_fn, metric : callable or None
        Functions of (outputs, targets) that judge held-out outputs.
    source : str
        The caller's argument that gives the loss, for errors.
    optimizer_name : str
        The class of what `optimizer` makes.
    """

    batches: tuple[Batch, ...]
    held_out: tuple[Batch, ...]
    step: Step
    optimizer: OptimizerFactory
    loss_fn: Loss | None = None
    metric: Metric | None = None
    source: str = "loss_fn"
    optimizer_name: str = "unknown"


def read_contest(
    probe: nn.Module,
    batches: Iterable[Any],
    held_out: Any,
    *,
    limit: int | None,
    loss_fn: Loss | None,
    optimizer: OptimizerFactory,
    metric: Metric | None,
    step: Step | None,
) -> Contest:
    """Read what a caller gave, and try it on a copy of a model so that an error names the argument.

    Parameters
    ----------
    probe : nn.Module
        A copy that may be changed.
    batches, held_out, loss_fn, optimizer, metric, step
        As in `validate`.
    limit : int or None
        The number of batches to read.

    Raises
    ------
    TypeError, ValueError
        Naming the argument that cannot be used.
    """
    name = type(make_optimizer(optimizer, probe)).__name__
    pool = materialise(batches, limit)
    judged = pool[:8] if held_out is None else materialise_held_out(held_out)
    check_batches(probe, pool, "batches")
    check_batches(probe, judged, "held_out")
    source, chosen = "step" if step else "loss_fn", choose_step(step, loss_fn)
    for judge, argument, seen in ((loss_fn, "loss_fn", pool + judged), (metric, "metric", judged)):
        if judge is not None:
            check_judge(probe, seen, judge, argument)
    return Contest(pool, judged, chosen, optimizer, loss_fn, metric, source, name)


@dataclass(frozen=True)
class Budget:
    """How long each model trains, and how often.

    Parameters
    ----------
    steps : int or None
        Per model and seed.
    seconds : float or None
        For everything that is trained.
    seeds : tuple of int
        One run each.
    """

    steps: int | None
    seconds: float | None
    seeds: tuple[int, ...]

    @classmethod
    def read(cls, steps: Any, seconds: Any, seeds: Sequence[int]) -> Budget:
        """Return a budget, if it means something.

        Raises
        ------
        ValueError
            Naming the argument that does not.
        """
        if steps is not None and (not isinstance(steps, int) or isinstance(steps, bool) or steps < 1):
            raise ValueError(f"steps: expected a whole number of at least 1, got {steps!r}")
        if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds < math.inf):
            raise ValueError(f"seconds: expected a positive number, got {seconds!r}")
        if not seeds or not all(isinstance(seed, int) for seed in seeds) or len(set(seeds)) != len(seeds):
            raise ValueError(f"seeds: expected different whole numbers, got {tuple(seeds)!r}")
        return cls(steps, seconds, tuple(seeds))
