"""Short trainings of layers side by side on made-up targets, to see which slim layer follows the wide one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jlab_compress.fitting.kernel import kernel_actions
from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.rows import Split, relative_error

STEPS = 50
ROWS = 256
RATE = 0.5


@dataclass(frozen=True)
class Course:
    """What all layers are trained on: rows, made-up targets for them, and a rate that suits the wide layer.

    Parameters
    ----------
    inputs, targets : Tensor (B, n_in), (B, n_out)
        Full batch and its made-up targets.
    held : Tensor (q_held, n_in)
        Rows on which the movement is compared.
    rate : float
        Of gradient descent on the mean squared error of a row.
    """

    inputs: Tensor
    targets: Tensor
    held: Tensor
    rate: float


def make_course(
    layer: Layer, inputs: Tensor, split: Split, *, movement: float | None, seed: int = 0
) -> Course:
    """Make a smooth new task around the layer's outputs, and find a stable rate for it.

    The targets are the outputs plus a random two-layer function of the inputs, as large as the
    outputs themselves or as the expected `movement`.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = split.fit[torch.randperm(len(split.fit), generator=generator)[:ROWS]]
    x, outputs = inputs[rows], layer(inputs[rows])
    spread = (x - x.mean(dim=0)).square().sum(dim=1).mean().sqrt().clamp_min(1e-12)
    first = torch.randn(x.shape[1], 64, generator=generator).to(x) * (2.0 / spread)
    second = torch.randn(64, outputs.shape[1], generator=generator).to(x)
    shift = torch.tanh((x - x.mean(dim=0)) @ first) @ second
    size = outputs.square().mean().sqrt() if movement is None else movement
    targets = outputs + shift * (size / shift.square().mean().sqrt().clamp_min(1e-12))
    return Course(x, targets, inputs[split.held], RATE / largest_eigenvalue(layer, x, seed))


def largest_eigenvalue(layer: Layer, inputs: Tensor, seed: int, iterations: int = 12) -> float:
    """Return the largest eigenvalue of the tangent kernel over the number of rows, by power iteration."""
    shape = (1, len(inputs), layer.outgoing.shape[1])
    probe = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(inputs)
    value = 1.0
    for _ in range(iterations):
        probe = probe / probe.norm()
        _, outgoing_part, incoming_part = kernel_actions(layer, inputs, probe)
        probe = (outgoing_part + incoming_part) / len(inputs)
        value = float(probe.norm())
    return max(value, 1e-30)


def train_on(layer: Layer, course: Course, steps: int = STEPS) -> Layer:
    """Train by gradient descent, every neuron's gradient divided by its multiplicity."""
    incoming = [w.clone() for w in layer.incoming]
    biases = [None if b is None else b.clone() for b in layer.biases]
    outgoing, c = layer.outgoing.clone(), layer.multiplicities
    for _ in range(steps):
        free = [*incoming, *(b for b in biases if b is not None), outgoing]
        for tensor in free:
            tensor.requires_grad_()
        now = Layer(tuple(incoming), tuple(biases), outgoing, layer.outgoing_bias, c, layer.activation)
        with torch.enable_grad():
            loss = 0.5 * (now(course.inputs) - course.targets).square().sum() / len(course.inputs)
            gradients = torch.autograd.grad(loss, free)
        for tensor, gradient in zip(free, gradients, strict=True):
            tensor.detach_()
            tensor -= course.rate * gradient / c.reshape(-1, *[1] * (gradient.ndim - 1))
    return Layer(tuple(incoming), tuple(biases), outgoing, layer.outgoing_bias, c, layer.activation)


@dataclass(frozen=True)
class Outcome:
    """How a slim layer's training differs from the wide one's on held-out rows.

    Parameters
    ----------
    output_gap : float
        ||f_slim,T - f_T|| / ||f_T|| after training.
    training_gap : float
        ||(f_slim,T - f_slim,0) - (f_T - f_0)|| / ||f_T - f_0||.
    """

    output_gap: float
    training_gap: float


def compare(before: Layer, after: Layer, slim: Layer, course: Course) -> Outcome:
    """Train `slim` on the course and compare it with the wide layer `before` and `after` the same course."""
    trained = train_on(slim, course)
    x = course.held
    final, mine = after(x), trained(x)
    return Outcome(relative_error(mine, final), relative_error(mine - slim(x), final - before(x)))
