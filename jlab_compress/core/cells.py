"""Cells of a cloud: of equal mass, by halving, or of what is nearest to each of some centres, by k-means."""

from __future__ import annotations

import torch
from torch import Tensor

_DISTANCE_CHUNK = 4096  # rows whose distances to all centres are held at once


def cut_cells(points: Tensor, multiplicities: Tensor, cells: int) -> list[Tensor]:
    """Return the indices of the objects of each cell.

    A cell that is to become several is cut across the coordinate with the largest deviation (each
    coordinate measured in deviations of the whole cloud), so that every part gets its share of mass.

    Parameters
    ----------
    points : Tensor, (n, m)
        One object per row.
    multiplicities : Tensor, (n,)
        c_i >= 0.
    cells : int
        Wanted number; fewer are returned where objects cannot be told apart or are too few.

    Returns
    -------
    list of Tensor
        Index tensors that partition range(n); cost O(n m log(cells)).

    Examples
    --------
    >>> [len(cell) for cell in cut_cells(torch.rand(10, 2), torch.ones(10), 2)]
    [5, 5]
    """
    unit = points.double().std(dim=0, correction=0)
    unit = torch.where(unit > 0, unit, torch.ones_like(unit))
    done, waiting = [], [(torch.arange(len(points), device=points.device), cells)]
    while waiting:
        indices, wanted = waiting.pop()
        halves = _halve(points[indices].double() / unit, multiplicities[indices].double(), wanted)
        if halves is None:
            done.append(indices)
        else:
            waiting += [(indices[halves[1]], wanted - wanted // 2), (indices[halves[0]], wanted // 2)]
    return done


def _halve(points: Tensor, multiplicities: Tensor, wanted: int) -> tuple[Tensor, Tensor] | None:
    if wanted < 2 or len(points) < 2:
        return None
    deviation = points.std(dim=0, correction=0)
    axis = int(deviation.argmax())
    if not float(deviation[axis]) > 0:
        return None
    order = torch.argsort(points[:, axis], stable=True)
    mass = multiplicities[order].cumsum(0)
    place = int(torch.searchsorted(mass, mass[-1] * (wanted // 2) / wanted)) + 1
    place = min(max(place, 1), len(points) - 1)
    return order[:place], order[place:]


def kmeans(
    rows: Tensor, centres: Tensor, *, rounds: int, counts: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Move centres to the means of the rows that are nearest to them, again and again (Lloyd 1982).

    Parameters
    ----------
    rows : Tensor, (n, m)
        Points, float64.
    centres : Tensor, (s, m)
        Where the centres start; not changed.
    rounds : int
        At most so many, at least one; fewer where the centres come to rest.
    counts : Tensor, (n,), optional
        How often each row counts in the means; once by default.

    Returns
    -------
    tuple of Tensor
        Centres (s, m), and the labels (n,) of the cells whose means they are. A centre whose cell has no
        mass stays where it is.

    Notes
    -----
    Cost n s m for each round. The same as scipy's `kmeans2`, which knows no counts and no GPU.

    Examples
    --------
    >>> rows = torch.tensor([[0.0], [1.0], [9.0]], dtype=torch.float64)
    >>> kmeans(rows, rows[1:], rounds=5)
    (tensor([[0.5000],
            [9.0000]], dtype=torch.float64), tensor([0, 0, 1]))
    """
    weighted = rows if counts is None else rows * counts[:, None]
    counts = rows.new_ones(len(rows)) if counts is None else counts
    for _ in range(rounds):
        labels = torch.cat(
            [torch.cdist(part, centres).argmin(1) for part in torch.split(rows, _DISTANCE_CHUNK)]
        )
        mass = counts.new_zeros(len(centres)).index_add_(0, labels, counts)
        sums = torch.zeros_like(centres).index_add_(0, labels, weighted)
        means = torch.where(mass[:, None] > 0, sums / mass[:, None], centres)
        if torch.equal(means, centres):
            break
        centres = means
    return centres, labels
