"""How alike the tangent kernels of two models are: the first order of how training moves outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.execution.inputs import read_call
from jlab_compress.execution.isolation import undisturbed
from jlab_compress.execution.models import device_of
from jlab_compress.execution.outputs import scores_of
from jlab_compress.execution.splits import first_rows, told_apart
from jlab_compress.training.gradient_sums import copies_of

MOST_ENTRIES = 100_000_000  # gradient entries held at once


@dataclass(frozen=True)
class KernelMatch:
    """Two tangent kernels K and K_slim on the same inputs and output directions.

    Parameters
    ----------
    alignment : float
        <K_slim, K> / (||K_slim|| ||K||): 1 where they agree up to a factor.
    error : float
        ||K_slim - K|| / ||K||.
    """

    alignment: float
    error: float


def compare_kernels(
    original: nn.Module, slim: nn.Module, inputs: Any, *, rows: int = 32, seed: int = 0
) -> KernelMatch:
    """Compare the tangent kernels of two models on some rows.

    K[i, k] = sum_j c_j <grad_j u_i, grad_j u_k> over all trainable parameters, with u_i a random
    projection of the outputs of row i, the same for both models, and grad_j the gradient of one copy.

    Parameters
    ----------
    original, slim : nn.Module
        Evaluated in eval mode; nothing in them changes.
    inputs : Tensor, tuple or mapping
        One batch whose first dimension runs over rows.
    rows : int
        The number of rows to use; fewer where the gradients would not fit into memory.
    seed : int
        Draws the projections.

    Notes
    -----
    Cost: one backward pass per row and model; `rows` gradients in memory.

    Examples
    --------
    >>> net = nn.Linear(2, 1)
    >>> compare_kernels(net, net, torch.randn(8, 2)).error
    0.0
    """
    entries = sum(p.numel() for p in original.parameters() if p.requires_grad)
    rows = max(4, min(rows, MOST_ENTRIES // max(1, entries)))
    call = told_apart(original, [read_call(original, inputs)[0].to(device_of(original))])[0]
    k, k_slim = (tangent_kernel(model, call, rows=rows, seed=seed) for model in (original, slim))
    norm, norm_slim = torch.linalg.matrix_norm(k), torch.linalg.matrix_norm(k_slim)
    if float(norm) == 0 or float(norm_slim) == 0:
        same = float(norm) == float(norm_slim)
        return KernelMatch(float(same), 0.0 if same else float("inf"))
    alignment = float((k * k_slim).sum() / (norm * norm_slim))
    return KernelMatch(alignment, float(torch.linalg.matrix_norm(k_slim - k) / norm))


def tangent_kernel(model: nn.Module, inputs: Any, *, rows: int, seed: int = 0) -> Tensor:
    """Return the (q, q) tangent kernel of randomly projected outputs, in float64, q <= rows."""
    call = first_rows(read_call(model, inputs)[0], rows).to(device_of(model))
    copies = copies_of(model)
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    roots = [copies[name].sqrt() if name in copies else None for name, _ in named]
    gradients = []
    with undisturbed(model), torch.enable_grad():
        values = _projected(scores_of(call(model)), seed)
        if not named or not values.requires_grad:
            return torch.zeros(len(values), len(values), dtype=torch.float64)
        for value in values:
            found = torch.autograd.grad(value, [p for _, p in named], retain_graph=True, allow_unused=True)
            parts = [
                (torch.zeros_like(p) if g is None else g if root is None else g * root).flatten()
                for g, (_, p), root in zip(found, named, roots, strict=True)
            ]
            gradients.append(torch.cat(parts).cpu())
    stacked = torch.stack(gradients).double()
    return stacked @ stacked.T


def _projected(outputs: list[Tensor], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    first = outputs[0].shape[0] if outputs[0].dim() else 1
    flat = [t.reshape(first, -1) for t in outputs if t.dim() and t.shape[0] == first]
    directions = [torch.randn(t.shape, generator=generator).to(t) for t in flat]
    return sum(
        ((t * d).sum(1) for t, d in zip(flat, directions, strict=True)), start=torch.zeros(1).to(outputs[0])
    )
