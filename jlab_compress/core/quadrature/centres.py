"""Centres of as many cells as there may be objects, moved as little as keeps the moments of the whole."""

from __future__ import annotations

import torch
from torch import Tensor

from jlab_compress.core.cells import cut_cells, kmeans
from jlab_compress.core.polynomials import count_functions
from jlab_compress.core.quadrature.gauss_newton import Nodes, moment_goal, settle_nodes

_ROOM = 4  # unknowns per moment at least, so that nodes stay near the centres of their cells
_KMEANS_ROUNDS = 50


def has_room(dimension: int, *, size: int, degree: int) -> bool:
    """Return whether so many nodes can meet the moments up to a degree without leaving their cells.

    Examples
    --------
    >>> has_room(4, size=200, degree=5), has_room(4, size=40, degree=5)
    (True, False)
    """
    return size * (dimension + 1) >= _ROOM * count_functions(dimension, degree)


def settle_centres(points: Tensor, multiplicities: Tensor, *, size: int, degree: int) -> Nodes | None:
    """Return at most `size` nodes that share out the cloud evenly and keep its moments up to a degree.

    Kept: the moments of the whole, to 1e-10, and nearly the mean of every cell; so smooth functions
    are met by their leading moments, and functions with kinks and jumps by the small cells.

    Parameters
    ----------
    points : Tensor, (n, m)
        The cloud.
    multiplicities : Tensor, (n,)
        c_i >= 0.
    size, degree : int
        With `has_room`.

    Returns
    -------
    Nodes or None
        On the host, in float64; None where the moments cannot be met.

    Notes
    -----
    Cost 50 n s m for the cells and O(N^2 s m) for each of a few steps.
    """
    centres, counts = find_centres(points, multiplicities, size)
    goal = moment_goal(points, multiplicities, degree)
    nodes = settle_nodes(centres.cpu(), counts.cpu(), goal)
    return nodes if nodes.certified else None


def find_centres(points: Tensor, multiplicities: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the means (s, m) and masses (s,) of at most `size` cells by k-means, float64.

    Cells of equal mass come first; each coordinate is measured in deviations of the whole cloud.

    Examples
    --------
    >>> corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).repeat(4, 1)
    >>> find_centres(corners, torch.ones(12), 12)[1].sum()
    tensor(12., dtype=torch.float64)
    """
    counts = multiplicities.double()
    deviation = points.double().std(dim=0, correction=0)
    unit = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    rows = points.double() / unit
    first = [cell for cell in cut_cells(points, multiplicities, size) if float(counts[cell].sum()) > 0]
    centres = torch.stack([counts[cell] @ rows[cell] / counts[cell].sum() for cell in first])
    centres, labels = kmeans(rows, centres, rounds=_KMEANS_ROUNDS, counts=counts)
    mass = counts.new_zeros(len(centres)).index_add_(0, labels, counts)
    return centres[mass > 0] * unit, mass[mass > 0]
