"""Nodes that move until outputs and tangent kernel agree with those of the wide layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jlab_compress.fitting.effort import NORMAL
from jlab_compress.fitting.kernels.actions import Directions, Response, pull, push, respond
from jlab_compress.fitting.layer import Layer

ROWS = 150
PROBES = 2
ADAPTIVE_SHARE = 1.0
HIDDEN = 64
DAMPING = 0.03


@dataclass(frozen=True)
class Answers:
    """What the wide layer answers on one minibatch.

    Parameters
    ----------
    inputs : Tensor (B, n_in)
        Calibration rows.
    residuals : Tensor (P, B, n_out)
        White or smooth probes R.
    parts : list of Tensor
        f without bias (B, n_out); then (P, B, n_out) each: K_v R and K_w R, the first step of gradient
        descent, and the same two parts of a step of an adaptive method such as Adam.
    """

    inputs: Tensor
    residuals: Tensor
    parts: list[Tensor]


def ask(
    layer: Layer,
    inputs: Tensor,
    *,
    smooth: bool = False,
    seed: int = 0,
    minibatches: int = NORMAL.node_batches,
) -> list[Answers]:
    """Ask the wide layer once for its answers on random minibatches and random probes.

    Parameters
    ----------
    layer : Layer
        n neurons.
    inputs : Tensor (q, n_in)
        Rows to draw from.
    smooth : bool
        Whether probes are smooth functions of the inputs, as targets are, instead of white noise. The
        residuals of a layer that has learnt nothing yet are its targets; those of a trained one can be
        anything.
    seed : int
        Seed of a private generator.
    minibatches : int
        How many to draw.

    Returns
    -------
    list of Answers
        Cost O(minibatches P B n (n_in + n_out)); nothing later touches the wide layer.
    """
    generator, n_out = torch.Generator().manual_seed(seed), layer.outgoing.shape[1]
    answers = []
    for _ in range(minibatches):
        x = inputs[torch.randperm(len(inputs), generator=generator)[:ROWS]]
        if smooth:
            residuals = torch.stack([smooth_values(x, n_out, generator) for _ in range(PROBES)])
        else:
            residuals = torch.randn(PROBES, len(x), n_out, generator=generator).to(x)
        parts = [x.new_empty(len(x), n_out), *(torch.empty_like(residuals) for _ in range(4))]
        answers.append(Answers(x, residuals, parts))
    # What stays was allocated above, all of it: between the wide layer's large tensors, which come and go,
    # small ones that stay would keep the allocator from using that memory again.
    for one in answers:
        parts = answer(layer, one.inputs, one.residuals, adaptive=True)
        for kept, part in zip(one.parts, parts, strict=True):
            kept.copy_(part)
    return answers


def smooth_values(inputs: Tensor, n_out: int, generator: torch.Generator) -> Tensor:
    """Return a random smooth function of the inputs, (q, n_out), about as large as white noise.

    A two-layer tanh function of 64 neurons, with incoming weights that suit the spread of the rows.
    """
    centred = inputs - inputs.mean(dim=0)
    spread = centred.square().sum(dim=1).mean().sqrt().clamp_min(1e-12)
    first = torch.randn(inputs.shape[1], HIDDEN, generator=generator).to(inputs) * (2.0 / spread)
    second = torch.randn(HIDDEN, n_out, generator=generator).to(inputs)
    return torch.tanh(centred @ first) @ second / math.sqrt(HIDDEN)


def answer(layer: Layer, inputs: Tensor, residuals: Tensor, *, adaptive: bool) -> list[Tensor]:
    """Return the parts of `Answers`; without `adaptive` only the first three."""
    response = respond(layer, inputs)
    hidden, _ = response
    gradients = pull(layer, inputs, residuals, response)
    parts = [(hidden * layer.multiplicities) @ layer.outgoing, *push(layer, inputs, gradients, response)]
    if adaptive:
        parts += push(layer, inputs, adapt(gradients, layer, inputs, response), response)
    return parts


def adapt(gradients: Directions, layer: Layer, inputs: Tensor, response: Response) -> Directions:
    """Divide every entry of the gradients by its usual size, as Adam does.

    The usual size is the root mean square over white residuals: that of h_j for the outgoing row of
    neuron j, and of |v_j| act'_j x_i for its incoming weight i; a little of the tensor's mean is added.
    """
    (hidden, slopes), (outgoing, incoming) = response, gradients
    reach = layer.outgoing.square().sum(dim=1)
    parts = []
    for slope, (rows, biases) in zip(slopes, incoming, strict=True):
        squares = slope.square()
        sizes = squares.T @ inputs.square() / len(inputs) * reach[:, None]
        over = None if biases is None else divided(biases, squares.mean(dim=0) * reach)
        parts.append((divided(rows, sizes), over))
    return divided(outgoing, hidden.square().mean(dim=0)[:, None]), tuple(parts)


def divided(gradient: Tensor, squares: Tensor) -> Tensor:
    """Return the gradient over the root of its expected squares, damped by a share of their mean."""
    tiny = torch.finfo(squares.dtype).tiny
    return gradient * (squares + DAMPING * squares.mean().detach()).clamp_min(tiny).rsqrt()


def expected_movement(layer: Layer, inputs: Tensor) -> float:
    """Return `movement_of` what a layer's neurons give and of its outgoing weights."""
    return movement_of(layer.hidden(inputs), layer.outgoing, layer.multiplicities)


def movement_of(hidden: Tensor, outgoing: Tensor, multiplicities: Tensor) -> float:
    """Estimate how far training will move outputs (h c) V, from how much they already mean.

    With V = rms(v)^2 mean_x sum_j c_j h_j^2, what f^2 would be if outgoing weights were drawn at random,
    A^2 = 100 V^2 / mean f^2: about (10 rms f)^2 at initialisation, next to nothing for trained outputs.
    """
    drawn = float(outgoing.square().mean() * (hidden.square() @ multiplicities).mean())
    present = float(((hidden * multiplicities) @ outgoing).square().mean())
    return 10.0 * drawn / math.sqrt(max(present, torch.finfo(hidden.dtype).tiny))


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
    adaptive_share: float = ADAPTIVE_SHARE,
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
    adaptive_share : float
        Weight of the steps of adaptive methods against those of gradient descent.
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
    optimizer = torch.optim.Adam(free, rate, betas=(0.9, 0.99), fused=True)
    shares = [1.0, 1.0, 1.0, adaptive_share, adaptive_share]
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        theirs = answers[step % len(answers)]
        parts = answer(nodes.layer(), theirs.inputs, theirs.residuals, adaptive=adaptive_share > 0)
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
