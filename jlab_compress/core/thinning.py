"""Drop objects one after the other, each time the one that is missed least (on the host, float64)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from jlab_compress.core.caratheodory import TINY, Array, null_basis

_UPDATE_BLOCK = 32  # removals between two updates of the whole matrix
_LOOK = 8  # cheapest objects that are tried before a removal is taken in two steps
_LEVEL = 0.01  # a removal should leave every multiplicity at this share of the mean


def thin(rows: Array, penalties: Array, size: int) -> Array:
    """Return u >= 0 with at most `size` non-zeros and u^T rows = 1^T rows, near-minimal in penalty.

    The penalty is |(u - 1)^T penalties|^2: the squared error of moments that are wanted but not
    exact, or, with diag(c), the change of the multiplicities, which keeps their spread small.
    Removing object i and letting the others make up for it costs u_i^2 / B_ii, where B is the
    inverse Hessian on the null space of the rows; the cheapest one whose removal leaves all others
    positive goes first.

    Parameters
    ----------
    rows : array, (M, N)
        Weighted rows c_i phi(x_i); the first function is the constant one.
    penalties : array, (M, P)
        Weighted rows of the functions to be kept as well as possible; with full rank on the null
        space (P >= M - N).
    size : int
        Wanted number of non-zeros; at least N remain.

    Returns
    -------
    array, (M,)

    Notes
    -----
    Cost O(M^3). Source: optimal brain surgeon (Hassibi and Stork, 1993), here with exact constraints
    and positivity.

    Examples
    --------
    >>> thin(np.ones((4, 1)), np.eye(4), 2).round(6).tolist()
    [2.0, 2.0, 0.0, 0.0]
    """
    if len(rows) <= max(size, rows.shape[1]):
        return np.ones(len(rows))
    basis = null_basis(rows)
    triangle = torch.linalg.qr(torch.from_numpy(penalties).T @ basis, mode="r").R
    root = torch.linalg.solve_triangular(triangle, basis, upper=True, left=False)
    inverse = (root @ root.T).numpy()
    result, alive = np.zeros(len(rows)), np.arange(len(rows))
    values = np.ones(len(rows))
    size, share = max(size, rows.shape[1]), rows[:, 0]
    while len(alive) > size:
        update = _remove_block(inverse, values, share, min(_UPDATE_BLOCK, len(alive) - size))
        if not update.shape[1]:
            break  # only rounding is left to remove by: the result is exact, but larger than wanted
        kept = values > 0
        inverse = inverse[np.ix_(kept, kept)] - update[kept] @ update[kept].T
        values, alive, share = values[kept], alive[kept], share[kept]
    result[alive] = values
    return result


def _remove_block(inverse: Array, values: Array, share: Array, number: int) -> Array:
    """Bring `number` values to zero, in place; return U (M, number): the inverse is now B - U U^T."""
    update = np.zeros((len(values), number))
    diagonal = inverse.diagonal().copy()
    floor = np.finfo(np.float64).eps * diagonal.max()
    for step in range(number):
        cost = np.full(len(values), np.inf)
        free = (values > 0) & (diagonal > floor)
        cost[free] = values[free] ** 2 / diagonal[free]
        cheap = np.argpartition(cost, min(_LOOK, len(cost) - 1))[:_LOOK]
        cheap = cheap[np.isfinite(cost[cheap])]
        cheap = cheap[np.argsort(cost[cheap])]
        if not len(cheap):
            return update[:, :step]
        columns = inverse[:, cheap] - update[:, :step] @ update[cheap, :step].T
        zero = _remove_cheapest(values, columns, cheap, share)
        column = inverse[:, zero] - update[:, :step] @ update[zero, :step]
        update[:, step] = column / np.sqrt(column[zero])
        diagonal -= update[:, step] ** 2
    return update


def _remove_cheapest(values: Array, columns: Array, cheap: NDArray[np.intp], share: Array) -> int:
    """Remove one of the cheapest objects, in place, and return its place.

    Removing an object changes all others along its column. The first choice is the cheapest object whose
    removal leaves every other at 1 % of the mean or more. If there is none, it is the one that leaves the
    smallest other object as large as possible. If every removal would turn another object negative, all
    change along the cheapest one's column, but only until the first of them is zero: that one is removed.
    """
    alive, ways = values > 0, np.arange(len(cheap))
    rates = columns * (values[cheap] / columns[cheap, ways])
    left = np.where(alive[:, None], (values[:, None] - rates) * share[:, None], np.inf)
    left[cheap, ways] = np.inf
    smallest = left.min(0)
    good = smallest >= _LEVEL * (values @ share) / np.count_nonzero(alive)
    way = int(np.argmax(good if good.any() else smallest))
    zero, length = int(cheap[way]), 1.0
    if smallest[way] <= 0:
        way = 0
        falling = alive & (rates[:, 0] > 0)
        lengths = np.where(falling, values / np.where(falling, rates[:, 0], 1.0), np.inf)
        zero = int(lengths.argmin())
        length = float(lengths[zero])
    values -= length * rates[:, way]
    np.maximum(values, TINY, out=values)
    values[~alive] = 0.0
    values[zero] = 0.0
    return zero
