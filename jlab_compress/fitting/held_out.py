"""Calibration rows that are held out from a fit, and the relative error that is measured on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

HELD_OUT_SHARE = 0.2
FEWEST_SPLIT_ROWS = 5


@dataclass(frozen=True)
class Split:
    """Indices of the rows to fit on, (q_fit,), and of the held-out rows, (q_held,)."""

    fit: Tensor
    held: Tensor


def split_rows(n_rows: int, seed: int = 0) -> Split:
    """Split rows at random into four fifths to fit on and one fifth to measure errors on.

    With fewer than five rows nothing can be held out, and both parts are all rows.

    Parameters
    ----------
    n_rows : int
        Number q of calibration rows.
    seed : int
        Seed of a private generator.

    Returns
    -------
    Split
        Disjoint, sorted indices; together 0..q-1.

    Examples
    --------
    >>> split = split_rows(10)
    >>> len(split.fit), len(split.held)
    (8, 2)
    """
    if n_rows < FEWEST_SPLIT_ROWS:
        every = torch.arange(n_rows)
        return Split(every, every)
    order = torch.randperm(n_rows, generator=torch.Generator().manual_seed(seed))
    n_held = max(1, round(HELD_OUT_SHARE * n_rows))
    return Split(order[n_held:].sort().values, order[:n_held].sort().values)


def relative_error(value: Tensor, target: Tensor) -> float:
    """Return ||value - target|| / ||target||, infinite where the value is not finite.

    Examples
    --------
    >>> relative_error(torch.tensor([3.0, 3.0]), torch.tensor([3.0, 4.0]))
    0.2
    """
    size, error = float(target.norm()), float((value - target).norm())
    if error != error:
        return float("inf")
    if size == 0.0:
        return 0.0 if error == 0.0 else float("inf")
    return error / size
