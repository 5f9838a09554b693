"""Few objects with the moments of many: exact, with positive multiplicities, at about the cost of one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jlab_compress.core.cloud import check_multiplicities, check_points
from jlab_compress.core.elimination import Array, eliminate, reduce_rank
from jlab_compress.core.features import Features, table_features
from jlab_compress.core.lifting import draw, lift
from jlab_compress.errors import RecombinationError

_HELD_VALUES = 8_000_000  # feature values of the subset or the groups that are held at once (64 MB)


@dataclass(frozen=True)
class Recombination:
    """Which objects are kept, how often each counts, and how well the moments are kept.

    Parameters
    ----------
    indices : Tensor, (s,) int64
        Rows of the original, ascending.
    multiplicities : Tensor, (s,)
        c_j > 0 with sum_j c_j phi(x_j) = sum_i c_i phi(x_i).
    residual : float
        The largest over functions of |difference of the sums| / (sum of absolute values).
    rank : int
        Numerical rank of the features with the constant function; s <= rank.
    """

    indices: Tensor
    multiplicities: Tensor
    residual: float
    rank: int


def recombine(
    features: Tensor, multiplicities: Tensor | None = None, *, tolerance: float | None = None, seed: int = 0
) -> Recombination:
    """Reduce n weighted rows of features to at most rank <= N + 1 rows with the same sums.

    Kept: sum_i c_i phi_j(x_i) for all N features and the total sum_i c_i (the constant counts as one
    more function unless the features span it). Lost: every other function of the cloud.

    Parameters
    ----------
    features : Tensor, (n, N)
        float32 or float64, finite, any scale per column.
    multiplicities : Tensor (n,), optional
        c_i >= 0, same dtype; ones by default. Rows with zero are never kept.
    tolerance : float, optional
        Largest residual that is accepted; 1e-12 in float64 and 1e-5 in float32 by default.
    seed : int
        Draws the subset that is tried first; the global generator is not touched.

    Returns
    -------
    Recombination
        With ``features[indices].T @ multiplicities`` equal to ``features.T @ original`` up to `residual`.

    Raises
    ------
    TypeError, ValueError
        For a wrong shape or dtype, NaN, infinity or negative multiplicities.
    RecombinationError
        If the residual exceeds the tolerance.

    Notes
    -----
    Cost n N + O(N^3 log(n / N)). Source: Tchakaloff's theorem as in Wang et al. 2026, Theorem 2; halving
    as in Litterer and Lyons 2012 and Maalouf et al. 2019, on orthonormal null bases.

    Examples
    --------
    >>> x = torch.linspace(-1, 1, 101, dtype=torch.float64)
    >>> kept = recombine(torch.stack([x, x**2, x**3], dim=1))
    >>> len(kept.indices), round(float(kept.multiplicities.sum()), 9)
    (4, 101.0)
    """
    check_points(features, "features")
    if multiplicities is None:
        multiplicities = features.new_ones(len(features))
    check_multiplicities(multiplicities, features, zeros=True)
    return reduce_features(table_features(features), multiplicities, tolerance=tolerance, seed=seed)


def reduce_features(
    features: Features, multiplicities: Tensor, *, tolerance: float | None = None, seed: int = 0
) -> Recombination:
    """Do as `recombine` for features that are built in pieces; the arguments are not checked again.

    The first function must be the constant one.
    """
    counts = multiplicities.to(torch.float64)
    mass = float(counts.sum())
    counts = counts / mass  # hugely small or large multiplicities keep their digits
    moments = features.moments(counts).cpu().numpy()
    indices, weighted = _subset(features, counts, moments, seed)
    scale = np.abs(weighted).sum(0)
    scale[scale == 0] = 1.0
    kept, ratios, rank = _reduce_held(weighted)
    indices, rows = indices[torch.from_numpy(kept).to(indices.device)], weighted[kept]
    ratios = _polish(rows, ratios, moments, scale)
    # the weighted constant function is the multiplicity itself
    result = torch.from_numpy(rows[:, 0] * ratios * mass).to(multiplicities)
    exact = result.double().cpu().numpy() / (rows[:, 0] * mass)
    residual = float((np.abs(rows.T @ exact - moments) / scale).max())
    _certify(residual, tolerance, multiplicities.dtype, features.rows)
    return Recombination(indices, result, residual, rank)


def _certify(residual: float, tolerance: float | None, dtype: torch.dtype, rows: int) -> None:
    if tolerance is None:
        tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    if not residual <= tolerance:
        raise RecombinationError(
            f"the reduced cloud of {rows:,} objects misses a moment by {residual:.1e} of its absolute sum, above the "
            f"tolerance {tolerance:.1e}; take a lower degree, more cells or a larger tolerance",
            residual,
        )


def _subset(features: Features, counts: Tensor, moments: Array, seed: int) -> tuple[Tensor, Array]:
    """Return a subset of indices (M,) and weighted features (M, N) that has all moments."""
    indices = torch.nonzero(counts).squeeze(1)
    capacity = max(4 * features.functions, min(16 * features.functions, _HELD_VALUES // features.functions))
    if len(indices) > 2 * capacity:
        drawn, starts = draw(counts, capacity, seed)
        rows = _weighted(features, drawn, starts)
        ratios = lift(rows, moments)
        if ratios is not None:
            return drawn, rows * ratios[:, None]
    counts = counts[indices]
    while len(indices) > capacity:
        indices, counts = _halve(features, indices, counts, groups=capacity)
    return indices, _weighted(features, indices, counts)


def _weighted(features: Features, indices: Tensor, counts: Tensor) -> Array:
    """Return c_i phi(x_i) at some indices, (M, N), on the host."""
    return (features.columns(indices) * counts).T.contiguous().cpu().numpy()


def _halve(features: Features, indices: Tensor, counts: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Keep whole groups of consecutive objects with the moments of all; one pass over them."""
    groups = min(groups, len(indices) // 2)
    sums, size = features.group_sums(indices, counts, groups)
    ratios = np.zeros(len(sums))
    kept, values, _ = _reduce_held(sums.cpu().numpy(), reveal=False)
    ratios[kept] = values
    spread = torch.from_numpy(ratios).to(counts.device).repeat_interleave(size)[: len(indices)]
    alive = spread > 0
    return indices[alive], (counts * spread)[alive]


def _reduce_held(rows: Array, *, reveal: bool = True) -> tuple[np.ndarray, Array, int]:
    """Reduce weighted rows (M, N) by halving; return the places kept, their ratios and the rank."""
    kept, ratios = np.arange(len(rows)), np.ones(len(rows))
    functions = rows.shape[1]
    while len(kept) > functions:
        groups = min(len(kept), 2 * functions)
        starts = np.arange(groups) * len(kept) // groups
        sums = np.add.reduceat(rows[kept] * ratios[kept, None], starts, axis=0)
        factors = np.repeat(eliminate(sums), np.diff(starts, append=len(kept)))
        ratios[kept] *= factors
        kept = kept[factors > 0]
    rank = len(kept)
    if reveal:
        factors, rank = reduce_rank(rows[kept] * ratios[kept, None])
        ratios[kept] *= factors
        kept = kept[factors > 0]
    return kept, ratios[kept], rank


def _polish(rows: Array, ratios: Array, moments: Array, scale: Array) -> Array:
    """Return ratios after least squares on the kept rows, or as they were where that does not help."""
    matrix = torch.from_numpy((rows * ratios[:, None] / scale).T.copy())
    start = np.abs(matrix.sum(1).numpy() - moments / scale).max()
    for _ in range(2):
        missing = torch.from_numpy(moments / scale) - matrix.sum(1)
        step = torch.linalg.lstsq(matrix, missing[:, None], driver="gelsy").solution[:, 0].numpy()
        if not step.min() > -1:
            return ratios
        better = ratios * (1 + step)
        end = np.abs((rows.T @ better - moments) / scale).max()
        if not end < start:
            return ratios
        matrix, start, ratios = matrix * torch.from_numpy(1 + step), end, better
    return ratios
