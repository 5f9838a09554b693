"""Step from many positive numbers to few without changing any weighted sum (on the host, float64).

The unknowns are ratios u_i = c_i / c_i(start): row i of a matrix is c_i(start) phi(x_i) and every
u starts at 1, so rounding is relative to each sum of absolute values. Null vectors are never
divided by: their orthonormal basis is only rotated (blocked Householder), which keeps the sums to
rounding where elimination by pivoting loses them.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import blas, lapack
from torch import Tensor

Array = NDArray[np.float64]

_WALK_BLOCK = 32  # null vectors walked before the others are rotated: their rows stay in a core's cache
TINY = 1e-300  # a number that meets zero in a tie: positive, so that the next step can take it


def eliminate(rows: Array) -> Array:
    """Return u >= 0 with u^T rows = 1^T rows and at most N non-zeros.

    Parameters
    ----------
    rows : array, (M, N)
        Weighted rows c_i phi(x_i), float64 and finite.

    Returns
    -------
    array, (M,)
        At least M - N entries are exactly zero; the others are positive.

    Notes
    -----
    Cost O(M N (M - N)), nearly all in matrix products. Source: Caratheodory (1907), steps along
    null vectors as in Tchakaloff's theorem, done on an orthonormal null basis.

    Examples
    --------
    >>> eliminate(np.ones((4, 1))).sum().round(12)
    np.float64(4.0)
    """
    return np.ones(len(rows)) if rows.shape[0] <= rows.shape[1] else _walk(null_basis(rows))


def null_basis(rows: Array) -> Tensor:
    """Return an orthonormal basis (M, M - N) of the vectors z with z^T rows = 0, for M > N; O(M^2 N)."""
    factor, tau = torch.geqrf(torch.from_numpy(np.ascontiguousarray(rows)))
    return _last_columns(factor, tau)


def reduce_rank(rows: Array) -> tuple[Array, int]:
    """Return u as `eliminate` does for rows that may depend on each other, and their rank.

    Columns are scaled to norm one and the rank is revealed by QR with column pivoting; singular
    directions below 4 max(M, N) eps are taken for rounding.
    """
    norms = np.linalg.norm(rows, axis=0)
    scaled = np.asfortranarray(rows[:, norms > 0] / norms[norms > 0])
    if len(rows) <= scaled.shape[1] and _looks_independent(scaled.T):
        return np.ones(len(rows)), len(rows)
    factor, _, tau, _, _ = lapack.dgeqp3(scaled)
    diagonal = np.abs(np.diag(factor))
    rank = int(np.sum(diagonal > 4 * max(rows.shape) * np.finfo(np.float64).eps * diagonal[0]))
    if rank == len(rows):
        return np.ones(rank), rank
    return _walk(_last_columns(torch.from_numpy(factor[:, :rank]), torch.from_numpy(tau[:rank]))), rank


def _looks_independent(columns: Array) -> bool:
    """Tell whether a QR without pivoting, much quicker than one with, shows no sign of dependence."""
    sizes = np.linalg.norm(columns, axis=0)
    factor, _ = torch.geqrf(torch.from_numpy(columns / np.where(sizes > 0, sizes, 1.0)))
    return float(factor.diagonal().abs().min()) > 1e-7


def _last_columns(factor: Tensor, tau: Tensor) -> Tensor:
    """Return the columns of Q (M, M) beyond the factored ones: an orthonormal null basis (M, M - N)."""
    rows, columns = factor.shape
    target = torch.zeros(rows, rows - columns, dtype=factor.dtype)
    target[columns:].fill_diagonal_(1.0)
    return torch.ormqr(factor, tau, target)


def _walk(basis: Tensor) -> Array:
    """Return u >= 0 after every null vector (a column of basis) has been spent on one new zero."""
    values = np.ones(len(basis))
    result, alive = np.zeros_like(values), np.arange(len(values))
    block = _WALK_BLOCK if len(values) < 1024 else 2 * _WALK_BLOCK
    while basis.shape[1] > block:
        zeros = _walk_block(basis[:, -block:].T.clone(memory_format=torch.contiguous_format).numpy(), values)
        kept = np.ones(len(values), dtype=bool)
        kept[zeros] = False
        basis = _vanish(basis, torch.from_numpy(zeros), torch.from_numpy(kept))
        values, alive = values[kept], alive[kept]
    values[_walk_block(basis.T.clone(memory_format=torch.contiguous_format).numpy(), values)] = 0.0
    result[alive] = values
    return result


def _vanish(basis: Tensor, zeros: Tensor, kept: Tensor) -> Tensor:
    """Return an orthonormal basis of the combinations of columns that vanish at `zeros`, at `kept` rows.

    One block of reflectors in compact form, I - V T V^T with T^-1 = striu(V^T V) + diag(1 / tau).
    """
    factor, tau = torch.geqrf(basis[zeros].T)
    mirrors = factor.tril(-1)
    mirrors.fill_diagonal_(1.0)
    inverse = torch.triu(mirrors.T @ mirrors, 1) + torch.diag(1.0 / tau)
    rest = basis[kept]
    product = torch.linalg.solve_triangular(inverse, rest @ mirrors, upper=True, left=False)
    return torch.addmm(rest[:, len(zeros) :], product, mirrors[len(zeros) :].T, alpha=-1.0)


def _walk_block(vectors: Array, values: Array) -> NDArray[np.intp]:
    """Spend the rows of vectors (B, M), overwritten; values move in place to B zeros, whose places return.

    A place that has become zero holds 1 until the caller drops it: no later vector touches it.
    """
    zeros = np.empty(len(vectors), dtype=np.intp)
    for last in range(len(vectors) - 1, -1, -1):
        step = vectors[last]
        zero = int(np.abs(step / values).argmax())  # both directions at once: the shorter way to a zero
        values -= (values[zero] / step[zero]) * step
        np.maximum(values, TINY, out=values)
        values[zero] = 1.0
        zeros[last] = zero
        if last:
            _drop(vectors, last, zero)
    return zeros


def _drop(vectors: Array, last: int, column: int) -> None:
    """Rotate rows 0..last so that row `last` alone is non-zero in the column; that row is then void."""
    mirror = vectors[: last + 1, column].copy()
    mirror[last] += np.copysign(np.sqrt(mirror @ mirror), mirror[last])
    product = mirror @ vectors[: last + 1]
    blas.dger(-2.0 / (mirror @ mirror), product, mirror[:last], a=vectors.T[:, :last], overwrite_a=1)
    vectors[:last, column] = 0.0
