"""The digits task of the benchmarks: a wide ReLU net, and training of weighted layers in tensor form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import cross_entropy

from jlab_compress.fitting.layer import Layer

CALIBRATION_ROWS = 1200


@dataclass(frozen=True)
class Digits:
    """Calibration rows (1200, 64) with labels, and test rows (597, 64) with labels."""

    inputs: Tensor
    labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor


def digits(seed: int = 0) -> Digits:
    values, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))
    x, y = torch.tensor(values, dtype=torch.float32)[order] / 16, torch.tensor(labels)[order]
    q = CALIBRATION_ROWS
    return Digits(x[:q], y[:q], x[q:], y[q:])


def fresh_layer(seed: int, width: int = 1024) -> Layer:
    """Draw a 64-width-10 ReLU net as torch.nn.Linear draws it."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int, fan: int) -> Tensor:
        return (2 * torch.rand(*shape, generator=generator) - 1) / fan**0.5

    return Layer(
        (uniform(width, 64, fan=64),),
        (uniform(width, fan=64),),
        uniform(width, 10, fan=width),
        uniform(10, fan=width),
        torch.ones(width),
        torch.relu,
    )


Snapshot = Callable[[Layer], None]


def train(
    layer: Layer,
    inputs: Tensor,
    labels: Tensor,
    *,
    optimizer: Callable[[list[Tensor]], torch.optim.Optimizer],
    steps: int,
    seed: int,
    batch: int = 64,
) -> Layer:
    """Train a weighted layer: cross-entropy, the gradient of neuron j divided by its multiplicity."""
    w, b, v = (p.clone().requires_grad_() for p in (layer.incoming[0], layer.biases[0], layer.outgoing))
    a = layer.outgoing_bias.clone().requires_grad_()
    c = layer.multiplicities
    opt = optimizer([w, b, v, a])
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(inputs), (batch,), generator=generator)
        out = (layer.activation(inputs[rows] @ w.T + b) * c) @ v + a
        opt.zero_grad()
        cross_entropy(out, labels[rows]).backward()
        w.grad /= c[:, None]
        b.grad /= c
        v.grad /= c[:, None]
        opt.step()
    return Layer((w.detach(),), (b.detach(),), v.detach(), a.detach(), c, layer.activation)


def trained_layer(seed: int, task: Digits) -> Layer:
    return train(
        fresh_layer(seed),
        task.inputs,
        task.labels,
        optimizer=lambda p: torch.optim.Adam(p, 1e-3),
        steps=1900,
        seed=seed,
    )


def accuracy(layer: Layer, inputs: Tensor, labels: Tensor) -> float:
    return (layer(inputs).argmax(dim=1) == labels).float().mean().item()
