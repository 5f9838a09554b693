"""Non-negative multiplicities by least squares, from Gram matrices."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from jlab_compress.fitting.solvers.gram import Gram

BLOCKS = 24
NNLS_RIDGE = 1e-10


def solve_nonnegative(gram: Tensor, moments: Tensor) -> Tensor:
    """Minimise c' G c / 2 - m' c over c >= 0 (Lawson, Hanson 1974, through a Cholesky factor).

    Parameters
    ----------
    gram : Tensor (n, n)
        Positive semidefinite.
    moments : Tensor (n,)
        Products with the target.

    Returns
    -------
    Tensor (n,)
        The multiplicities, some of them zero.

    Examples
    --------
    >>> c = solve_nonnegative(torch.eye(2, dtype=torch.float64), torch.tensor([2.0, -1.0]).double())
    >>> [round(x, 6) for x in c.tolist()]
    [2.0, 0.0]
    """
    g = gram.double().cpu().numpy()
    damping = NNLS_RIDGE * max(np.diagonal(g).mean(), np.finfo(float).tiny)
    factor = np.linalg.cholesky(g + damping * np.eye(len(g)))
    c, _ = nnls(factor.T, np.linalg.solve(factor, moments.double().cpu().numpy()), maxiter=30 * len(g))
    return torch.from_numpy(c).to(gram)


def select_nonnegative(gram: Gram, moments: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Choose at most `size` columns together with their positive multiplicities.

    Block active set: the columns with the steepest descent join in a few blocks, each followed by
    a full non-negative solve on the chosen ones; columns that fall to zero leave.

    Parameters
    ----------
    gram : Gram
        Of n columns, such as an `OutputGram`; only those of candidates are ever computed.
    moments : Tensor (n,)
        Products with the target.
    size : int
        Largest number of columns.

    Returns
    -------
    tuple of Tensor
        Sorted indices (s,) and multiplicities (s,), all positive; s < size where no further
        column lowers the error.
    """
    scale = gram.diagonal().clamp_min(torch.finfo(moments.dtype).tiny).sqrt()
    chosen = torch.empty(0, dtype=torch.long, device=moments.device)
    c, columns = moments.new_empty(0), moments.new_empty(len(moments), 0)
    block = -(-size // BLOCKS)
    for _ in range(3 * BLOCKS):
        descent = (moments - columns @ c) / scale
        descent[chosen] = -1.0
        room = min(block, size - len(chosen), int((descent > 0).sum()))
        if room == 0:
            break
        joined = torch.cat([chosen, descent.topk(room).indices])
        columns = torch.cat([columns, gram.columns(joined[len(chosen) :])], dim=1)
        solution = solve_nonnegative(columns[joined], moments[joined])
        kept = solution > 0
        stuck = int(kept.sum()) == len(chosen) and torch.equal(joined[kept], chosen)
        chosen, c, columns = joined[kept], solution[kept], columns[:, kept]
        if stuck:
            break
    order = chosen.argsort()
    return chosen[order], c[order]
