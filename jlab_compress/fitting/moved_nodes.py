"""Nodes that move until outputs and tangent kernel agree with those of the wide layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from jlab_compress.fitting.kernel import kernel_actions
from jlab_compress.fitting.layer import Layer

STEPS = 1500
RATE = 0.05
MINIBATCHES = 100
ROWS = 150
PROBES = 2


@dataclass(frozen=True)
class Answers:
    """What the wide layer answers on one minibatch: outputs and the kernel's action on probes.

    Parameters
    ----------
    inputs : Tensor (B, n_in)
        Calibration rows.
    residuals : Tensor (P, B, n_out)
        White probes R.
    parts : tuple of Tensor
        f without bias (B, n_out), K_v R and K_w R (P, B, n_out).
    """

    inputs: Tensor
    residuals: Tensor
    parts: tuple[Tensor, Tensor, Tensor]


def ask(layer: Layer, inputs: Tensor, *, seed: int = 0, minibatches: int = MINIBATCHES) -> list[Answers]:
    """Ask the wide layer once for its answers on random minibatches and white probes.

    Parameters
    ----------
    layer : Layer
        n neurons.
    inputs : Tensor (q, n_in)
        Rows to draw from.
    seed : int
        Seed of a private generator.
    minibatches : int
        How many to draw.

    Returns
    -------
    list of Answers
        Cost O(minibatches P B n (n_in + n_out)); nothing later touches the wide layer.
    """
    generator = torch.Generator().manual_seed(seed)
    answers = []
    for _ in range(minibatches):
        rows = torch.randperm(len(inputs), generator=generator)[:ROWS]
        shape = (PROBES, len(rows), layer.outgoing.shape[1])
        residuals = torch.randn(shape, generator=generator).to(inputs)
        answers.append(Answers(inputs[rows], residuals, kernel_actions(layer, inputs[rows], residuals)))
    return answers


def normalisers(answers: list[Answers], movement: float | None) -> tuple[Tensor, ...]:
    """Return what each part's squared error is divided by: mean f^2 + A^2, mean (K_v R)^2, mean (K_w R)^2.

    `movement` is A, how far the outputs are expected to move in training; the outputs' own rms where None.
    """
    tiny = torch.finfo(answers[0].inputs.dtype).tiny
    means = [torch.stack([a.parts[i].square().mean() for a in answers]).mean() for i in range(3)]
    means[0] = 2 * means[0] if movement is None else means[0] + movement**2
    return tuple(mean.clamp_min(tiny) for mean in means)


def move_nodes(
    start: Layer,
    answers: list[Answers],
    *,
    movement: float | None = None,
    steps: int = STEPS,
    progress: Callable[[], None] | None = None,
) -> Layer:
    """Move the neurons of `start` and change their multiplicities until they answer like the wide layer.

    Adam with a cosine rate on incoming and outgoing parameters, each in units of its rms, and on
    log c; the loss is the sum of the three relative errors on one minibatch after the other.

    Parameters
    ----------
    start : Layer
        s neurons with multiplicities.
    answers : list of Answers
        From `ask`.
    movement : float, optional
        As in `normalisers`.
    steps : int
        Adam steps; 500 give most of what 1500 give.
    progress : callable, optional
        Called after every step.

    Returns
    -------
    Layer
        s neurons, c > 0, the output bias of `start`. Cost O(steps P B s (n_in + n_out)).
    """
    scales = normalisers(answers, movement)
    nodes = Nodes(start)
    optimizer = torch.optim.Adam(nodes.parameters, RATE, betas=(0.9, 0.99))
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        answer = answers[step % len(answers)]
        parts = kernel_actions(nodes.layer(), answer.inputs, answer.residuals)
        errors = [
            (mine - theirs).square().mean() / scale
            for mine, theirs, scale in zip(parts, answer.parts, scales, strict=True)
        ]
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(errors).sum())
        optimizer.step()
        if progress is not None:
            progress()
    return nodes.layer(detached=True)


class Nodes:
    """The free parameters of a slim layer: every tensor in units of its rms, and log c.

    Parameters
    ----------
    start : Layer
        Where the nodes begin.
    """

    def __init__(self, start: Layer) -> None:
        tiny = torch.finfo(start.outgoing.dtype).tiny
        tensors = [*start.incoming, *(b for b in start.biases if b is not None), start.outgoing]
        self.start = start
        self.scales = [t.square().mean().sqrt().clamp_min(tiny) for t in tensors]
        free = [*(t / s for t, s in zip(tensors, self.scales, strict=True)), start.multiplicities.log()]
        self.parameters = [t.detach().clone().requires_grad_() for t in free]

    def layer(self, *, detached: bool = False) -> Layer:
        """Return the layer at the present parameters, cut from the graph if `detached`."""
        free = [p.detach() for p in self.parameters] if detached else self.parameters
        tensors = iter([p * s for p, s in zip(free[:-1], self.scales, strict=True)])
        incoming = tuple(next(tensors) for _ in self.start.incoming)
        biases = tuple(None if b is None else next(tensors) for b in self.start.biases)
        bias, activation = self.start.outgoing_bias, self.start.activation
        return Layer(incoming, biases, next(tensors), bias, free[-1].exp(), activation)
