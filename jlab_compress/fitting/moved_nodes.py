"""Nodes that move until outputs and tangent kernel agree with those of the wide layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jlab_compress.fitting.kernel import Directions, Response, pull, push, respond
from jlab_compress.fitting.layer import Layer

MINIBATCHES = 100
ROWS = 150
PROBES = 2
SOFTNESS = 0.5
SIGNED_SHARE = 1.0


@dataclass(frozen=True)
class Answers:
    """What the wide layer answers on one minibatch.

    Parameters
    ----------
    inputs : Tensor (B, n_in)
        Calibration rows.
    residuals : Tensor (P, B, n_out)
        White probes R.
    softness : list of Tensor (P, 1, 1)
        Where the sign of a gradient becomes soft, for each tensor of the layer.
    parts : list of Tensor
        f without bias (B, n_out); then (P, B, n_out) each: K_v R and K_w R, the first step of gradient
        descent, and the same two parts of the first step of a sign-like method such as Adam.
    """

    inputs: Tensor
    residuals: Tensor
    softness: list[Tensor]
    parts: list[Tensor]


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
        x = inputs[torch.randperm(len(inputs), generator=generator)[:ROWS]]
        residuals = torch.randn(PROBES, len(x), layer.outgoing.shape[1], generator=generator).to(x)
        response = respond(layer, x)
        gradients = pull(layer, x, residuals, response)
        softness = [SOFTNESS * rms(g) for g in flat(gradients)]
        parts = answer(layer, x, gradients, response, softness)
        answers.append(Answers(x, residuals, softness, parts))
    return answers


def answer(
    layer: Layer, inputs: Tensor, gradients: Directions, response: Response, softness: list[Tensor]
) -> list[Tensor]:
    """Return the parts of `Answers` of a layer with known gradients; no signed ones without softness."""
    hidden, _ = response
    outputs = (hidden * layer.multiplicities) @ layer.outgoing
    parts = [outputs, *push(layer, inputs, gradients, response)]
    return [*parts, *push(layer, inputs, soft_signs(gradients, softness), response)] if softness else parts


def soft_signs(gradients: Directions, softness: list[Tensor]) -> Directions:
    """Return g / sqrt(g^2 + e^2) for every gradient: near its sign where it is large."""
    scales = iter(softness)

    def soften(gradient: Tensor) -> Tensor:
        e = next(scales)
        e = e if gradient.ndim == 3 else e[:, 0]
        return gradient * (gradient.square() + e.square()).rsqrt()

    outgoing, incoming = gradients
    return soften(outgoing), tuple((soften(w), None if b is None else soften(b)) for w, b in incoming)


def flat(gradients: Directions) -> list[Tensor]:
    """Return the gradients' tensors in the order in which `soft_signs` takes them."""
    outgoing, incoming = gradients
    return [outgoing, *(g for pair in incoming for g in pair if g is not None)]


def rms(gradient: Tensor) -> Tensor:
    """Return the root mean square over a probe's gradient, (P, 1, 1), never zero."""
    mean = gradient.square().flatten(1).mean(dim=1)
    return mean.clamp_min(torch.finfo(mean.dtype).tiny).sqrt()[:, None, None]


def expected_movement(layer: Layer, inputs: Tensor) -> float:
    """Estimate how far training will move the outputs, from how much they already mean.

    With V = rms(v)^2 mean_x sum_j c_j h_j^2, what f^2 would be if outgoing weights were drawn at random,
    A^2 = 100 V^2 / mean f^2: about (10 rms f)^2 at initialisation, next to nothing for trained outputs.
    """
    hidden = layer.hidden(inputs)
    drawn = float(layer.outgoing.square().mean() * (hidden.square() @ layer.multiplicities).mean())
    present = float(((hidden * layer.multiplicities) @ layer.outgoing).square().mean())
    return 10.0 * drawn / math.sqrt(max(present, torch.finfo(inputs.dtype).tiny))


def normalisers(answers: list[Answers], movement: float) -> list[Tensor]:
    """Return what each part's squared error is divided by: mean f^2 + A^2, and each part's mean square.

    A is how far the outputs are expected to move: an output that training will leave behind need not be
    met to the last digit.
    """
    means = [torch.stack([a.parts[i].square().mean() for a in answers]).mean() for i in range(5)]
    means[0] = means[0] + movement**2
    return [mean.clamp_min(torch.finfo(mean.dtype).tiny) for mean in means]


def move_nodes(
    start: Layer,
    answers: list[Answers],
    scales: list[Tensor],
    *,
    steps: int,
    rate: float,
    signed_share: float = SIGNED_SHARE,
    fixed_counts: bool = False,
    progress: Callable[[], None] | None = None,
) -> Layer:
    """Move the neurons of `start` and change their multiplicities until they answer like the wide layer.

    Adam with a cosine rate on incoming and outgoing parameters, each in units of its rms, and on
    log c; the loss is the sum of the parts' relative errors on one minibatch after the other.

    Parameters
    ----------
    start : Layer
        s neurons with multiplicities.
    answers, scales
        From `ask` and `normalisers`.
    steps : int
        Adam steps; 500 give most of what 1500 give.
    rate : float
        First rate; .05 goes far, .025 stays closer to the start.
    signed_share : float
        Weight of the sign-like steps against those of gradient descent.
    fixed_counts : bool
        Leave the multiplicities as they are.
    progress : callable, optional
        Called after every step.

    Returns
    -------
    Layer
        s neurons, c > 0, the output bias of `start`. Cost O(steps P B s (n_in + n_out)).
    """
    nodes = Nodes(start)
    free = nodes.parameters[:-1] if fixed_counts else nodes.parameters
    optimizer = torch.optim.Adam(free, rate, betas=(0.9, 0.99))
    shares = [1.0, 1.0, 1.0, signed_share, signed_share]
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        theirs = answers[step % len(answers)]
        layer = nodes.layer()
        response = respond(layer, theirs.inputs)
        gradients = pull(layer, theirs.inputs, theirs.residuals, response)
        parts = answer(layer, theirs.inputs, gradients, response, theirs.softness if signed_share else [])
        errors = [
            share * (mine - part).square().mean() / scale
            for mine, part, scale, share in zip(parts, theirs.parts, scales, shares, strict=False)
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
        return replace(
            self.start,
            incoming=incoming,
            biases=biases,
            outgoing=next(tensors),
            multiplicities=free[-1].exp(),
        )
