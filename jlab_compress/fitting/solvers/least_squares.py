"""Weighted least squares with an intercept and a small ridge."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_SQUARES_RIDGE = 1e-8


def least_squares(
    features: Tensor,
    targets: Tensor,
    *,
    intercept: bool,
    weights: Tensor | None = None,
    ridge: float = LEAST_SQUARES_RIDGE,
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
