"""Reduce a cloud to a wanted size; the degree and the number of cells are chosen together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from jlab_compress.core.cloud import Cloud, check_multiplicities, check_points
from jlab_compress.core.features import basis_features
from jlab_compress.core.judging import Judge
from jlab_compress.core.partition import cut_cells
from jlab_compress.core.recombination import Recombination, Target, reduce_features
from jlab_compress.core.testfunctions import count_functions, fit_basis, importance, largest_degree

_LARGEST_CELL, _USUAL_CELL = 1000, 256  # objects that one cell may keep; its cost grows with the cube
_EXACT_SHARE = 0.75  # of the objects: at most so many moments are kept exactly
_FITTED_SHARE = 1.75  # of the objects: so many moments are looked at when objects are dropped


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
    if size is None or degree is not None or cells is not None:
        return _reduce(points, multiplicities, _plan(points.shape[1], size, degree, cells), seed=seed)
    judge = Judge(points, multiplicities, seed=seed)
    best, error = None, math.inf
    for number in _cells_to_try(size):
        plan = Plan(cells=number, size=size // number)
        trial = _reduce(points, multiplicities, plan, seed=seed)
        if judge.error(trial) >= error:
            break
        best, error = trial, judge.error(trial)
    assert best is not None
    return best


@dataclass(frozen=True)
class Plan:
    """So many cells, each keeping the moments up to a degree (exactly) or so many objects (the best)."""

    cells: int
    degree: int | None = None
    size: int | None = None


def _plan(dimension: int, size: int | None, degree: int | None, cells: int | None) -> Plan:
    if size is None:
        return Plan(cells or 1, degree)
    top = largest_degree(dimension, max(1, size // (cells or 1)))
    degree = top if degree is None else min(degree, top)
    return Plan(cells or size // count_functions(dimension, degree), degree)


def _cells_to_try(size: int) -> list[int]:
    """Return numbers of cells, ascending; the first keeps the cost of a cell, O(s^3), bearable."""
    first = 1 if size <= _LARGEST_CELL else math.ceil(size / _USUAL_CELL)
    return [first * factor for factor in (1, 2, 4, 8, 16) if first * factor <= size]


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


def _reduce(points: Tensor, multiplicities: Tensor, plan: Plan, *, seed: int) -> Cloud:
    """Carry out a plan cell by cell and put the kept objects together in their old order."""
    everything = torch.arange(len(points), device=points.device)
    parts = [everything] if plan.cells == 1 else cut_cells(points, multiplicities, plan.cells)
    kept, counts, residual, degrees = [], [], 0.0, []
    for part in parts:
        inside, weights = (
            (points, multiplicities) if len(parts) == 1 else (points[part], multiplicities[part])
        )
        if not float(weights.max()) > 0:
            continue
        result, degree = _reduce_cell(inside, weights, plan, seed=seed)
        kept.append(part[result.indices])
        counts.append(result.multiplicities)
        residual = max(residual, result.residual)
        degrees.append(degree)
    indices, order = torch.cat(kept).sort()
    lowest = min(degrees)
    note = f"moments up to degree {lowest} are exact in each of {len(kept)} cells"
    if plan.size is not None:
        note += f"; those up to degree {_fitted_degree(points.shape[1], plan.size)} are fitted"
    counted = torch.cat(counts)[order]
    return Cloud(points[indices], counted, indices, residual, lowest, len(kept), (note,))


def _reduce_cell(
    points: Tensor, multiplicities: Tensor, plan: Plan, *, seed: int
) -> tuple[Recombination, int]:
    """Reduce one cell; return the result and the degree that is exact in it."""
    if plan.size is None:
        degree = plan.degree or 0
        features = basis_features(fit_basis(points, degree), points)
        return reduce_features(features, multiplicities, seed=seed), degree
    dimension = points.shape[1]
    exact = largest_degree(dimension, max(1, int(_EXACT_SHARE * plan.size)))
    fitted = _fitted_degree(dimension, plan.size)
    chosen, target = _target(dimension, exact, fitted, plan.size)
    features = basis_features(fit_basis(points, fitted), points, chosen.to(points.device))
    return reduce_features(features, multiplicities, target=target, seed=seed), exact


def _fitted_degree(dimension: int, size: int) -> int:
    """Return the degree of the functions that are fitted beyond the exact ones."""
    degree = largest_degree(dimension, int(_FITTED_SHARE * size))
    wider = count_functions(dimension, degree + 1)
    return degree + 1 if wider <= 4 * _FITTED_SHARE * size else degree


def _target(dimension: int, exact: int, fitted: int, size: int) -> tuple[Tensor, Target]:
    """Return the functions to look at, the exact ones first, and what is wanted of them."""
    weight = importance(dimension, fitted)
    functions = count_functions(dimension, exact)
    most = max(functions, min(len(weight), int(_FITTED_SHARE * size)))
    rest = functions + torch.argsort(weight[functions:], descending=True)[: most - functions]
    rest = rest.sort().values
    return torch.cat([torch.arange(functions), rest]), Target(size, functions, weight[rest].numpy())
