"""Reduce a cloud to a wanted size; the degree and the number of cells are chosen together."""

from __future__ import annotations

import torch
from torch import Tensor

from jlab_compress.core.cloud import Cloud, check_multiplicities, check_points
from jlab_compress.core.features import basis_features
from jlab_compress.core.judging import Judge
from jlab_compress.core.partition import cut_cells
from jlab_compress.core.recombination import reduce_features
from jlab_compress.core.testfunctions import count_functions, fit_basis, largest_degree


def compress_cloud(
    points: Tensor,
    multiplicities: Tensor | None = None,
    *,
    size: int | None = None,
    degree: int | None = None,
    cells: int | None = None,
    move: bool = False,
    seed: int = 0,
) -> Cloud:
    """Reduce n objects of R^m to few with the same moments up to a degree in every cell.

    Kept: sum_i c_i p(x_i) for every polynomial p of total degree <= k, in each of the cells, and so
    every such moment of the whole. Lost: higher moments; for a smooth f the error falls like
    r^(k + 1) with the radius r of a cell and faster still with k.

    Parameters
    ----------
    points : Tensor, (n, m)
        float32 or float64; any scale and offset per coordinate.
    multiplicities : Tensor (n,), optional
        c_i >= 0, same dtype and device; ones by default.
    size : int, optional
        The most objects to keep, 1 <= size <= n. The degree and the number of cells that are not
        given are chosen by trial on held-out smooth functions; a degree that needs more than `size`
        objects is lowered.
    degree : int, optional
        k >= 0. Without `size` one cell keeps N(m, k) = C(m + k, k) objects at most.
    cells : int, optional
        Number of cells of equal mass.
    move : bool
        Let the kept objects move, which needs about N(m, k) / (m + 1) of them.
    seed : int
        Draws subsets and test functions; the global generator is not touched.

    Returns
    -------
    Cloud
        At most `size` objects; `indices` are rows of `points` (None where moved); `residual` is
        the largest scaled moment error over the cells; `notes` say what was chosen.

    Raises
    ------
    TypeError, ValueError
        For a wrong shape, dtype, device or range, NaN, infinity, or neither size nor degree.
    RecombinationError
        If a cell's residual is above 1e-12 (1e-5 in float32).

    Notes
    -----
    Cost n N + cells O(N^3 log(n / N)) for each degree tried; n x N numbers are never held. Source:
    Wang et al. 2026 (arXiv 2510.00504), Theorems 2 to 4 and 7.

    Examples
    --------
    >>> cloud = torch.rand(500, 2, dtype=torch.float64)
    >>> kept = compress_cloud(cloud, degree=3)
    >>> kept.size, torch.allclose(kept.multiplicities @ kept.points**3, (cloud**3).sum(0))
    (10, True)
    """
    check_points(points)
    if multiplicities is None:
        multiplicities = points.new_ones(len(points))
    check_multiplicities(multiplicities, points, zeros=True)
    _check_plan(len(points), size=size, degree=degree, cells=cells)
    plans = plan_sizes(points.shape[1], size=size, degree=degree, cells=cells)
    judge = Judge(points, multiplicities, seed=seed)
    tried = [_reduce(points, multiplicities, plan, seed=seed) for plan in plans]
    best = min(tried, key=judge.error) if len(tried) > 1 else tried[0]
    return best


def plan_sizes(
    dimension: int, *, size: int | None, degree: int | None, cells: int | None
) -> list[tuple[int, int]]:
    """Return the pairs (degree, cells) with cells * N(m, degree) <= size that are worth a trial."""
    if size is None:
        return [(degree or 0, cells or 1)]
    top = largest_degree(dimension, max(1, size // (cells or 1)))
    if degree is not None:
        k = min(degree, top)
        return [(k, cells or size // count_functions(dimension, k))]
    if cells is not None:
        return [(top, cells)]
    return [(k, size // count_functions(dimension, k)) for k in range(max(0, top - 4), top + 1)]


def _check_plan(rows: int, *, size: int | None, degree: int | None, cells: int | None) -> None:
    if size is None and degree is None:
        raise ValueError("compress_cloud: neither size nor degree was given; give the objects to keep")
    for name, value, low in (("size", size, 1), ("degree", degree, 0), ("cells", cells, 1)):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name}: expected a whole number, got {value!r}; give an int")
        if value < low:
            raise ValueError(f"{name}: expected at least {low}, got {value}; give a larger number")
    if size is not None and size > rows:
        raise ValueError(f"size: expected at most the {rows} objects of the cloud, got {size}; give fewer")
    if size is not None and cells is not None and cells > size:
        raise ValueError(
            f"cells: expected at most size = {size}, got {cells}; a cell keeps an object at least"
        )


def _reduce(points: Tensor, multiplicities: Tensor, plan: tuple[int, int], *, seed: int) -> Cloud:
    """Keep the moments up to a degree in each of some cells."""
    degree, cells = plan
    parts = cut_cells(points, multiplicities, cells) if cells > 1 else [None]
    kept, counts, residual = [], [], 0.0
    for part in parts:
        inside = points if part is None else points[part]
        weights = multiplicities if part is None else multiplicities[part]
        if not float(weights.max()) > 0:
            continue
        features = basis_features(fit_basis(inside, degree), inside)
        result = reduce_features(features, weights, seed=seed)
        kept.append(result.indices if part is None else part[result.indices])
        counts.append(result.multiplicities)
        residual = max(residual, result.residual)
    indices = torch.cat(kept)
    order = torch.argsort(indices)
    indices = indices[order]
    note = f"degree {degree} in {len(kept)} cells of {count_functions(points.shape[1], degree)} moments"
    return Cloud(points[indices], torch.cat(counts)[order], indices, residual, degree, len(kept), (note,))
