"""How differently a first training step moves the outputs of a slim model and of its original."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from jlab_compress.compression.joint.task import Outcome, Refinement
from jlab_compress.compression.signals.positions import rows_of
from jlab_compress.errors import in_words, raise_lack_of_memory
from jlab_compress.execution.calls import Call
from jlab_compress.execution.isolation import undisturbed
from jlab_compress.execution.outputs import outputs_with_rows
from jlab_compress.fitting.criteria import training_criteria
from jlab_compress.fitting.fit import Fit

UNKNOWN = "Whether the blocks train alike is not known, as the model cannot be differentiated: {}"
EVALUATED = (
    "Blocks that were refined jointly are judged jointly. First step on a synthetic task, held-out rows: {} "
    "(SGD or Adam, the larger). Compare the trainings with validate before you rely on it."
)
STEPS, LOOKS, LENGTH = 2, 8, 1e-4
# Plain gradients, and their signs, which are Adam's first step.
DIRECTIONS: tuple[Callable[[Tensor], Tensor], ...] = (lambda gradient: gradient, torch.sign)
Gradients = dict[str, Tensor]


def evaluate_first_step(task: Refinement, fits: Mapping[str, Fit]) -> Outcome:
    """Judge all fits at once by `first_step_gap`: whether the slim model trains like the original."""
    try:
        gap = first_step_gap(task.original, task.slim, task.fit, task.held or task.fit, seed=task.seed)
    except RuntimeError as error:
        raise_lack_of_memory(error)
        return Outcome(fits, (UNKNOWN.format(in_words(error)),))
    if gap is None:
        return Outcome(fits)
    criteria = training_criteria(training_gap=gap)
    judged = {name: replace(fit, criteria=criteria) for name, fit in fits.items()}
    return Outcome(judged, (EVALUATED.format(", ".join(map(str, criteria))),))


def first_step_gap(
    original: nn.Module, slim: nn.Module, calls: Sequence[Call], held: Sequence[Call], *, seed: int = 0
) -> float | None:
    """Return ||d_slim - d|| / ||d||, d how a small first step on one call moves the outputs of another.

    The synthetic task moves outputs on one side of a random plane one way and those on the other side the
    other way.

    Parameters
    ----------
    original, slim : nn.Module
        Copies; their parameters move and are put back.
    calls, held : sequence of Call
        What steps are taken on, two at most, and what is looked at, up to eight after each step.
    seed : int
        Of the task.

    Returns
    -------
    float or None
        The larger of the gaps for SGD and for Adam: 0 where both models move alike, 1 where the slim one does
        not move. None where no gradient comes through, or parameters are of half precision, in which small
        steps are lost. Cost, for each step and model: one pass with gradients and up to 32 without.
    """
    if any(p.dtype not in (torch.float32, torch.float64) for p in original.parameters()):
        return None
    errors, sizes = [0.0, 0.0], [0.0, 0.0]
    for number, call in enumerate(calls[:STEPS]):
        others = held[number::STEPS][:LOOKS]
        task = _task(original, call, seed + number)
        both = [_gradients(model, call, task) for model in (original, slim)]
        if not all(both):
            return None
        for i, direction in enumerate(DIRECTIONS):
            length = (
                LENGTH
                * _size(dict(original.named_parameters()), both[0])
                / _size(both[0], both[0], direction)
            )
            wanted, found = (
                _displacement(model, others, {name: length * direction(g) for name, g in gradients.items()})
                for model, gradients in zip((original, slim), both, strict=True)
            )
            errors[i] += float((found - wanted).square().sum())
            sizes[i] += float(wanted.square().sum())
    return max((e / s) ** 0.5 if s > 0 else 0.0 for e, s in zip(errors, sizes, strict=True))


def _outputs(model: nn.Module, call: Call) -> list[Tensor]:
    """Return the outputs without padded positions."""
    found = outputs_with_rows(call(model))
    return [rows_of(output, call) if output.dim() == 3 else output for output in found]


def _task(original: nn.Module, call: Call, seed: int) -> list[Tensor]:
    """Return where each output should go: one way on one side of a random plane, the other on the other."""
    generator = torch.Generator().manual_seed(seed)
    shifts = []
    with undisturbed(original):
        for output in _outputs(original, call):
            plane, way = torch.randn(2, output.shape[-1], generator=generator).to(output)
            side = ((output - output.mean(dim=0)) @ plane).sign()
            shifts.append(side[..., None] * way)
    return shifts


def _gradients(model: nn.Module, call: Call, task: list[Tensor]) -> Gradients:
    free = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with undisturbed(model), torch.enable_grad():
        gain = torch.stack([(o * t).sum() for o, t in zip(_outputs(model, call), task, strict=True)]).sum()
        if not gain.requires_grad:
            return {}
        found = torch.autograd.grad(gain, list(free.values()), allow_unused=True)
    return {name: g for name, g in zip(free, found, strict=True) if g is not None}


def _size(
    tensors: Gradients, names: Gradients, direction: Callable[[Tensor], Tensor] = DIRECTIONS[0]
) -> float:
    total = sum(float(direction(tensors[name].detach()).square().sum()) for name in names)
    return math.sqrt(max(total, torch.finfo(torch.float32).tiny))


def _displacement(model: nn.Module, calls: Sequence[Call], steps: Gradients) -> Tensor:
    """Return how the outputs move, all in one row."""
    with undisturbed(model):
        before = [output for call in calls for output in _outputs(model, call)]
        with _stepped(model, steps):
            after = [output for call in calls for output in _outputs(model, call)]
    moved = [(a - b).flatten() for a, b in zip(after, before, strict=True)]
    return torch.cat(moved) if moved else torch.zeros(0)


@contextmanager
def _stepped(model: nn.Module, steps: Gradients) -> Iterator[None]:
    """Let parameters have other values, by the steps; theirs are not written into, and are put back."""
    before = [(p, p.data, steps[name]) for name, p in model.named_parameters() if name in steps]
    try:
        for parameter, value, step in before:
            parameter.data = value + step
        yield
    finally:
        for parameter, value, _ in before:
            parameter.data = value
