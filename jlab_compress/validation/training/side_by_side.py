"""Train several models in lock step on the same batches and record how they drift apart."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from jlab_compress.execution.calls import owned
from jlab_compress.execution.isolation import undisturbed
from jlab_compress.execution.outputs import scores_of
from jlab_compress.execution.randomness import seed_torch
from jlab_compress.surroundings import as_called
from jlab_compress.validation.measures.curve import MEASURES, Checkpoint, Curve
from jlab_compress.validation.roles import ORIGINAL, REORDERED
from jlab_compress.validation.training.batches import draw_order
from jlab_compress.validation.training.contest import Contest
from jlab_compress.validation.training.steps import answer, make_optimizer, read_number


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
    values: dict[str, list[float]] = field(default_factory=dict)


def train_side_by_side(
    models: Mapping[str, nn.Module],
    contest: Contest,
    *,
    seed: int,
    steps: int | None = None,
    seconds: float | None = None,
    tick: Callable[[], object] = lambda: None,
) -> dict[str, Curve]:
    """Train the models in place, every step on all of them, and return one curve per name.

    Parameters
    ----------
    models : mapping of str to nn.Module
        Copies that may be changed, by role; gaps refer to the original, and the one under another batch order
        gets another draw of the order.
    contest : Contest
        Batches, step and judges.
    seed : int
        Draws the batch order; step t starts with the same random state for every model.
    steps, seconds : int, float or None
        The budget; what runs out first ends it, after at least one step.
    tick : callable
        Called after each step of all models.

    Raises
    ------
    TypeError, ValueError
        If an optimizer does not own its parameters, a loss is not one number, or it is not finite
        (after the first step this stops the original only; another model counts as diverged); or if what the
        original gives on held-out data is not finite.
    """
    runners = [
        _Runner(
            name,
            model,
            make_optimizer(contest.optimizer, model),
            draw_order(len(contest.batches), 2 * seed + (name == REORDERED)),
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
    batch = owned(contest.batches[next(runner.order)])
    if runner.diverged_at is not None:
        runner.losses.append(math.nan)
        return
    step = len(runner.losses)
    with as_called():
        found = contest.step(runner.model, batch, runner.optimizer)
    loss = read_number(found, contest.source)
    runner.losses.append(loss)
    if not math.isfinite(loss):
        if runner.name == ORIGINAL or step == 0:
            raise ValueError(
                f"{contest.source}: expected a finite number, got {loss} for the model {runner.name!r} "
                f"at step {step}; check the data, or lower the learning rate"
            )
        runner.diverged_at = step


def _record(runners: list[_Runner], contest: Contest) -> None:
    """Take every measure of every model, the original first, as it is now."""
    original = next(runner for runner in runners if runner.name == ORIGINAL)
    reference: Tensor | None = None
    for runner in sorted(runners, key=lambda r: r is not original):
        outputs, loss, metric = _judge(runner.model, contest)
        if runner is original:
            _check_finite({"held_out": outputs, "loss_fn": loss, "metric": metric}, len(runner.losses))
        runner.start = outputs if runner.start is None else runner.start
        reference = outputs if reference is None else reference
        assert original.start is not None
        at = Checkpoint(outputs, runner.start, reference, original.start, runner.losses, loss, metric)
        for measure in MEASURES:
            value = measure.value(at)
            if value is not None:
                runner.values.setdefault(measure.name, []).append(value)


def _check_finite(judged: Mapping[str, Tensor | float | None], step: int) -> None:
    """Refuse what no model can be held against, naming the argument that it comes from."""
    for argument, value in judged.items():
        if value is not None and not bool(torch.isfinite(torch.as_tensor(value)).all()):
            raise ValueError(
                f"{argument}: expected finite values on held-out data, got NaN or infinity for the model "
                f"{ORIGINAL!r} after {step} steps; check the data, or lower the learning rate"
            )


def _judge(model: nn.Module, contest: Contest) -> tuple[Tensor, float | None, float | None]:
    """Return the flat held-out outputs (float64, on the CPU), and the loss and metric over all rows."""
    judges = {"loss_fn": contest.loss_fn, "metric": contest.metric}
    given = {word: judge for word, judge in judges.items() if judge is not None}
    flat, rows = [], 0
    sums = dict.fromkeys(given, 0.0)
    with undisturbed(model):
        for batch in contest.held_out:
            outputs, targets = answer(model, batch)
            flat += [t.double().flatten().cpu() for t in scores_of(outputs)]
            share = len(targets) if isinstance(targets, Tensor) and targets.ndim else 1
            rows += share
            for word, judge in given.items():
                with as_called():
                    found = judge(outputs, targets)
                sums[word] += share * read_number(found, word)
    loss, metric = (sums[word] / rows if word in given else None for word in judges)
    return torch.cat(flat), loss, metric


def _curve(runner: _Runner, recorded: tuple[int, ...]) -> Curve:
    values = {name: tuple(taken) for name, taken in runner.values.items()}
    return Curve(tuple(runner.losses), recorded, values, runner.diverged_at)
