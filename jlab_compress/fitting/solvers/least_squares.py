"""Greedy choice of columns and least-squares refit of what stands behind them."""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 1e-8


def greedy_columns(features: Tensor, targets: Tensor, size: int, *, ridge: float = RIDGE) -> Tensor:
    """Choose columns one by one, each the one that lowers the least-squares error most.

    Orthogonal least squares (Chen, Cowan, Grant 1991) on the Gram matrix: every step projects the
    last chosen column out of all others by one Cholesky column.

    Parameters
    ----------
    features : Tensor (q, n)
        Candidate columns h_j.
    targets : Tensor (q, n_out)
        What combinations of columns should reproduce.
    size : int
        Number s of columns, at most n.
    ridge : float
        Relative to the mean squared column norm; keeps dependent columns from being chosen on noise.

    Returns
    -------
    Tensor (s,)
        Distinct indices in the order of choice. Cost O(q n min(n, s) + s n (s + n_out)).

    Examples
    --------
    >>> h = torch.eye(3, dtype=torch.float64)
    >>> greedy_columns(h, torch.tensor([[1.0], [0.0], [5.0]], dtype=torch.float64), 2)
    tensor([2, 0])
    """
    n = features.shape[1]
    gram = features.T @ features if n <= 2 * len(features) else None
    remaining = features.square().sum(dim=0)
    damping = ridge * max(remaining.mean().item(), torch.finfo(features.dtype).tiny)
    remaining += damping
    moments = features.T @ targets
    factor = torch.zeros(size, n, dtype=features.dtype, device=features.device)
    chosen = torch.empty(size, dtype=torch.long, device=features.device)
    free = torch.ones(n, dtype=torch.bool, device=features.device)
    for step in range(size):
        gain = moments.square().sum(dim=1) / remaining
        best = torch.where(free, gain, -1.0).argmax()
        products = features.T @ features[:, best] if gram is None else gram[best]
        column = (products - factor[:step, best] @ factor[:step]) / remaining[best].sqrt()
        column[best] = remaining[best].sqrt()
        moments = moments - torch.outer(column, moments[best] / remaining[best].sqrt())
        remaining = (remaining - column.square()).clamp_min(damping)
        factor[step], chosen[step], free[best] = column, best, False
    return chosen


def least_squares(
    features: Tensor,
    targets: Tensor,
    *,
    intercept: bool,
    weights: Tensor | None = None,
    ridge: float = RIDGE,
) -> tuple[Tensor, Tensor]:
    """Solve features @ V + bias = targets in the least-squares sense with a small relative ridge.

    Parameters
    ----------
    features : Tensor (q, s)
        Columns to combine.
    targets : Tensor (q, n_out)
        Values to reproduce.
    intercept : bool
        Fit a free bias too; otherwise it is zero.
    weights : Tensor (q,), optional
        How much each row counts; equally by default.
    ridge : float
        Relative to the mean squared column norm.

    Returns
    -------
    tuple of Tensor
        V (s, n_out) and bias (n_out,). Cost O(q s^2 + s^3).

    Examples
    --------
    >>> x = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    >>> slope, offset = least_squares(x, 3 * x + 1, intercept=True)
    >>> round(slope.item(), 4), round(offset.item(), 4)
    (3.0, 1.0)
    """
    rows = torch.ones_like(targets[:, :1]) if weights is None else weights[:, None]
    rows = rows / rows.sum()
    centre, level = (rows * features).sum(dim=0), (rows * targets).sum(dim=0)
    if not intercept:
        centre, level = torch.zeros_like(centre), torch.zeros_like(level)
    shifted = (features - centre) * rows.sqrt()
    gram = shifted.T @ shifted
    damping = ridge * max(gram.diagonal().mean().item(), torch.finfo(gram.dtype).tiny)
    gram.diagonal().add_(damping)
    moments = shifted.T @ ((targets - level) * rows.sqrt())
    solution = torch.cholesky_solve(moments, torch.linalg.cholesky(gram))
    return solution, level - centre @ solution
