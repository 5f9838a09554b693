"""Greedy pursuit: choose columns, or groups of columns, that combine to a target."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jlab_compress.fitting.solvers.gram import FeatureGram, Gram, HeldGram

PURSUIT_RIDGE = 1e-8


@dataclass(frozen=True)
class Pursuit:
    """Groups in the order of choice, and the least-squares solution for every number of them.

    Parameters
    ----------
    order : Tensor (s,)
        Distinct indices of groups of d columns.
    factor : Tensor (s d, n d)
        Rows F of the Cholesky factor of the Gram matrix, its columns eliminated in the order of choice.
    reached : Tensor (s d, p)
        Coordinates y of the targets in that basis: the first k groups have the least-squares solution
        F_k^-1 y_k, with the square F_k of the first k d rows at their own columns.
    """

    order: Tensor
    factor: Tensor
    reached: Tensor


def pursue(gram: Gram, moments: Tensor, size: int, *, each: int = 1, ridge: float = PURSUIT_RIDGE) -> Pursuit:
    """Choose groups of columns one by one, each the one that lowers the least-squares error most.

    Orthogonal least squares (Chen, Cowan, Grant 1991) on the Gram matrix: every step projects the
    last chosen group out of all others by as many rows of the Cholesky factor as it has columns.

    Parameters
    ----------
    gram : Gram
        Products of n groups of d columns, group by group.
    moments : Tensor (n d, p)
        The columns' products with p targets.
    size : int
        Number s of groups, at most n.
    each : int
        Columns d in a group.
    ridge : float
        Relative to the mean squared column norm; keeps dependent columns from being chosen on noise.

    Returns
    -------
    Pursuit
        Cost O(s d (n d) (s d + p)) and, for groups, O(s n d^3), besides s calls of `gram.columns`.

    Examples
    --------
    >>> found = pursue(HeldGram(torch.eye(3)), torch.tensor([[2.0], [0.0], [5.0]]), 2)
    >>> found.order.tolist(), [round(x, 3) for x in found.reached[:, 0].tolist()]
    ([2, 0], [5.0, 2.0])
    """
    diagonal = gram.diagonal()
    n, columns = len(diagonal) // each, torch.arange(len(diagonal), device=diagonal.device)
    damping = ridge * max(float(diagonal.mean()), torch.finfo(diagonal.dtype).tiny)
    left = _group_blocks(gram, each) + damping * torch.eye(each).to(diagonal)
    factor, reached = (
        moments.new_zeros(size * each, n * each),
        moments.new_zeros(size * each, moments.shape[1]),
    )
    free = torch.ones(n, dtype=torch.bool, device=diagonal.device)
    order = torch.empty(size, dtype=torch.long, device=diagonal.device)
    for step in range(size):
        best = torch.where(free, _gains(left, moments.reshape(n, each, -1)), -1.0).argmax()
        own, now = columns.reshape(n, each)[best], slice(step * each, (step + 1) * each)
        root = torch.linalg.cholesky(left[best])
        done = factor[: step * each]
        rows = _divided(root, gram.columns(own).T - done[:, own].T @ done)
        rows[:, own] = root.T
        reached[now] = _divided(root, moments[own])
        moments = moments - rows.T @ reached[now]
        parts = rows.reshape(each, n, each)
        left = left - torch.einsum("anb,anc->nbc", parts, parts)
        left.diagonal(dim1=1, dim2=2).clamp_min_(damping)
        factor[now], order[step], free[best] = rows, best, False
    return Pursuit(order, factor, reached)


def _group_blocks(gram: Gram, each: int) -> Tensor:
    """Return the products within each group, (n, d, d)."""
    diagonal = gram.diagonal()
    if each == 1:
        return diagonal[:, None, None]
    groups = torch.arange(len(diagonal), device=diagonal.device).reshape(-1, each)
    return torch.stack([gram.columns(own)[own] for own in groups])


def _gains(left: Tensor, moments: Tensor) -> Tensor:
    """Return by how much each group (n, d, d) with moments (n, d, p) would lower the squared error, (n,)."""
    if left.shape[1] == 1:
        return moments.square().sum(dim=(1, 2)) / left[:, 0, 0]
    solution: Tensor = torch.linalg.solve(left, moments)
    return (moments * solution).sum(dim=(1, 2))


def _divided(root: Tensor, rows: Tensor) -> Tensor:
    """Return root^-1 rows for a lower triangular root (d, d)."""
    if len(root) == 1:
        return rows / root
    solution: Tensor = torch.linalg.solve_triangular(root, rows, upper=False)
    return solution


def greedy_columns(features: Tensor, targets: Tensor, size: int) -> Tensor:
    """Choose `size` columns of features (q, n) that combine best to targets (q, n_out), by `pursue`.

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
    held = features.shape[1] <= 2 * len(features)
    gram = HeldGram(features.T @ features) if held else FeatureGram(features)
    return pursue(gram, features.T @ targets, size).order


def greedy_groups(features: Tensor, targets: Tensor, size: int, each: int) -> Tensor:
    """Choose `size` groups of `each` columns of features (q, n each), as `greedy_columns` chooses columns.

    Returns
    -------
    Tensor (s,)
        Groups in the order of choice. Cost O(q (n d)^2 + s d (n d) (s d + n_out)).

    Examples
    --------
    >>> greedy_groups(torch.eye(4).double(), torch.tensor([[0.0], [1.0], [3.0], [0.0]]).double(), 1, 2)
    tensor([1])
    """
    return pursue(HeldGram(features.T @ features), features.T @ targets, size, each=each).order
