"""Cut a cloud into cells of equal mass, halving across the widest side again and again."""

from __future__ import annotations

import torch
from torch import Tensor


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
