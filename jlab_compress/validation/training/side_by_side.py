"""Train several models in lock step on the same batches and record how they drift apart."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from jlab_compress.execution.closeness import function_gap
from jlab_compress.execution.isolation import undisturbed
from jlab_compress.execution.randomness import seed_torch
from jlab_compress.validation.measures.gaps import training_gap
from jlab_compress.validation.training.batches import Batch, draw_order
from jlab_compress.validation.training.steps import (
    Loss,
    OptimizerFactory,
    Step,
    answer,
    make_optimizer,
    read_number,
    scores_of,
)

Metric = Callable[[Any, Any], float]
ORIGINAL = "original"


@dataclass(frozen=True)
class Curve:
    """What one model's training looked like.

    Parameters
    ----------
    losses : tuple of float
        The training loss of every step, taken before the update.
    recorded : tuple of int
        The numbers of steps after which held-out values were taken; the first is 0.
    held_out_losses, metrics : tuple of float
        One value per recorded step; empty without a loss function or a metric.
    function_gaps, training_gaps, movements : tuple of float
        One value per recorded step; gaps are to the original model of the same run, the movement
        is ||f_t - f_0|| / ||f_0||.
    diverged_at : int or None
        The first step with a loss that is not finite; this model's training stopped there.
    """

    losses: tuple[float, ...]
    recorded: tuple[int, ...]
    held_out_losses: tuple[float, ...]
    metrics: tuple[float, ...]
    function_gaps: tuple[float, ...]
    training_gaps: tuple[float, ...]
    movements: tuple[float, ...]
    diverged_at: int | None = None

    @property
    def late_gap(self) -> float:
        """The median training gap over the later half of the steps; infinite where the model diverged.

        Examples
        --------
        >>> Curve((), (0, 1, 2, 3, 4), (), (), (), (0.0, 9.0, 0.1, 0.3, 0.2), ()).late_gap
        0.2
        """
        if self.diverged_at is not None:
            return math.inf
        half = self.recorded[-1] / 2
        return median(g for t, g in zip(self.recorded, self.training_gaps, strict=True) if t and t >= half)


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
    """

    batches: tuple[Batch, ...]
    held_out: tuple[Batch, ...]
    step: Step
    optimizer: OptimizerFactory
    loss_fn: Loss | None = None
    metric: Metric | None = None
    source: str = "loss_fn"


@dataclass
class _Runner:
    """One model on its way; mutable, and never handed out."""

    name: str
    model: nn.Module
    optimizer: Optimizer
    order: Iterator[int]
    start: Tensor | None = None
    diverged_at: int | None = None
    losses: list[float] = field(default_factory=list)
    held_out: list[dict[str, float]] = field(default_factory=list)


def train_side_by_side(
    models: Mapping[str, nn.Module],
    contest: Contest,
    *,
    seed: int,
    reordered: Set[str] = frozenset(),
    steps: int | None = None,
    seconds: float | None = None,
    tick: Callable[[], object] = lambda: None,
) -> dict[str, Curve]:
    """Train the models in place, every step on all of them, and return one curve per name.

    Parameters
    ----------
    models : mapping of str to nn.Module
        Copies that may be changed; one is called "original" and the gaps of the others refer to it.
    contest : Contest
        Batches, step and judges.
    seed : int
        Draws the batch order; step t starts with the same random state for every model.
    reordered : set of str
        The models that get another draw of the order.
    steps, seconds : int, float or None
        The budget; what runs out first ends it, after at least one step.
    tick : callable
        Called after each step of all models.

    Raises
    ------
    TypeError, ValueError
        If an optimizer does not own its parameters, a loss is not one number, or it is not finite
        (after the first step this stops the original only; another model counts as diverged).
    """
    runners = [
        _Runner(
            name,
            model,
            make_optimizer(contest.optimizer, model),
            draw_order(len(contest.batches), 2 * seed + (name in reordered)),
        )
        for name, model in models.items()
    ]
    recorded, began = [0], time.monotonic()
    _record(runners, contest)
    for done in _budget(steps, seconds, began):
        for runner in runners:
            seed_torch(seed * 1_000_003 + done)
            _advance(runner, contest)
        if done % max(1, done // 10) == 0:
            recorded.append(done)
            _record(runners, contest)
        tick()
    if recorded[-1] != done:
        recorded.append(done)
        _record(runners, contest)
    return {runner.name: _curve(runner, tuple(recorded)) for runner in runners}


def _budget(steps: int | None, seconds: float | None, began: float) -> Iterator[int]:
    done = 1
    yield done
    while done != steps and (seconds is None or time.monotonic() - began < seconds):
        done += 1
        yield done


def _advance(runner: _Runner, contest: Contest) -> None:
    batch = contest.batches[next(runner.order)]
    if runner.diverged_at is not None:
        runner.losses.append(math.nan)
        return
    step = len(runner.losses)
    loss = read_number(contest.step(runner.model, batch, runner.optimizer), contest.source)
    runner.losses.append(loss)
    if not math.isfinite(loss):
        if runner.name == ORIGINAL or step == 0:
            raise ValueError(
                f"{contest.source}: expected a finite number, got {loss} for the model {runner.name!r} "
                f"at step {step}; check the data, or lower the learning rate"
            )
        runner.diverged_at = step


def _record(runners: list[_Runner], contest: Contest) -> None:
    original = next(runner for runner in runners if runner.name == ORIGINAL)
    reference: Tensor | None = None
    for runner in sorted(runners, key=lambda r: r is not original):
        outputs, judged = _judge(runner.model, contest)
        runner.start = outputs if runner.start is None else runner.start
        reference = outputs if reference is None else reference
        assert original.start is not None
        judged["function_gaps"] = function_gap(reference, outputs)
        judged["training_gaps"] = training_gap(reference, original.start, outputs, runner.start)
        judged["movements"] = function_gap(runner.start, outputs)
        runner.held_out.append(judged)


def _judge(model: nn.Module, contest: Contest) -> tuple[Tensor, dict[str, float]]:
    """Return the flat held-out outputs (float64, on the CPU) and the loss and metric over all rows."""
    given = (("held_out_losses", "loss_fn", contest.loss_fn), ("metrics", "metric", contest.metric))
    judges = [(name, word, judge) for name, word, judge in given if judge is not None]
    flat, rows = [], 0
    sums = {name: 0.0 for name, _, _ in judges}
    with undisturbed(model):
        for batch in contest.held_out:
            outputs, targets = answer(model, batch)
            flat += [t.double().flatten().cpu() for t in scores_of(outputs)]
            share = len(targets) if isinstance(targets, Tensor) and targets.ndim else 1
            rows += share
            for name, word, judge in judges:
                sums[name] += share * read_number(judge(outputs, targets), word)
    return torch.cat(flat), {name: total / rows for name, total in sums.items()}


def _curve(runner: _Runner, recorded: tuple[int, ...]) -> Curve:
    names = ("held_out_losses", "metrics", "function_gaps", "training_gaps", "movements")
    taken = {name: tuple(r[name] for r in runner.held_out if name in r) for name in names}
    return Curve(tuple(runner.losses), recorded, **taken, diverged_at=runner.diverged_at)
