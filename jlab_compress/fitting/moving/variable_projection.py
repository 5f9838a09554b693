"""Variable projection: incoming weights by L-BFGS, outgoing weights in closed form at every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from jlab_compress.fitting.kernels.actions import hidden_and_slopes
from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.solvers.least_squares import least_squares

MEMORY = 20


def mixed_rows(inputs: Tensor, n_rows: int, seed: int = 0) -> Tensor:
    """Return rows (n_rows, n_in) between pairs of rows: (1 - l) x_i + l x_j, l uniform in [0, 1/2].

    They keep a flexible fit from bending between the calibration rows (Zhang et al. 2018, mixup).

    Examples
    --------
    >>> mixed_rows(torch.ones(3, 2), 4).shape
    torch.Size([4, 2])
    """
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randint(len(inputs), (2, n_rows), generator=generator)
    share = 0.5 * torch.rand(n_rows, 1, generator=generator, dtype=inputs.dtype)
    return inputs[first] + share.to(inputs) * (inputs[second] - inputs[first])


def move_by_projection(
    start: Layer,
    inputs: Tensor,
    targets: Tensor,
    *,
    steps: int,
    progress: Callable[[], None] | None = None,
) -> Layer:
    """Minimise the output error over incoming weights, with outgoing weights and bias always at their best.

    Variable projection (Golub, Pereyra 1973): at the least-squares solution the derivative with
    respect to the outgoing weights vanishes, so the gradient needs none of theirs.

    Parameters
    ----------
    start : Layer
        s neurons; only their incoming weights matter.
    inputs : Tensor (q, n_in)
        Rows to fit on, float64.
    targets : Tensor (q, n_out)
        Outputs to reproduce.
    steps : int
        Evaluations of the loss; each costs O(q s (s + n_in + n_out)).
    progress : callable, optional
        Called after every evaluation.

    Returns
    -------
    Layer
        s neurons, each counted once, with the closed-form outgoing weights and output bias.
    """
    tensors = [*start.incoming, *(b for b in start.biases if b is not None)]
    scales = [t.square().mean().sqrt().clamp_min(torch.finfo(t.dtype).tiny) for t in tensors]
    spread = (targets - targets.mean(dim=0)).square().sum().clamp_min(torch.finfo(targets.dtype).tiny)
    first_loss = 0.0

    def loss_and_gradient(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        nonlocal first_loss
        layer = unpack(start, flat, scales)
        hidden, slopes = hidden_and_slopes(layer, inputs)
        outgoing, bias = least_squares(hidden, targets, intercept=start.biased)
        error = hidden @ outgoing + bias - targets
        loss = float(error.square().sum() / spread)
        first_loss = first_loss or max(loss, 1e-300)
        pulled = error @ outgoing.T * (2 / (spread * first_loss))
        parts = [slope * pulled for slope in slopes]
        gradients = [part.T @ inputs for part in parts]
        gradients += [part.sum(dim=0) for part, b in zip(parts, start.biases, strict=True) if b is not None]
        if progress is not None:
            progress()
        flat_gradient = torch.cat([(g * s).flatten() for g, s in zip(gradients, scales, strict=True)])
        return loss / first_loss, flat_gradient.cpu().numpy()

    origin = torch.cat([(t / s).flatten() for t, s in zip(tensors, scales, strict=True)]).cpu().numpy()
    found = minimize(
        loss_and_gradient,
        origin,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": steps, "maxfun": steps, "maxcor": MEMORY, "ftol": 1e-9, "gtol": 0.0},
    )
    moved = unpack(start, found.x, scales)
    return moved.with_outgoing(*least_squares(moved.hidden(inputs), targets, intercept=start.biased))


def unpack(start: Layer, flat: NDArray[np.float64], scales: list[Tensor]) -> Layer:
    """Return `start` with the incoming parameters of one flat vector, in units of `scales`."""
    values = torch.from_numpy(flat).to(start.outgoing)
    sizes = iter(scales)
    position = 0

    def take(like: Tensor) -> Tensor:
        nonlocal position
        part = values[position : position + like.numel()].reshape(like.shape) * next(sizes)
        position += like.numel()
        return part

    incoming = tuple(take(w) for w in start.incoming)
    return replace(
        start, incoming=incoming, biases=tuple(None if b is None else take(b) for b in start.biases)
    )
