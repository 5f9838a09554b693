"""Fits judged after the residual stream and the normalisation that follow a layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.moving.nodes import Nodes

RATE = 0.02
BATCH = 512
WARM_UP = 0.05


@dataclass(frozen=True)
class Readout:
    """Where outputs are compared: transform(stream + output) against transform(stream + target).

    Parameters
    ----------
    stream : Tensor (q, n_out) or None
        What the network adds to the output at each row.
    transform : callable or None
        Row-wise map such as a LayerNorm; the identity where None.
    """

    stream: Tensor | None
    transform: Callable[[Tensor], Tensor] | None

    def __call__(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return what stands behind outputs (B, n_out) of the rows with indices (B,)."""
        values = outputs if self.stream is None else outputs + self.stream[rows].to(outputs)
        return values if self.transform is None else self.transform(values)

    def importance(self, outputs: Tensor, rows: Tensor, *, seed: int = 0, n_probes: int = 8) -> Tensor:
        """Return how strongly each output counts, (B, n_out): the diagonal of J'J, J = d readout / d output.

        Estimated with random signs (Hutchinson 1990); ones where nothing stands behind the output.
        """
        if self.transform is None:
            return torch.ones_like(outputs)
        generator = torch.Generator().manual_seed(seed)
        values = outputs.detach().requires_grad_()
        with torch.enable_grad():
            behind = self(values, rows)
        total = torch.zeros_like(outputs)
        for _ in range(n_probes):
            signs = torch.randint(2, behind.shape, generator=generator).to(behind) * 2 - 1
            (pulled,) = torch.autograd.grad(behind, values, signs, retain_graph=True)
            total += pulled.square() / n_probes
        return total


def refine(
    start: Layer,
    inputs: Tensor,
    goal: Tensor,
    readout: Readout,
    *,
    steps: int,
    seed: int = 0,
    progress: Callable[[], None] | None = None,
) -> Layer:
    """Move all parameters by Adam until the readout of the slim layer's outputs meets the goal.

    Parameters
    ----------
    start : Layer
        s neurons counted once each.
    inputs : Tensor (q, n_in)
        Rows to fit on.
    goal : Tensor (q, n_out)
        The readout of the wanted outputs.
    readout : Readout
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
    nodes = Nodes(start)
    bias = torch.zeros_like(start.outgoing[0]) if start.outgoing_bias is None else start.outgoing_bias.clone()
    bias.requires_grad_()
    scale = max(float(goal.square().mean()), torch.finfo(goal.dtype).tiny)
    bias_rate = RATE * float(start.outgoing.square().mean().sqrt())
    free = [bias] if start.biased else []
    groups = [{"params": nodes.parameters[:-1], "lr": RATE}, {"params": free, "lr": bias_rate}]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    rates = [RATE, bias_rate]
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        share = min(1.0, (step + 1) / (WARM_UP * steps)) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * share
        rows = torch.randint(len(inputs), (BATCH,), generator=generator)
        now = nodes.layer()
        outputs = (now.hidden(inputs[rows]) * now.multiplicities) @ now.outgoing + bias
        loss = (readout(outputs, rows) - goal[rows]).square().mean() / scale
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if progress is not None:
            progress()
    moved = nodes.layer(detached=True)
    return moved.with_outgoing(moved.outgoing * moved.multiplicities[:, None], bias.detach())
