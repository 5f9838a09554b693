"""Reduce a cloud to a wanted size; the degree and the number of cells are chosen together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jlab_compress.core.cells import cut_cells
from jlab_compress.core.cloud import Cloud, check_multiplicities, check_points
from jlab_compress.core.evaluation import RandomFunctionTest
from jlab_compress.core.features import basis_features
from jlab_compress.core.polynomials import fit_basis
from jlab_compress.core.quadrature.centres import has_room, settle_centres
from jlab_compress.core.quadrature.gauss_newton import moment_goal
from jlab_compress.core.quadrature.node_elimination import eliminate_nodes, raise_degree, reachable_degree
from jlab_compress.core.recombination import reduce_features
from jlab_compress.core.sizing import (
    Sizing,
    check_request,
    choose_functions,
    fitted_degrees,
    fixed_sizing,
    sizings_to_try,
)
from jlab_compress.surroundings import shielded


@shielded()
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
        The most objects to keep, 1 <= size <= n. Alone, it leaves degree and cells to a trial on
        held-out smooth functions: 3/4 of the objects pay for exact moments, the others for moments
        of higher degree met as well as they can be. With `degree` or `cells`, a degree that needs
        more than `size` objects is lowered.
    degree : int, optional
        k >= 0. Without `size` one cell keeps N(m, k) = C(m + k, k) objects at most.
    cells : int, optional
        Number of cells of equal mass.
    move : bool
        Let objects move within the box of their cell grown by 10 %. With `degree` as few nodes as
        elimination finds, about N(m, k) / (m + 1); with `size` alone the highest degree they meet; with
        both and four unknowns per moment, the centres of `size` cells, moved as little as the moments
        of the whole ask for: the best for functions with kinks or jumps.
    seed : int
        Draws subsets and test functions; the global generator is not touched.

    Returns
    -------
    Cloud
        At most `size` objects; `indices` are rows of `points` (None where moved); `residual` is
        the largest scaled error of an exact moment over the cells; `notes` say what was chosen.

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
    check_request(len(points), size=size, degree=degree, cells=cells)
    points, multiplicities = points.detach(), multiplicities.detach()
    if move and size and degree is not None and not cells:
        centres = _settled_centres(points, multiplicities, size, degree)
        if centres is not None:
            return centres
    if size is None or degree is not None or cells is not None:
        sizing = fixed_sizing(points.shape[1], size=size, degree=degree, cells=cells, move=move)
        return _reduce(points, multiplicities, sizing, seed=seed)
    test = RandomFunctionTest(points, multiplicities, seed=seed)
    best, sizing, error = _best_trial(points, multiplicities, test, size, seed=seed)
    if move:
        moved = _reduce(points, multiplicities, replace(sizing, move=True), seed=seed)
        if test.error(moved) < error:
            return moved
        note = "moved nodes did no better on held-out functions, so none was moved"
        best = replace(best, notes=(*best.notes, note))
    return best


def _settled_centres(points: Tensor, multiplicities: Tensor, size: int, degree: int) -> Cloud | None:
    if not has_room(points.shape[1], size=size, degree=degree):
        return None
    nodes = settle_centres(points, multiplicities, size=size, degree=degree)
    if nodes is None:
        return None
    note = f"centres of {len(nodes.counts)} cells, moved so that moments up to degree {degree} are exact"
    return Cloud(nodes.points.to(points), nodes.counts.to(points), None, nodes.error, degree, 1, (note,))


def _best_trial(
    points: Tensor, multiplicities: Tensor, test: RandomFunctionTest, size: int, *, seed: int
) -> tuple[Cloud, Sizing, float]:
    """Reduce into more and more cells until held-out functions are met no better."""
    best: tuple[Cloud, Sizing, float] | None = None
    for sizing in sizings_to_try(size):
        trial = _reduce(points, multiplicities, sizing, seed=seed)
        error = test.error(trial)
        if best is not None and error >= best[2]:
            break
        best = trial, sizing, error
    assert best is not None
    return best


@dataclass(frozen=True)
class _Part:
    """What is kept of one cell: rows of it (None where moved), their multiplicities, how well."""

    points: Tensor
    counts: Tensor
    indices: Tensor | None
    residual: float
    degree: int


def _reduce(points: Tensor, multiplicities: Tensor, sizing: Sizing, *, seed: int) -> Cloud:
    """Reduce cell by cell and put the kept objects together in their old order."""
    if sizing.cells == 1:
        return _gather([_reduce_cell(points, multiplicities, sizing, seed=seed)], sizing)
    parts = []
    for rows in cut_cells(points, multiplicities, sizing.cells):
        if float(multiplicities[rows].max()) > 0:
            part = _reduce_cell(points[rows], multiplicities[rows], sizing, seed=seed)
            parts.append(part if part.indices is None else replace(part, indices=rows[part.indices]))
    return _gather(parts, sizing)


def _gather(parts: list[_Part], sizing: Sizing) -> Cloud:
    points, counts = torch.cat([p.points for p in parts]), torch.cat([p.counts for p in parts])
    kept = [p.indices for p in parts if p.indices is not None]
    indices = None
    if len(kept) == len(parts):
        indices, order = torch.cat(kept).sort()
        points, counts = points[order], counts[order]
    degree, residual = min(p.degree for p in parts), max(p.residual for p in parts)
    notes = [
        f"moments up to degree {degree} are exact in {len(parts)} {'cells' if len(parts) > 1 else 'cell'}"
    ]
    if sizing.degree is None and sizing.size is not None and not sizing.move:
        fitted = fitted_degrees(points.shape[1], sizing.size)[1]
        notes.append(f"moments up to degree {fitted} are fitted as well as {len(points)} objects can")
    if sizing.size is not None and len(points) > sizing.size * sizing.cells:
        notes.append(
            f"elimination stalled at {len(points)} nodes, above the {sizing.size * sizing.cells} wanted"
        )
    return Cloud(points, counts, indices, residual, degree, len(parts), tuple(notes))


def _reduce_cell(points: Tensor, multiplicities: Tensor, sizing: Sizing, *, seed: int) -> _Part:
    """Reduce one cell to rows of it, and let them move if the sizing says so."""
    chosen, target = None, None
    degree = sizing.degree or 0
    fitted = degree
    if sizing.degree is None and sizing.size is not None:
        degree, fitted = fitted_degrees(points.shape[1], sizing.size)
        chosen, target = choose_functions(points.shape[1], sizing.size)
    features = basis_features(fit_basis(points, fitted), points, chosen)
    kept = reduce_features(features, multiplicities, target=target, seed=seed)
    part = _Part(points[kept.indices], kept.multiplicities, kept.indices, kept.residual, degree)
    return _move(part, points, multiplicities, sizing) if sizing.move else part


def _move(part: _Part, points: Tensor, multiplicities: Tensor, sizing: Sizing) -> _Part:
    """Let the kept objects of a cell move: fewer for a given degree, or a higher degree for so many."""
    start, counts = part.points.double().cpu(), part.counts.double().cpu()
    if sizing.degree is None:
        goal = moment_goal(points, multiplicities, reachable_degree(points.shape[1], len(start)))
        nodes, degree = raise_degree(start, counts, goal)
        goal = goal.up_to(degree)
    else:
        degree, goal = sizing.degree, moment_goal(points, multiplicities, sizing.degree)
        nodes = eliminate_nodes(start, counts, goal, least=sizing.size or 1)
    moved, counted = nodes.points.to(part.points), nodes.counts.to(part.counts)
    residual = float(goal.missing(moved.double().cpu(), counted.double().cpu()).abs().max())
    return _Part(moved, counted, None, residual, degree)
