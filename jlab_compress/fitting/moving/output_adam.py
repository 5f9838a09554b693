"""Adam on a slim layer until its outputs, behind the norm that follows it, meet their targets."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.moving.adam import rate_share
from jlab_compress.fitting.moving.parameters import FreeParameters
from jlab_compress.fitting.post_norm import PostNormMap

OUTPUT_RATE = 0.02
OUTPUT_BATCH = 512
OUTPUT_WARM_UP = 0.05


def move_by_adam(
    start: Layer,
    inputs: Tensor,
    goal: Tensor,
    post_norm: PostNormMap,
    *,
    steps: int,
    seed: int = 0,
    progress: Callable[[], None] | None = None,
) -> Layer:
    """Move all parameters by Adam until the slim layer's outputs behind the norm meet the goal.

    Parameters
    ----------
    start : Layer
        s neurons counted once each.
    inputs : Tensor (q, n_in)
        Rows to fit on.
    goal : Tensor (q, n_out)
        What the `post_norm` map gives for the wanted outputs.
    post_norm : PostNormMap
        With the stream of the same rows.
    steps : int
        Adam steps on minibatches of 512 rows, rate with warm-up and cosine decay.
    seed : int
        Seed of the minibatches.
    progress : callable, optional
        Called after every step.

    Returns
    -------
    Layer
        s moved neurons and, where the layer is biased, a moved output bias. Cost O(steps B s (n_in + n_out)).
    """
    free = FreeParameters(start)
    bias = torch.zeros_like(start.outgoing[0]) if start.outgoing_bias is None else start.outgoing_bias.clone()
    bias.requires_grad_()
    scale = max(float(goal.square().mean()), torch.finfo(goal.dtype).tiny)
    rates = [OUTPUT_RATE, OUTPUT_RATE * float(start.outgoing.square().mean().sqrt())]
    groups = [{"params": free.weights}, {"params": [bias] if start.biased else []}]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * rate_share(step, steps, warm_up=OUTPUT_WARM_UP)
        rows = torch.randint(len(inputs), (OUTPUT_BATCH,), generator=generator)
        now = free.layer()
        outputs = (now.hidden(inputs[rows]) * now.multiplicities) @ now.outgoing + bias
        loss = (post_norm(outputs, rows) - goal[rows]).square().mean() / scale
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if progress is not None:
            progress()
    moved = free.layer(detached=True)
    return moved.with_outgoing(moved.outgoing * moved.multiplicities[:, None], bias.detach())
