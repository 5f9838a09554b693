"""Non-negative multiplicities by least squares, from Gram matrices."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

BLOCKS = 24
RIDGE = 1e-10


def output_gram(hidden: Tensor, outgoing: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Gram matrix of the neurons' outputs h_j(x) v_j and their products with the targets.

    Parameters
    ----------
    hidden : Tensor (q, n)
        Activations h_j(x).
    outgoing : Tensor (n, n_out)
        Rows v_j.
    targets : Tensor (q, n_out)
        What sum_j c_j h_j(x) v_j should reproduce.

    Returns
    -------
    tuple of Tensor
        (n, n) and (n,); both sums run over rows and outputs. Cost O(q n^2), never q n_out n values.
    """
    gram = (hidden.T @ hidden) * (outgoing @ outgoing.T)
    return gram, ((hidden.T @ targets) * outgoing).sum(dim=1)


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
    damping = RIDGE * max(np.diagonal(g).mean(), np.finfo(float).tiny)
    factor = np.linalg.cholesky(g + damping * np.eye(len(g)))
    c, _ = nnls(factor.T, np.linalg.solve(factor, moments.double().cpu().numpy()), maxiter=30 * len(g))
    return torch.from_numpy(c).to(gram)


def select_nonnegative(gram: Tensor, moments: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Choose at most `size` columns together with their positive multiplicities.

    Block active set: the columns with the steepest descent join in a few blocks, each followed by
    a full non-negative solve on the chosen ones; columns that fall to zero leave.

    Parameters
    ----------
    gram : Tensor (n, n)
        Positive semidefinite.
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
    scale = gram.diagonal().clamp_min(torch.finfo(gram.dtype).tiny).sqrt()
    chosen = torch.empty(0, dtype=torch.long, device=gram.device)
    c = moments.new_empty(0)
    block = -(-size // BLOCKS)
    for _ in range(3 * BLOCKS):
        descent = (moments - gram[:, chosen] @ c) / scale
        descent[chosen] = -1.0
        room = min(block, size - len(chosen), int((descent > 0).sum()))
        if room == 0:
            break
        joined = torch.cat([chosen, descent.topk(room).indices])
        solution = solve_nonnegative(gram[joined][:, joined], moments[joined])
        kept = solution > 0
        if kept.sum() == len(chosen) and torch.equal(joined[kept], chosen):
            break
        chosen, c = joined[kept], solution[kept]
    order = chosen.argsort()
    return chosen[order], c[order]
