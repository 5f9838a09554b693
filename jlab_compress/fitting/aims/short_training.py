"""Short trainings on synthetic targets, to see which slim layer trains like the wide one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jlab_compress.fitting.held_out import Split, relative_error
from jlab_compress.fitting.kernels.actions import kernel_actions
from jlab_compress.fitting.kernels.probes import smooth_values
from jlab_compress.fitting.layer import Layer

TRAINING_STEPS = 50
TRAINING_ROWS = 256
STABLE_SHARE = 0.5
ADAM_SHARE = 0.02


@dataclass(frozen=True)
class ShortTraining:
    """What layers are trained on: rows, synthetic targets for them, and rates that suit the wide layer.

    Parameters
    ----------
    inputs, targets : Tensor (B, n_in), (B, n_out)
        Full batch and its synthetic targets.
    held : Tensor (q_held, n_in)
        Rows on which outputs are compared afterwards.
    rates : dict of str to float
        Of "sgd" and of "adam", on the mean squared error of a row.
    """

    inputs: Tensor
    targets: Tensor
    held: Tensor
    rates: dict[str, float]


def short_training(
    layer: Layer, inputs: Tensor, split: Split, *, displacement: float, seed: int = 0
) -> ShortTraining:
    """Return a smooth new task around the layer's outputs, and stable rates for it.

    The targets are the outputs plus a random two-layer function of the inputs, as large as the
    outputs themselves or as the expected `displacement`. Gradient descent runs at a quarter of the rate at
    which the largest mode of the tangent kernel would diverge; Adam moves a parameter by at most the
    rms of its matrix in all.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = split.fit[torch.randperm(len(split.fit), generator=generator)[:TRAINING_ROWS]]
    x, outputs = inputs[rows], layer(inputs[rows])
    shift = smooth_values(x, outputs.shape[1], generator)
    size = max(float(outputs.square().mean().sqrt()), displacement)
    targets = outputs + shift * (size / shift.square().mean().sqrt().clamp_min(1e-12))
    weights = torch.cat([w.flatten() for w in layer.incoming])
    rates = {
        "sgd": STABLE_SHARE / largest_eigenvalue(layer, x, seed),
        "adam": ADAM_SHARE * float(weights.square().mean().sqrt()),
    }
    return ShortTraining(x, targets, inputs[split.held], rates)


def largest_eigenvalue(layer: Layer, inputs: Tensor, seed: int, iterations: int = 12) -> float:
    """Return the largest eigenvalue of the tangent kernel over the number of rows, by power iteration."""
    shape = (1, len(inputs), layer.outgoing.shape[1])
    probe = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(inputs)
    value = 1.0
    for _ in range(iterations):
        outgoing_part, incoming_part = kernel_actions(layer, inputs, probe / probe.norm())
        probe = (outgoing_part + incoming_part) / len(inputs)
        value = max(float(probe.norm()), 1e-30)
    return value


def train_on(layer: Layer, task: ShortTraining, method: str, steps: int = TRAINING_STEPS) -> Layer:
    """Train by "sgd" or "adam", every neuron's gradient divided by its multiplicity."""
    incoming = [w.clone().requires_grad_() for w in layer.incoming]
    biases = [None if b is None else b.clone().requires_grad_() for b in layer.biases]
    outgoing, c = layer.outgoing.clone().requires_grad_(), layer.multiplicities
    free = [*incoming, *(b for b in biases if b is not None), outgoing]
    now = replace(layer, incoming=tuple(incoming), biases=tuple(biases), outgoing=outgoing)
    kind = torch.optim.SGD if method == "sgd" else torch.optim.Adam
    optimizer = kind(free, lr=task.rates[method])
    for _ in range(steps):
        with torch.enable_grad():
            loss = 0.5 * (now(task.inputs) - task.targets).square().sum() / len(task.inputs)
            gradients = torch.autograd.grad(loss, free)
        for tensor, gradient in zip(free, gradients, strict=True):
            tensor.grad = gradient / c.reshape(-1, *[1] * (gradient.ndim - 1))
        optimizer.step()
    return replace(
        now,
        incoming=tuple(w.detach() for w in incoming),
        biases=tuple(None if b is None else b.detach() for b in biases),
        outgoing=outgoing.detach(),
    )


@dataclass(frozen=True)
class TrainingGaps:
    """How a slim layer's short training differs from the wide one's on held-out rows.

    Parameters
    ----------
    output_gap : float
        ||f_slim,T - f_T|| / ||f_T|| after training, mean over gradient descent and Adam.
    training_gap : float
        ||(f_slim,T - f_slim,0) - (f_T - f_0)|| / ||f_T - f_0||, likewise.
    """

    output_gap: float
    training_gap: float


def compare_trainings(layer: Layer, slim: list[Layer], task: ShortTraining) -> list[TrainingGaps]:
    """Train the wide layer and every slim one on the task, and return how far each ends from it."""
    x = task.held
    before = layer(x)
    totals = [[0.0, 0.0] for _ in slim]
    for method in task.rates:
        after = train_on(layer, task, method)(x)
        for total, candidate in zip(totals, slim, strict=True):
            trained = train_on(candidate, task, method)(x)
            total[0] += relative_error(trained, after) / len(task.rates)
            total[1] += relative_error(trained - candidate(x), after - before) / len(task.rates)
    return [TrainingGaps(*total) for total in totals]
