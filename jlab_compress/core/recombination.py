"""Few objects with the moments of many: exact, multiplicities positive, at about the cost of a pass."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jlab_compress.core.caratheodory import Array, eliminate, reduce_rank
from jlab_compress.core.cloud import check_multiplicities, check_points
from jlab_compress.core.features import Features, table_features
from jlab_compress.core.reweighting import draw_strata, reweight
from jlab_compress.core.sizing import SizeTarget
from jlab_compress.core.thinning import thin
from jlab_compress.errors import RecombinationError
from jlab_compress.surroundings import shielded

_ROUNDING = 2e-15  # a scaled moment error that no polish improves
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


@shielded()
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
    features, multiplicities = features.detach(), multiplicities.detach()
    return reduce_features(table_features(features), multiplicities, tolerance=tolerance, seed=seed)


def reduce_features(
    features: Features,
    multiplicities: Tensor,
    *,
    target: SizeTarget | None = None,
    tolerance: float | None = None,
    seed: int = 0,
) -> Recombination:
    """Do as `recombine` for features that are built in pieces; the arguments are not checked again.

    The first function must be the constant one. With a target, the first `target.exact` functions
    are kept exactly and the others as well as `target.size` objects can.
    """
    mass = 2.0 ** math.frexp(float(multiplicities.max()))[1]  # a power of two: the division is exact
    counts = multiplicities.to(torch.float64) / mass
    moments = features.moments(counts).cpu().numpy()
    indices, weighted = _subset(features, counts, moments, seed)
    scale = np.abs(weighted).sum(0)
    scale[scale == 0] = 1.0
    kept, ratios, rank = _reduce_held(weighted, target)
    exact = slice(0, features.functions if target is None else target.exact)
    rows, moments, scale = weighted[kept, exact], moments[exact], scale[exact]
    ratios = _polish(rows, ratios, moments, scale)
    # the weighted constant function is the multiplicity itself
    result = torch.from_numpy(rows[:, 0] * ratios * mass).to(multiplicities)
    stored = result.double().cpu().numpy() / (rows[:, 0] * mass)
    residual = float((np.abs(rows.T @ stored - moments) / scale).max())
    _certify(residual, tolerance, multiplicities.dtype, features.rows)
    return Recombination(indices[torch.from_numpy(kept).to(indices.device)], result, residual, rank)


def _certify(residual: float, tolerance: float | None, dtype: torch.dtype, rows: int) -> None:
    if tolerance is None:
        tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    if not residual <= tolerance:
        raise RecombinationError(
            f"the reduced cloud of {rows:,} objects misses a moment by {residual:.1e} of its absolute sum, "
            f"above the tolerance {tolerance:.1e}; take a lower degree, more cells or a larger tolerance",
            residual,
        )


def _subset(features: Features, counts: Tensor, moments: Array, seed: int) -> tuple[Tensor, Array]:
    """Return a subset of indices (M,) and weighted features (M, N) that has all moments."""
    capacity = max(4 * features.functions, min(16 * features.functions, _HELD_VALUES // features.functions))
    if int(torch.count_nonzero(counts)) > 2 * capacity:
        drawn, starts = draw_strata(counts, capacity, seed)
        rows = _weighted(features, drawn, starts)
        ratios = reweight(rows, moments)
        if ratios is not None:
            return drawn, rows * ratios[:, None]
    indices = torch.nonzero(counts).squeeze(1)
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
    kept, values = _halve_held(sums.cpu().numpy(), features.functions)
    ratios = np.zeros(len(sums))
    ratios[kept] = values
    spread = torch.from_numpy(ratios).to(counts.device).repeat_interleave(size)[: len(indices)]
    alive = spread > 0
    return indices[alive], (counts * spread)[alive]


def _halve_held(rows: Array, most: int) -> tuple[NDArray[np.intp], Array]:
    """Reduce weighted rows (M, N) to at most `most` >= N; return the places kept and their ratios."""
    kept, ratios = np.arange(len(rows)), np.ones(len(rows))
    while len(kept) > most:
        groups = min(len(kept), 2 * rows.shape[1])
        starts = np.arange(groups) * len(kept) // groups
        sums = np.add.reduceat(rows[kept] * ratios[kept, None], starts, axis=0)
        factors = np.repeat(eliminate(sums), np.diff(starts, append=len(kept)))
        ratios[kept] *= factors
        kept = kept[factors > 0]
    return kept, ratios[kept]


def _reduce_held(rows: Array, target: SizeTarget | None) -> tuple[NDArray[np.intp], Array, int]:
    """Reduce weighted rows (M, N) to their rank and to the target; return places, ratios and rank."""
    functions = rows.shape[1]
    kept, ratios = _halve_held(rows, 2 * functions if target is None else functions)
    if target is None:
        left = rows[kept] * ratios[:, None]
        mean = left[:, 0].mean()
        factors = thin(left, np.diag(left[:, 0].clip(0.03 * mean, 30 * mean)), functions)
        kept, ratios = kept[factors > 0], (ratios * factors)[factors > 0]
        more, factors = _halve_held(rows[kept] * ratios[:, None], functions)
        kept, ratios = kept[more], ratios[more] * factors
    factors, rank = reduce_rank(rows[kept] * ratios[:, None])
    kept, ratios = kept[factors > 0], (ratios * factors)[factors > 0]
    if target is not None:
        left = rows[kept] * ratios[:, None]
        factors = thin(left[:, : target.exact], _penalties(left, target), target.size)
        kept, ratios = kept[factors > 0], (ratios * factors)[factors > 0]
    return kept, ratios, rank


def _penalties(rows: Array, target: SizeTarget) -> Array:
    """Return the weighted functions beyond the exact ones, and a little of the change of multiplicities.

    The second part bounds the inverse Hessian: 3 % costs no accuracy and keeps rounding below 1e-15.
    """
    wanted = rows[:, target.exact :] * target.importance
    level = np.linalg.norm(wanted) / np.linalg.norm(rows[:, 0])
    return np.hstack([wanted, np.diag(rows[:, 0] * (0.03 * level or 1.0))])


def _polish(rows: Array, ratios: Array, moments: Array, scale: Array) -> Array:
    """Return ratios after least squares on the kept rows, or as they were where that does not help."""
    scaled, target = rows / scale, moments / scale
    missing = target - scaled.T @ ratios
    for _ in range(2):
        if np.abs(missing).max() <= _ROUNDING:
            break
        basis, triangle = np.linalg.qr((scaled * ratios[:, None]).T)
        with np.errstate(all="ignore"):
            better = ratios * (1 + np.linalg.lstsq(triangle, basis.T @ missing, rcond=None)[0])
        left = target - scaled.T @ better
        if not better.min() > 0 or not np.abs(left).max() < np.abs(missing).max():
            break
        ratios, missing = better, left
    return ratios
