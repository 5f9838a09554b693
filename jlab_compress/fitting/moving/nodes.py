"""Neurons that move until outputs and tangent kernel agree with those of the wide layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from jlab_compress.fitting.effort import NORMAL
from jlab_compress.fitting.kernels.actions import (
    adaptive_directions,
    first_order_change,
    hidden_and_slopes,
    neuron_gradients,
)
from jlab_compress.fitting.kernels.probes import smooth_probes, white_probes
from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.moving.adam import rate_share
from jlab_compress.fitting.moving.parameters import FreeParameters

BATCH_ROWS = 150
BATCH_PROBES = 2


@dataclass(frozen=True)
class TeacherBatch:
    """What the wide layer, the teacher, gives on one minibatch.

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


def teacher_batches(
    layer: Layer,
    inputs: Tensor,
    *,
    smooth: bool = False,
    seed: int = 0,
    minibatches: int = NORMAL.node_batches,
) -> list[TeacherBatch]:
    """Run the wide layer once on random minibatches and random probes, and store what it gives.

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
    list of TeacherBatch
        Cost O(minibatches P B n (n_in + n_out)); nothing later touches the wide layer.
    """
    generator, n_out = torch.Generator().manual_seed(seed), layer.outgoing.shape[1]
    drawn_probes = smooth_probes if smooth else white_probes
    batches = []
    for _ in range(minibatches):
        x = inputs[torch.randperm(len(inputs), generator=generator)[:BATCH_ROWS]]
        residuals = drawn_probes(x, n_out, BATCH_PROBES, generator)
        parts = [x.new_empty(len(x), n_out), *(torch.empty_like(residuals) for _ in range(4))]
        batches.append(TeacherBatch(x, residuals, parts))
    # All that stays is allocated above: small tensors that are allocated between the wide layer's large
    # temporary ones would keep the allocator from using that memory again.
    for batch in batches:
        parts = outputs_and_steps(layer, batch.inputs, batch.residuals, adaptive=True)
        for kept, part in zip(batch.parts, parts, strict=True):
            kept.copy_(part)
    return batches


def outputs_and_steps(layer: Layer, inputs: Tensor, residuals: Tensor, *, adaptive: bool) -> list[Tensor]:
    """Return the parts of `TeacherBatch` for any layer; without `adaptive` only the first three."""
    forward = hidden_and_slopes(layer, inputs)
    hidden, _ = forward
    gradients = neuron_gradients(layer, inputs, residuals, forward)
    parts = [
        (hidden * layer.multiplicities) @ layer.outgoing,
        *first_order_change(layer, inputs, gradients, forward),
    ]
    if adaptive:
        parts += first_order_change(
            layer, inputs, adaptive_directions(gradients, layer, inputs, forward), forward
        )
    return parts


def error_scales(batches: list[TeacherBatch], displacement: float) -> list[Tensor]:
    """Return what each part's squared error is divided by: mean f^2 + displacement^2, else its mean square.

    An output that training is expected to move by `displacement` need not be met better than that.
    """
    means = [torch.stack([batch.parts[i].square().mean() for batch in batches]).mean() for i in range(5)]
    means[0] = means[0] + displacement**2
    return [mean.clamp_min(torch.finfo(mean.dtype).tiny) for mean in means]


def move_nodes(
    start: Layer,
    batches: list[TeacherBatch],
    scales: list[Tensor],
    *,
    steps: int,
    rate: float,
    fixed_counts: bool = False,
    progress: Callable[[], None] | None = None,
) -> Layer:
    """Move the neurons of `start` and change their multiplicities until they give what the wide layer gave.

    Adam with a cosine rate on incoming and outgoing parameters, each in units of its rms, and on
    log c; the loss is the sum of the parts' relative errors on one minibatch after the other.

    Parameters
    ----------
    start : Layer
        s neurons with multiplicities.
    batches, scales
        From `teacher_batches` and `error_scales`.
    steps : int
        Adam steps; 500 give most of what 1500 give.
    rate : float
        First rate; .05 goes far, .025 stays closer to the start.
    fixed_counts : bool
        Leave the multiplicities as they are.
    progress : callable, optional
        Called after every step.

    Returns
    -------
    Layer
        s neurons, c > 0, the output bias of `start`. Cost O(steps P B s (n_in + n_out)).
    """
    free = FreeParameters(start)
    moving = free.weights if fixed_counts else [*free.weights, free.log_counts]
    optimizer = torch.optim.Adam(moving, rate, betas=(0.9, 0.99), fused=True)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * rate_share(step, steps)
        batch = batches[step % len(batches)]
        parts = outputs_and_steps(free.layer(), batch.inputs, batch.residuals, adaptive=True)
        errors = [
            (mine - part).square().mean() / scale
            for mine, part, scale in zip(parts, batch.parts, scales, strict=True)
        ]
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(errors).sum())
        optimizer.step()
        if progress is not None:
            progress()
    return free.layer(detached=True)
