"""Short trainings of layers side by side on made-up targets, to see which slim layer follows the wide one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jlab_compress.fitting.kernels.actions import kernel_actions
from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.moving.nodes import smooth_values
from jlab_compress.fitting.row_split import Split, relative_error

STEPS = 50
ROWS = 256
STABLE_SHARE = 0.5
ADAM_SHARE = 0.02
OPTIMIZERS = ("sgd", "adam")


@dataclass(frozen=True)
class Course:
    """What all layers are trained on: rows, made-up targets for them, and rates that suit the wide layer.

    Parameters
    ----------
    inputs, targets : Tensor (B, n_in), (B, n_out)
        Full batch and its made-up targets.
    held : Tensor (q_held, n_in)
        Rows on which the movement is compared.
    rates : dict of str to float
        Of gradient descent and of Adam, on the mean squared error of a row.
    """

    inputs: Tensor
    targets: Tensor
    held: Tensor
    rates: dict[str, float]


def make_course(layer: Layer, inputs: Tensor, split: Split, *, movement: float, seed: int = 0) -> Course:
    """Make a smooth new task around the layer's outputs, and find stable rates for it.

    The targets are the outputs plus a random two-layer function of the inputs, as large as the
    outputs themselves or as the expected `movement`. Gradient descent runs at a quarter of the rate at
    which the largest mode of the tangent kernel would diverge; Adam moves a parameter by at most the
    rms of its matrix in all.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = split.fit[torch.randperm(len(split.fit), generator=generator)[:ROWS]]
    x, outputs = inputs[rows], layer(inputs[rows])
    shift = smooth_values(x, outputs.shape[1], generator)
    size = max(float(outputs.square().mean().sqrt()), movement)
    targets = outputs + shift * (size / shift.square().mean().sqrt().clamp_min(1e-12))
    weights = torch.cat([w.flatten() for w in layer.incoming])
    rates = {
        "sgd": STABLE_SHARE / largest_eigenvalue(layer, x, seed),
        "adam": ADAM_SHARE * float(weights.square().mean().sqrt()),
    }
    return Course(x, targets, inputs[split.held], rates)


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


def train_on(layer: Layer, course: Course, method: str, steps: int = STEPS) -> Layer:
    """Train on the course by "sgd" or "adam", every neuron's gradient divided by its multiplicity."""
    incoming = [w.clone().requires_grad_() for w in layer.incoming]
    biases = [None if b is None else b.clone().requires_grad_() for b in layer.biases]
    outgoing, c = layer.outgoing.clone().requires_grad_(), layer.multiplicities
    free = [*incoming, *(b for b in biases if b is not None), outgoing]
    now = Layer(tuple(incoming), tuple(biases), outgoing, layer.outgoing_bias, c, layer.activation)
    kind = torch.optim.SGD if method == "sgd" else torch.optim.Adam
    optimizer = kind(free, lr=course.rates[method])
    for _ in range(steps):
        with torch.enable_grad():
            loss = 0.5 * (now(course.inputs) - course.targets).square().sum() / len(course.inputs)
            gradients = torch.autograd.grad(loss, free)
        for tensor, gradient in zip(free, gradients, strict=True):
            tensor.grad = gradient / c.reshape(-1, *[1] * (gradient.ndim - 1))
        optimizer.step()
    done = [w.detach() for w in incoming]
    done_biases = [None if b is None else b.detach() for b in biases]
    return Layer(tuple(done), tuple(done_biases), outgoing.detach(), layer.outgoing_bias, c, layer.activation)


@dataclass(frozen=True)
class Outcome:
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


def compare(layer: Layer, slim: list[Layer], course: Course) -> list[Outcome]:
    """Train the wide layer and every slim one on the course, and return how far each ends from it."""
    x = course.held
    before = layer(x)
    totals = [[0.0, 0.0] for _ in slim]
    for method in OPTIMIZERS:
        after = train_on(layer, course, method)(x)
        for total, candidate in zip(totals, slim, strict=True):
            trained = train_on(candidate, course, method)(x)
            total[0] += relative_error(trained, after) / len(OPTIMIZERS)
            total[1] += relative_error(trained - candidate(x), after - before) / len(OPTIMIZERS)
    return [Outcome(*total) for total in totals]
